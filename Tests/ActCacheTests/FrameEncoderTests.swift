import Foundation
import Memory
import TestSupport
import Testing

@testable import ActCache

struct FrameEncoderTests {
  @Test func saturationKeepsF16FiniteAndIsCounted() throws {
    let coding = try ValueCoding(type: .float(.f16), width: 2, codec: .none)
    let stream = FrameEncoder.Stream(name: "h", coding: coding, codec: .none)
    let block = SequenceBlock(
      first: 0, tokens: [0, 0, 0], lengths: [1, 1, 1], activations: [[1, 7e4, -1e9, 2, 65_504, 65_519]])
    func outputs(_ saturates: Bool) throws -> [FrameEncoder.Output] {
      try FrameEncoder(streams: [stream], context: 1, sequencesPerFrame: 2, saturates: saturates)
        .encode(block).flatMap { $0 }
    }
    #expect(throws: ActCacheError.self) { try outputs(false) }
    let frames = try outputs(true)
    #expect(frames.map(\.nSaturated) == [2, 0])
    var decoded = [Float](repeating: 0, count: 6)
    var output = decoded.mutableSpan
    for (i, n) in [2, 1].enumerated() {
      frames[i].frame.bytes.withRawSpan { coding.decode($0, of: n, rows: 0..<n, into: &output, atRow: 2 * i) }
    }
    #expect(decoded == [1, 65_504, -65_504, 2, 65_504, 65_504])
    // The statistics are of the activations, not of what is stored.
    #expect(frames[0].statistics.maxAbs == 1e9)
    let lost = 4496.0 * 4496 + (1e9 - 65_504) * (1e9 - 65_504)
    #expect(frames[0].statistics.squaredError == lost && frames[1].statistics.squaredError == 15 * 15)
  }

  @Test(arguments: ["bf16", "f16", "f32", "fix:3"], ["zstd:1", "none"])
  func whatStoringCostsIsMeasuredWithoutPadding(type: String, codec: String) throws {
    for width in [1, 3, 16, 37] { try checkStorageError(type, codec, width) }
  }

  private func checkStorageError(_ type: String, _ codec: String, _ width: Int) throws {
    if type == "fix:3" && codec == "none" { return }
    let steps = type == "fix:3" ? (0..<width).map { 0.01 * Float(1 + $0) } : nil
    let spec = StreamSpec.hook("h", width: width, dtype: type, codec: codec, steps: steps)
    let coding = try spec.coding
    var random = SeededGenerator(seed: 3)
    let (context, lengths) = (4, [UInt32(4), 1, 3, 4, 2])
    let values = random.floats(lengths.count * context * width, in: -5...5)
    let encoder = FrameEncoder(
      streams: [.init(name: "h", coding: coding, codec: try spec.shardCodec)], context: context, sequencesPerFrame: 2)
    let frames = try encoder.encode(
      SequenceBlock(first: 0, tokens: [], lengths: lengths, activations: [values])
    ).flatMap { $0 }
    for (i, frame) in frames.enumerated() {
      var (expected, all) = (0.0, StreamStatistics(width: width))
      for sequence in (2 * i)..<min(2 * i + 2, lengths.count) {
        let rows = (sequence * context)..<(sequence * context + Int(lengths[sequence]))
        _ = all.add(values.span, from: rows.lowerBound * width, nRows: rows.count)
        let mine = Array(values[rows.lowerBound * width..<rows.upperBound * width])
        let content = try coding.encode(mine.span)
        var stored = mine
        content.withRawSpan { bytes in
          var output = stored.mutableSpan
          coding.decode(bytes, of: rows.count, rows: 0..<rows.count, into: &output)
        }
        for (x, y) in zip(mine, stored) { expected += (Double(x) - Double(y)) * (Double(x) - Double(y)) }
      }
      let found = try #require(frame.statistics.squaredError)
      #expect(abs(found - expected) <= 1e-12 * expected && (found > 0) == (type != "f32"))
      let fvu = try #require(frame.statistics.summary().fvu)
      #expect(abs(fvu - expected / (all.summary().variance * Double(width * all.nTokens))) <= 1e-9 * fvu)
    }
  }

  @Test func cachesOfBeforeHaveNoStorageError() throws {
    var statistics = StreamStatistics(width: 1, squaredError: 0)
    _ = statistics.add([1, 2].span, from: 0, nRows: 2)
    guard case .object(var members) = try CanonicalJSON(parsing: CanonicalJSON.encode(statistics)) else { return }
    members["squaredError"] = nil
    var old = try JSONDecoder().decode(StreamStatistics.self, from: Data(CanonicalJSON.object(members).bytes))
    #expect(old.squaredError == nil && old.summary().fvu == nil && statistics.summary().fvu == 0)
    statistics.merge(old)
    old.merge(StreamStatistics(width: 1, squaredError: 0))
    #expect(statistics.summary().fvu == nil && old.squaredError == nil && statistics.nTokens == 4)
    for bad in [CanonicalJSON.integer(-1), .number(1e308)] {
      members["squaredError"] = bad
      var other = try JSONDecoder().decode(StreamStatistics.self, from: Data(CanonicalJSON.object(members).bytes))
      #expect(other.isConsistent(width: 1) == (bad == .number(1e308)))
      other.merge(other)
      #expect(other.isConsistent(width: 1) == false)
    }
  }

  @Test func framesHaveAtLeast64KiBAndWholePagesWhereTheyAreMapped() {
    func count(_ sequenceBytes: [Int], _ codec: ShardCodec) -> Int {
      FrameSize.sequencesPerFrame(of: sequenceBytes.map { ($0, codec) })
    }
    let zstd = ShardCodec.zstd(level: 1)
    #expect(count([128 * 768 * 2], zstd) == 1 && count([128 * 768 * 2], .none) == 1)
    #expect(count([128 * 64 * 2], zstd) == 4 && count([128 * 64 * 2], .none) == 4)
    #expect(count([100], zstd) == 656 && count([100], .none) == 1024)
    #expect(count([96, 1000, 3], .none) == 24_576)
    // 4,096 sequences of odd size exceed the limit of a frame: it is not aligned.
    #expect(count([65_537], .none) == 1)
    #expect(count([], .none) == 65_536 && count([0], zstd) == 65_536)
    #expect(
      FrameSize.sequencesPerFrame(of: [(96, zstd), (100, .none)]) == 1024
        && FrameSize.sequencesPerFrame(of: [(100, zstd), (96, .none)]) == 768)
  }
}
