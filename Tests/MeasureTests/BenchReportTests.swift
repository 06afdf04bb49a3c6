import Foundation
import Harvest
import Report
import SAE
import TestSupport
import Testing

@testable import ActCache
@testable import Measure
@testable import Train

@Suite struct BenchReportTests {
  private let machine = Machine(
    cpu: "A CPU", cores: 4, threads: 2, blasCore: "SkylakeX", memoryBytes: 25_000_000_000, load: 0.25)

  private func lane(_ name: String, _ parts: [(Activity, Double)]) -> Lane {
    var lane = Lane(name)
    var time = 0.0
    for (activity, seconds) in parts {
      lane.add(Lane.Span(activity, from: time, to: time + seconds), keepsSpans: true)
      time += seconds
    }
    return lane
  }

  private func step(_ parts: [(Activity, Double)]) -> TrainBenchmark.Result {
    let seconds = parts.reduce(0) { $0 + $1.1 }
    return TrainBenchmark.Result(
      arch: .topk, d: 128, latents: 1024, k: 16, batch: 4096, threads: 2, steps: 1, secondsPerStep: [seconds],
      medianSecondsPerStep: seconds, minSecondsPerStep: seconds, maxSecondsPerStep: seconds,
      tokensPerSecond: 4096 / seconds, l0: 16, encoderGFLOPs: 1, lanes: [lane("train", parts)])
  }

  @Test func phasesOfAStepAreSharesOfItAndOfTheMachine() {
    var profile = StepProfile(phases: [
      StepProfile.Phase(name: "encoder product", secondsPerStep: 0.003, gflops: 300),
      StepProfile.Phase(name: "optimizer", secondsPerStep: 0.001, gigabytesPerSecond: 20),
    ])
    let cells = profile.text.split(separator: "\n").map { $0.split(separator: " ").joined(separator: " ") }
    #expect(cells[2].hasPrefix("encoder product 3.00 75 % 300 GFLOP/s"))
    #expect(cells[3].hasPrefix("optimizer 1.00 25 % 20.0 GB/s"))
    (profile.machineGFLOPs, profile.machineGBs) = (400, 40)
    #expect(profile.text.contains("300 GFLOP/s") && profile.text.contains(" 50 %"))
    #expect(profile.text.hasSuffix("products at 400 GFLOP/s, copies at 40.0 GB/s"))
  }

  private var report: BenchReport {
    var report = BenchReport()
    report.machine = machine
    report.residentBefore = 0.5
    report.harvest = HarvestBenchmark.Result(
      hooks: ["blocks.1.hook_resid_post"], context: 128, tokens: 65_536, shards: 4, threads: 2, dtype: "bf16",
      codec: "zstd:1", bytes: 1_500_000, tokensPerSecond: Spread([50_000, 40_000, 60_000], seconds: 4),
      lanes: [
        lane("model", [(.waitsForInput, 0.1), (.forward, 1.9)]),
        lane("writer", [(.waitsForInput, 1), (.encode, 0.75), (.sync, 0.25)]),
      ], verdict: "writer waits for model")
    report.live = LiveBenchmark.Result(
      hook: "h", context: 128, cached: step([(.waitsForInput, 0.001), (.gather, 0.001), (.compute, 0.008)]),
      live: step([(.forward, 0.03), (.compute, 0.01)]), gain: 4, verdict: "so it is")
    report.read = ReadBenchmark.Result(
      cache: "c", hook: "h", dtype: "bf16", codec: "zstd:1", width: 128, frames: 10, tokens: 5120,
      streamBytes: 2_000_000,
      bytes: 1_000_000, batch: 64,
      rows: [
        ReadBenchmark.Row(
          access: .inOrder, io: .mmap, isCold: true, residentBefore: 0, threads: 1,
          tokensPerSecond: Spread([1e6], seconds: 1), diskBytesPerSecond: 195e6),
        ReadBenchmark.Row(
          access: .batches, io: .pread, isCold: true, residentBefore: 0.5, threads: 1,
          tokensPerSecond: Spread([5e5], seconds: 1), diskBytesPerSecond: 97e6),
      ], mixing: MixingMetric(batchSize: 64, nBatches: 8, measured: 30.5, expected: 31.2, ideal: 39.9))
    report.codec = CodecBenchmark.Result(
      hook: "h", values: "exact", tokens: 5120, width: 128, frameBytes: 65_536,
      rows: [
        CodecBenchmark.Row(
          dtype: "bf16", codec: "zstd:1", bytesPerValue: 1.375, ratio: 0.6875, encode: Spread([2e8], seconds: 1),
          decode: Spread([1e9], seconds: 1), shareOfFloor: 0.8, fvu: 3.5e-6, worstChannel: 7, worstChannelFVU: 0)
      ], leftOut: ["fix:5 none: no"])
    return report
  }

