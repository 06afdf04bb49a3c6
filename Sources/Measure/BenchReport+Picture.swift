import ActCache
import Harvest
import Report
import SAE
import Train

extension BenchReport {
  /// One picture of who waits for whom.
  package var picture: SVGPicture {
    var picture = SVGPicture(
      title: "Is it the disk or the arithmetic?",
      notes: [setting, "Pale is waiting. Bars are medians of repeats, black lines go from the least to the most."])
    if let harvest {
      let title = "Harvest: \(threeDigits(harvest.tokensPerSecond.median)) tokens/s"
      let note =
        "\(harvest.verdict). \(harvest.hooks.joined(separator: ", ")), \(harvest.dtype) \(harvest.codec), "
        + "\(grouped(harvest.tokens)) tokens in \(harvest.shards) shards"
      picture.add(timeline(title, note, harvest.lanes))
    }
    if let train, let lane = train.lanes.first {
      // A second of a long run is enough to see the steps.
      let stretch = lane.spans.first.map { $0.start..<($0.start + min(1, 40 * train.medianSecondsPerStep)) }
      let title = "Training: \(threeDigits(train.tokensPerSecond)) tokens/s"
      let note =
        "\(Verdict.training(lane)). \(train.arch.rawValue), width \(train.d), \(grouped(train.latents)) latents, batch "
        + grouped(train.batch)
      picture.add(timeline(title, note, train.lanes, seconds: stretch))
    }
    if let live {
      picture.add(
        SVGBars(
          title: "Model in the loop against cached: \(fixed(live.gain, 2)) times as fast",
          note: "milliseconds of a training step; \(live.verdict)",
          rows: [("from the cache", live.cached), ("model in the loop", live.live)].map { name, result in
            SVGBars.Row(
              label: name,
              parts: (result.lanes.first?.totals ?? []).map {
                (kind: kind($0.activity), value: $0.seconds / Double(result.steps) * 1e3)
              },
              caption: "\(threeDigits(result.tokensPerSecond)) tokens/s")
          }))
    }
    if let read { picture.add(read.bars) }
    if let codec { picture.add(codec.bars) }
    return picture
  }

  private func timeline(
    _ title: String, _ note: String, _ lanes: [Lane], seconds: Range<Double>? = nil
  ) -> SVGTimeline {
    SVGTimeline(
      title: title, note: note,
      lanes: lanes.map { lane in
        let busy =
          lane.totals.allSatisfy { !$0.activity.isWaiting } ? nil : 1 - Verdict.share(lane.waitingSeconds, of: lane)
        return SVGTimeline.Lane(
          name: lane.name, note: busy.map { "busy \(Verdict.percent($0))" } ?? "",
          spans: lane.spans.map { SVGTimeline.Span(kind($0.activity), from: $0.start, to: $0.end) })
      }, seconds: seconds)
  }
}

/// The colour of an activity, the same in all panels.
private func kind(_ activity: Activity) -> SVGKind {
  if activity.isWaiting { return SVGKind("waits", colour: SVGKind.pale) }
  // Those that share a colour never meet in one panel.
  let places: [Activity: Int] = [
    .tokenize: 0, .forward: 1, .encode: 2, .write: 3, .sync: 5, .compute: 0, .gather: 2, .optimize: 3, .decode: 4,
  ]
  return SVGKind(activity.rawValue, colour: places[activity].map { SVGKind.colours[$0] } ?? "#000000")
}

private let cold = SVGKind("cold", colour: SVGKind.colours[4])
private let warm = SVGKind("warm", colour: SVGKind.colours[1])
private let decoding = SVGKind("decode", colour: SVGKind.colours[0])

extension ReadBenchmark.Result {
  var bars: SVGBars {
    SVGBars(
      title: "Reading \(hook) (\(dtype) \(codec), \(byteSize(bytes))): tokens/s",
      rows: rows.map { row in
        SVGBars.Row(
          label: "\(row.access.rawValue), \(row.io.rawValue), \(row.threads) thr.",
          parts: [(kind: row.isCold ? cold : warm, value: row.tokensPerSecond.median)],
          caption:
            "\(threeDigits(row.tokensPerSecond.median)), \(byteSize(Int(row.diskBytesPerSecond)))/s, \(row.state)",
          spread: row.tokensPerSecond.min...row.tokensPerSecond.max)
      })
  }
}

extension CodecBenchmark.Result {
  var bars: SVGBars {
    SVGBars(
      title: "Decoding on one thread: values/s",
      rows: rows.map { row in
        SVGBars.Row(
          label: "\(row.dtype) \(row.codec), \(fixed(row.bytesPerValue, 2)) B/value",
          parts: [(kind: decoding, value: row.decode.median)], caption: threeDigits(row.decode.median),
          spread: row.decode.min...row.decode.max)
      })
  }
}
