#if !DEBUG
  import Dispatch
  import Foundation
  import Memory
  import TestSupport
  import Testing

  @testable import ActCache

  /// Rates of the codec on one core, printed; each asserts only what a slow, busy machine reaches too.
  @Suite(.serialized) struct SpeedTests {
    private static let nValues = 128 * 768
    private static let nFrames = 40

    /// Activation-like values: normal, with per-channel scales over three octaves.
    private static func frame(_ seed: UInt64) -> [Float] {
      var generator = SeededGenerator(seed: seed)
      return (0..<nValues).map { i in
        let sum = (0..<6).reduce(Float(0)) { s, _ in s + Float.random(in: -1...1, using: &generator) }
        return sum * Float(1 + (i % 768) % 8)
      }
    }

    /// Time this thread has computed, which other processes disturb least.
    private func computing(_ body: () throws -> Void) rethrows -> Double {
      func now() -> Double {
        var time = timespec()
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
      }
      let start = now()
      try body()
      return now() - start
    }

    private func seconds(_ body: () throws -> Void) rethrows -> Double {
      let start = DispatchTime.now().uptimeNanoseconds
      try body()
      return Double(DispatchTime.now().uptimeNanoseconds - start) / 1e9
    }

    @Test(arguments: ["bf16", "f16", "f32", "fix:7", "none"]) func encodingAndDecodingRates(name: String) throws {
      let values = SpeedTests.frame(1)
      let n = SpeedTests.nValues
      let width = 768
      let nRows = n / width
      let isRaw = name == "none"
      let type = try #require(StorageType(isRaw ? "f32" : name))
      let steps = (0..<width).map { 1.41 * Float(1 + $0 % 8) / 128 }
      let coding = try ValueCoding(
        type: type, width: width, steps: name == "fix:7" ? steps : nil, codec: isRaw ? .none : .zstd(level: 1))
      let encoder = try ZstdEncoder(level: 1)
      let decoder = try ZstdDecoder(verifiesContent: false)
      let plainDecoder = try ZstdDecoder()
      var content = [UInt8](repeating: 0, count: n * type.byteCount)
      var widened = [Float](repeating: 0, count: n)
      var copy = content
      var times: [String: [Double]] = [:]
      var frame: [UInt8] = []
      let nRepeats = 20
      func time(_ part: String, _ body: () throws -> Void) rethrows {
        try times[part, default: []].append(computing { for _ in 0..<nRepeats { try body() } })
      }
      func decompress(_ decoder: ZstdDecoder) throws {
        var elements = content.mutableSpan
        var output = elements.mutableBytes
        try frame.withRawSpan { bytes in isRaw ? output.copy(from: bytes) : try decoder.decode(bytes, into: &output) }
      }
      func widen() {
        var output = widened.mutableSpan
        content.withRawSpan { coding.decode($0, of: nRows, rows: 0..<nRows, into: &output) }
      }
      for _ in 0..<15 {
        try time("split") { content = try coding.encode(values.span) }
        try time("compress") {
          frame = isRaw ? content : try content.withRawSpan { try encoder.frame($0, planeByteCount: n) }
        }
        try time("floor") {
          try decompress(plainDecoder)
          copy.replaceSubrange(0..<copy.count, with: content)
        }
        time("digest") { _ = frame.withRawSpan { XXH64.hash($0, seed: 3) } }
        try time("decode") {
          _ = frame.withRawSpan { XXH64.hash($0, seed: 3) }
          if !isRaw { try decompress(decoder) }
          widen()
        }
        time("widen") { widen() }
        try time("lesser floor") {
          try decompress(decoder)
          copy.replaceSubrange(0..<copy.count, with: content)
        }
      }
      /// Million values a second; the quarter of the time above and below the median.
      func rate(_ part: String, _ quantile: Double = 0.5) -> Double {
        let sorted = (times[part] ?? []).sorted()
        return Double(n * nRepeats) / sorted[Int(quantile * Double(sorted.count - 1))] / 1e6
      }
      func ratios(_ part: String) -> [Double] {
        zip(times[part] ?? [], times["decode"] ?? []).map { $0 / $1 }.sorted()
      }
      let (ratios, lesser) = (ratios("floor"), ratios("lesser floor"))
      let percent = 100 * Double(frame.count) / Double(content.count)
      print(
        "\(name): \(String(format: "%.1f", percent)) %, Mvalues/s: "
          + ["split", "compress", "digest", "widen", "decode", "floor"].map { "\($0) \(Int(rate($0)))" }.joined(
            separator: ", ")
          + String(
            format: "; decode is %.2f (%.2f–%.2f) of the floor (decompress and copy), %.2f of one without checksums",
            ratios[7], ratios[3], ratios[11], lesser[7]))
      #expect(rate("decode") > 50)
    }

    @Test(arguments: [64, 768]) func gatheringBatches(width: Int) throws {
      let folder = try TemporaryFolder()
      let hooks = [StreamSpec.hook("h", width: width, dtype: "bf16")]
      let n = 1024 * 64 / width * 4
      let cache = SmallCache(context: 128, hooks: hooks, perShard: n, perFrame: max(1, 512 / width))
      let spec = try cache.spec
      let writer = try CacheWriter(path: folder.path, spec: spec, streams: hooks)
      let shard = try writer.begin(0..<n)
      var values: [Float] = []
      while values.count < spec.sequencesPerFrame * 128 * width { values += SpeedTests.frame(UInt64(values.count)) }
      values.removeLast(values.count - spec.sequencesPerFrame * 128 * width)
      let encode = try seconds {
        for first in stride(from: 0, to: n, by: spec.sequencesPerFrame) {
          try shard.append(
            SequenceBlock(
              first: first, tokens: [UInt32](repeating: 3, count: spec.sequencesPerFrame * 128),
              lengths: [UInt32](repeating: 128, count: spec.sequencesPerFrame), activations: [values]))
        }
      }
      let chain = TokenChain(baseKey: try spec.identity.baseKey())
      var end = chain
      end.append(tokens: [UInt32](repeating: 3, count: n * 128), lengths: [])
      _ = try shard.commit(chain: (chain, end))
      try writer.writeGeneration(nSequences: n, chain: end, corpora: [], counts: CorpusCounts())
      let reader = try TrainingReader(
        CacheReader(path: folder.path), hook: "h", batchSize: 4096, seed: 1, memoryBytes: 64 << 20)
      var batch = [Float](repeating: 0, count: 4096 * width)
      let time = try seconds {
        for i in 0..<reader.nBatchesPerEpoch {
          var output = batch.mutableSpan
          try reader.read(batch: i, into: &output)
        }
      }
      let tokens = Double(reader.nBatchesPerEpoch * 4096)
      print(
        "width \(width): encode and write \(Int(Double(n * 128) / encode)) tokens/s, shuffled batches "
          + "\(Int(tokens / time)) tokens/s (\(Int(tokens * Double(width) / time / 1e6)) Mvalues/s), waited "
          + String(format: "%.0f %%", 100 * reader.secondsWaited / time))
      #expect(batch.contains { $0 != 0 })
    }
  }
#endif
