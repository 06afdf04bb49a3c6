import ActCache
import Report
import SAE
import Train

/// What `actcache bench` measured, of whatever was asked for.
package struct BenchReport: Codable, Sendable {
  package var machine = Machine.here
  /// Part of the stream's files that was in memory when training began.
  package var residentBefore: Double?
  package var codec: CodecBenchmark.Result?
  package var read: ReadBenchmark.Result?
  package var harvest: HarvestBenchmark.Result?
  package var train: TrainBenchmark.Result?
  package var live: LiveBenchmark.Result?

  package init() {}

  /// On which machine, for every figure below it.
  var setting: String {
    "\(machine.cpu), \(machine.threads) threads of \(machine.cores) cores, OpenBLAS \(machine.blasCore), "
      + "\(byteSize(machine.memoryBytes)) of memory, load \(fixed(machine.load, 1)) at the start"
  }

  /// Tables with bars for the terminal.
  package var text: String {
    let pages = residentBefore.map { " \(Verdict.percent($0)) of the stream was in memory when training began." } ?? ""
    return [
      "\(setting). Figures are medians of repeats, with their ends in brackets.\(pages)", harvest?.text, read?.text,
      train?.text,
      live?.text, codec?.text,
    ].compactMap { $0 }.joined(separator: "\n\n")
  }
}

/// A table of what the threads did, with pale bars for waiting.
private func laneTable(_ lanes: [Lane]) -> String {
  var table = TextTable([("thread", .left), ("", .left), ("seconds", .right), ("share", .right), ("", .left)])
  for lane in lanes {
    let totals = lane.totals.filter { !$0.activity.isWaiting } + lane.totals.filter(\.activity.isWaiting)
    for (i, total) in totals.enumerated() {
      let share = Verdict.share(total.seconds, of: lane)
      table.add([
        i == 0 ? lane.name : "", total.activity.rawValue, fixed(total.seconds, 3), Verdict.percent(share),
        textBar(share, isPale: total.activity.isWaiting),
      ])
    }
  }
  return table.text
}

extension Spread {
  /// "1.06 M (0.98 M to 1.1 M)"
  var text: String { "\(threeDigits(median)) (\(threeDigits(min)) to \(threeDigits(max)))" }
}

extension HarvestBenchmark.Result {
  var text: String {
    """
    harvest: \(hooks.joined(separator: ", ")), \(dtype) \(codec), \(grouped(tokens)) tokens in \(shards) shards, \
    context \(context), \(byteSize(bytes)), \(threads) threads, warm, \(tokensPerSecond.repeats) runs
    \(tokensPerSecond.text) tokens/s; \(verdict)
    \(laneTable(lanes))
    """
  }
}

extension ReadBenchmark.Result {
  var text: String {
    let most = rows.map(\.tokensPerSecond.median).max() ?? 1
    var table = TextTable([
      ("reading", .left), ("page cache", .left), ("io", .left), ("threads", .right), ("tokens/s", .right),
      ("of disk", .right), ("", .left),
    ])
    for row in rows {
      table.add([
        row.access.rawValue, row.state, row.io.rawValue, "\(row.threads)", row.tokensPerSecond.text,
        "\(byteSize(Int(row.diskBytesPerSecond)))/s", textBar(row.tokensPerSecond.median / most),
      ])
    }
    let mixed = mixing.map {
      "\na batch of \(grouped($0.batchSize)) as training reads it has tokens of \(fixed($0.measured, 1)) sequences "
        + "(\(fixed($0.expected, 1)) expected, \(fixed($0.ideal, 1)) with windows of the whole cache)"
    }
    return """
      reading: \(hook) of \(cache), \(dtype) \(codec), width \(width), \(grouped(tokens)) tokens (\(byteSize(bytes)) of \
      \(byteSize(streamBytes)) on disk), batches of \(grouped(batch)), \(rows.first?.tokensPerSecond.repeats ?? 0) runs each
      \(table.text)\(mixed ?? "")
      """
  }
}

extension ReadBenchmark.Row {
  /// Cold, as far as the system forgot.
  package var state: String {
    !isCold ? "warm" : residentBefore < 0.01 ? "cold" : "\(Verdict.percent(residentBefore)) warm"
  }
}

