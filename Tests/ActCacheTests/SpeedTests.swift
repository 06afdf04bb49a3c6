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

    private func seconds(_ body: () throws -> Void) rethrows -> Double {
      let start = DispatchTime.now().uptimeNanoseconds
      try body()
      return Double(DispatchTime.now().uptimeNanoseconds - start) / 1e9
    }

    @Test(arguments: ElementType.allCases) func encodingAndDecodingRates(type: ElementType) throws {
      let values = SpeedTests.frame(1)
      let n = SpeedTests.nValues
      let encoder = try ZstdEncoder(level: 1)
      let decoder = try ZstdDecoder()
      var planes = [UInt8](repeating: 0, count: n * type.byteCount)
      var widened = [Float](repeating: 0, count: n)
      var copy = planes
      var times: [String: [Double]] = [:]
      var frame: [UInt8] = []
      let ratioOfFrame = 20
      for _ in 0..<7 {
        times["split", default: []].append(
          seconds { for _ in 0..<ratioOfFrame { planes = BytePlanes.split(values.span, as: type) } })
        try times["compress", default: []].append(
          seconds {
            for _ in 0..<ratioOfFrame {
              frame = try planes.withRawSpan { try encoder.frame($0, planeByteCount: n) }
            }
          })
        try times["floor", default: []].append(
          seconds {
            for _ in 0..<ratioOfFrame {
              try frame.withRawSpan { try decoder.decode($0, into: &planes, at: 0, count: planes.count) }
              copy.replaceSubrange(0..<copy.count, with: planes)
            }
          })
        times["digest", default: []].append(
          seconds { for i in 0..<ratioOfFrame { _ = frame.withRawSpan { XXH64.hash($0, seed: UInt64(i)) } } })
        try times["decode", default: []].append(
          seconds {
            for _ in 0..<ratioOfFrame {
              _ = frame.withRawSpan { XXH64.hash($0, seed: 3) }
              try frame.withRawSpan { try decoder.decode($0, into: &planes, at: 0, count: planes.count) }
              var output = widened.mutableSpan
              planes.withRawSpan { BytePlanes.join($0, of: n, as: type, 0..<n, into: &output, at: 0) }
            }
          })
        times["widen", default: []].append(
          seconds {
            for _ in 0..<ratioOfFrame {
              var output = widened.mutableSpan
              planes.withRawSpan { BytePlanes.join($0, of: n, as: type, 0..<n, into: &output, at: 0) }
            }
          })
      }
      func rate(_ name: String) -> Double {
        let sorted = (times[name] ?? []).sorted()
        return Double(n * ratioOfFrame) / sorted[sorted.count / 2] / 1e6
      }
      let percent = 100 * Double(frame.count) / Double(planes.count)
      print(
        "\(type): \(String(format: "%.1f", percent)) %, Mvalues/s: "
          + ["split", "compress", "digest", "widen", "decode", "floor"].map { "\($0) \(Int(rate($0)))" }.joined(
            separator: ", ")
          + String(format: "; decode is %.2f of the floor (decompress and copy)", rate("decode") / rate("floor")))
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
