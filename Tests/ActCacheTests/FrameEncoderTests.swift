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