  @Test func theTextHasATableForEverythingThatWasMeasured() {
    #expect(
      report.text == """
        A CPU, 2 threads of 4 cores, OpenBLAS SkylakeX, 25 GB of memory, load 0.2 at the start. Figures are medians of repeats, with their ends in brackets. 50 % of the stream was in memory when training began.

        harvest: blocks.1.hook_resid_post, bf16 zstd:1, 65,536 tokens in 4 shards, context 128, 1.5 MB, 2 threads, warm, 3 runs
        50.0 k (40.0 k to 60.0 k) tokens/s; writer waits for model
        thread                   seconds  share
        ────────────────────────────────────────────────────────────────
        model   forward            1.900   95 %  ██████████████████████▊
                waits for input    0.100    5 %  ░
        writer  encode             0.750   38 %  █████████
                fsync              0.250   13 %  ███
                waits for input    1.000   50 %  ░░░░░░░░░░░░

        reading: h of c, bf16 zstd:1, width 128, 5,120 tokens (1.0 MB of 2.0 MB on disk), batches of 64, 1 runs each
        reading           page cache  io     threads                   tokens/s   of disk
        ───────────────────────────────────────────────────────────────────────────────────────────────────────────
        frames in order   cold        mmap         1  1.00 M (1.00 M to 1.00 M)  195 MB/s  ████████████████████████
        shuffled batches  50 % warm   pread        1     500 k (500 k to 500 k)   97 MB/s  ████████████
        a batch of 64 as training reads it has tokens of 30.5 sequences (31.2 expected, 39.9 with windows of the whole cache)

        live against cached: topk on h, d 128, 1,024 latents, batch 4,096, context 128, 2 threads, 1 steps each
        410 k tokens/s from the cache, 102 k with the model in the loop: 4.00 times as fast; so it is
        batches                             ms/step
        ───────────────────────────────────────────────────────────────
        from the cache     waits for input     1.00  ░
                           gather              1.00  ▋
                           compute             8.00  ████▊
        model in the loop  forward            30.00  ██████████████████
                           compute            10.00  ██████

        codecs: h, exact, 5,120 tokens of width 128, frames of 66 kB (bf16), 1 thread, in memory; the floor is decompressing and copying alone
        dtype  codec   B/value  ratio        encode, values/s           decode, values/s  of floor       FVU  worst channel
        ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
        bf16   zstd:1     1.38   69 %  200 M (200 M to 200 M)  1.00 G (1.00 G to 1.00 G)      80 %  3.50e-06          0 (7)  ████████████████
        left out: fix:5 none: no
        """)
  }

  @Test func thePictureIsWellFormedAndShowsWhoWaits() {
    var report = report
    report.train = step([(.waitsForInput, 0.001), (.compute, 0.009)])
    let svg = report.picture.svg
    #expect(isWellFormedXML(svg) && isWellFormedXML(report.picture.html))
    for text in ["waits", "forward", "busy 95 %", "from the cache", "frames in order, mmap, 1 thr.", "bf16 zstd:1"] {
      #expect(svg.contains(text), "\(text)")
    }
    #expect(isWellFormedXML(BenchReport().picture.svg), "nothing measured")
  }

  @Test func inJSONTheLanesHaveTheirTotals() throws {
    let json = try JSONEncoder().encode(report)
    let back = try JSONDecoder().decode(BenchReport.self, from: json)
    #expect(back.harvest?.lanes.map(\.totals) == report.harvest?.lanes.map(\.totals))
    #expect(back.machine == machine && back.read?.rows.count == 2 && back.train == nil)
    #expect(!String(decoding: json, as: UTF8.self).contains("spans"))
  }
}
