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

    /// Shuffled batches, all of an epoch, against a plain loop over the same frames.
    @Test(arguments: [64, 768], ["bf16", "none"]) func shuffledBatches(width: Int, name: String) throws {
      let folder = try TemporaryFolder()
      let isRaw = name == "none"
      let hooks = [
        StreamSpec.hook("h", width: width, dtype: isRaw ? "f32" : name, codec: isRaw ? "none" : "zstd:1")
      ]
      let perFrame = max(1, 512 / width)
      let n = 1024 * 64 / width * 4
      let cache = SmallCache(
        context: 128, hooks: hooks, perShard: n / 4, perFrame: perFrame)
      let spec = try cache.spec
      let writer = try CacheWriter(path: folder.path, spec: spec, streams: hooks)
      var values: [Float] = []
      while values.count < perFrame * 128 * width { values += SpeedTests.frame(UInt64(values.count)) }
      values.removeLast(values.count - perFrame * 128 * width)
      var chain = TokenChain(baseKey: try spec.identity.baseKey())
      let encode = try seconds {
        for start in stride(from: 0, to: n, by: n / 4) {
          let shard = try writer.begin(start..<(start + n / 4))
          for first in stride(from: start, to: start + n / 4, by: perFrame) {
            try shard.append(
              SequenceBlock(
                first: first, tokens: [UInt32](repeating: 3, count: perFrame * 128),
                lengths: [UInt32](repeating: 128, count: perFrame), activations: [values]))
          }
          let before = chain
          chain.append(tokens: [UInt32](repeating: 3, count: n / 4 * 128), lengths: [])
          _ = try shard.commit(chain: (before, chain))
        }
      }
      try writer.writeGeneration(nSequences: n, chain: chain, corpora: [], counts: CorpusCounts())
      print("\(name), width \(width): encode and write \(Int(Double(n * 128) / encode)) tokens/s")
      for io in CacheIO.allCases {
        let cache = try CacheReader(path: folder.path, io: io)
        let nBytes = perFrame * 128 * width * (isRaw ? 4 : 2)
        let (frame, copy) = (FrameBuffer(count: nBytes), FrameBuffer(count: nBytes))
        let plain = try ZstdDecoder()
        let files = try cache.manifest.shards.map { shard in
          let file = try bytes(of: folder.path + "/" + Receipt.filePath(shard.first..<shard.end, of: "hooks/h"))
          return (file: file, layout: try ShardLayout(size: file.count) { Array(file[$0]) })
        }
        func loop() throws {
          for (file, layout) in files {
            for i in 0..<layout.header.nFrames {
              try file.withRawSpan { file in
                let bytes = file.extracting(layout.offsets[i]..<layout.offsets[i + 1])
                try frame.withMutableBytes(0..<nBytes) { output in
                  isRaw ? output.copy(from: bytes) : try plain.decode(bytes, into: &output)
                }
              }
              frame.withBytes(0..<nBytes) { bytes in copy.withMutableBytes(0..<nBytes) { $0.copy(from: bytes) } }
            }
          }
        }
        var batch = [Float](repeating: 0, count: 4096 * width)
        for nThreads in [1, 2] {
          let reader = try TrainingReader(
            cache, hook: "h", batchSize: 4096, seed: 1, memoryBytes: 32 << 20, nThreads: nThreads)
          func epoch(_ number: Int) throws {
            for i in number * reader.nBatchesPerEpoch..<(number + 1) * reader.nBatchesPerEpoch {
              var output = batch.mutableSpan
              try reader.read(batch: i, into: &output)
            }
          }
          try epoch(0)
          var (times, floors, costs, waits): ([Double], [Double], [Double], [Double]) = ([], [], [], [])
          for i in 1...5 {
            floors.append(try computing(loop))
            let (waited, cost) = (reader.secondsWaited, processSeconds())
            times.append(try seconds { try epoch(i) })
            waits.append((reader.secondsWaited - waited) / (times.last ?? 1))
            costs.append(processSeconds() - cost)
          }
          let nTokens = Double(reader.nBatchesPerEpoch * 4096)
          let (time, floor, cost) = (times.sorted()[2], floors.sorted()[2], costs.sorted()[2])
          print(
            "  \(io.rawValue), \(nThreads) threads: \(Int(nTokens / time)) tokens/s, "
              + "\(Int(nTokens * Double(width) / time / 1e6)) Mvalues/s, waited "
              + String(
                format: "%.0f %%; all threads compute %.2f times as long as decompressing and copying",
                100 * waits.sorted()[2], cost / floor))
        }
      }
      #expect(n > 0)
    }

    /// Time that all threads of this process have computed.
    private func processSeconds() -> Double {
      var time = timespec()
      clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
      return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }
  }
#endif