extension TrainBenchmark.Result {
  package var text: String {
    """
    training: \(arch.rawValue), d \(d), \(grouped(latents)) latents, k \(k), batch \(grouped(batch)), \(threads) threads, \
    \(steps) steps
    \(threeDigits(tokensPerSecond)) tokens/s; \(fixed(medianSecondsPerStep * 1e3, 1)) ms/step \
    (\(fixed(minSecondsPerStep * 1e3, 1)) to \(fixed(maxSecondsPerStep * 1e3, 1)))\
    \(lanes.first.map { "; " + Verdict.training($0) } ?? "")
    \(laneTable(lanes))\(profile.phases.isEmpty ? "" : "\n" + profile.text)
    """
  }
}

extension StepProfile {
  /// A table of the phases of a step, beside what the machine gives.
  package var text: String {
    var table = TextTable([
      ("phase of a step", .left), ("ms", .right), ("share", .right), ("needed arithmetic", .right), ("memory", .right),
      ("of the machine", .right), ("", .left),
    ])
    for phase in phases {
      let ofMachine =
        phase.gflops.flatMap { rate in machineGFLOPs.map { rate / $0 } }
        ?? phase.gigabytesPerSecond.flatMap { rate in machineGBs.map { rate / $0 } }
      table.add([
        phase.name, fixed(phase.secondsPerStep * 1e3, 2), Verdict.percent(share(of: phase)),
        phase.gflops.map { "\(threeDigits($0)) GFLOP/s" } ?? "",
        phase.gigabytesPerSecond.map { "\(threeDigits($0)) GB/s" } ?? "", ofMachine.map(Verdict.percent) ?? "",
        textBar(share(of: phase)),
      ])
    }
    guard let machineGFLOPs, let machineGBs else { return table.text }
    return table.text
      + "\nthe machine: products at \(threeDigits(machineGFLOPs)) GFLOP/s, copies at \(threeDigits(machineGBs)) GB/s"
  }
}

extension LiveBenchmark.Result {
  /// Milliseconds of a step by what is done in it.
  private func parts(_ result: TrainBenchmark.Result) -> [(Activity, Double)] {
    (result.lanes.first?.totals ?? []).map { ($0.activity, $0.seconds / Double(result.steps) * 1e3) }
  }

  var text: String {
    let most = max(cached.medianSecondsPerStep, live.medianSecondsPerStep) * 1e3
    var table = TextTable([("batches", .left), ("", .left), ("ms/step", .right), ("", .left)])
    for (name, result) in [("from the cache", cached), ("model in the loop", live)] {
      for (i, part) in parts(result).enumerated() {
        table.add([
          i == 0 ? name : "", part.0.rawValue, fixed(part.1, 2), textBar(part.1 / most, isPale: part.0.isWaiting),
        ])
      }
    }
    return """
      live against cached: \(cached.arch.rawValue) on \(hook), d \(cached.d), \(grouped(cached.latents)) latents, batch \
      \(grouped(cached.batch)), context \(context), \(cached.threads) threads, \(cached.steps) steps each
      \(threeDigits(cached.tokensPerSecond)) tokens/s from the cache, \(threeDigits(live.tokensPerSecond)) with the model \
      in the loop: \(fixed(gain, 2)) times as fast; \(verdict)
      \(table.text)
      """
  }
}

extension CodecBenchmark.Result {
  var text: String {
    var table = TextTable([
      ("dtype", .left), ("codec", .left), ("B/value", .right), ("ratio", .right), ("encode, values/s", .right),
      ("decode, values/s", .right), ("of floor", .right), ("FVU", .right), ("worst channel", .right), ("", .left),
    ])
    let most = rows.map(\.decode.median).max() ?? 1
    for row in rows {
      table.add([
        row.dtype, row.codec, fixed(row.bytesPerValue, 2), Verdict.percent(row.ratio), row.encode.text, row.decode.text,
        row.shareOfFloor.map(Verdict.percent) ?? "–", scientific(row.fvu),
        "\(scientific(row.worstChannelFVU)) (\(row.worstChannel))",
        textBar(row.decode.median / most, width: 16),
      ])
    }
    let rest = leftOut.map { "\nleft out: \($0)" }.joined()
    return """
      codecs: \(hook), \(values), \(grouped(tokens)) tokens of width \(width), frames of \(byteSize(frameBytes)) (bf16), 1 \
      thread, in memory; the floor is decompressing and copying alone
      \(table.text)\(rest)
      """
  }
}
