import Memory

/// Frames of one stream encoded and decoded in memory, on the calling thread: for measuring alone.
package final class CodecTrial {
  /// Values in all frames.
  package let nValues: Int
  /// Bytes of all frames before compression.
  package private(set) var contentBytes = 0
  /// And after the last `encode`.
  package private(set) var encodedBytes = 0
  private let coding: ValueCoding
  private let codec: ShardCodec
  private let encoder: FrameEncoder
  /// As a reader has it, which trusts its own digest, and as the library is without being told anything.
  private let decoder: ZstdDecoder
  private let plainDecoder: ZstdDecoder
  /// One per frame.
  private let blocks: [SequenceBlock]
  private let rowsPerFrame: Int
  private var frames: [EncodedFrame] = []
  private let content: FrameBuffer
  private let copy: FrameBuffer

  /// - Parameter values: [sequences · context, width], row-major; sequences that fill no frame are left out.
  /// - Throws: `ActCacheError.unsupported` for a type or codec that this version does not know.
  package init(_ stream: StreamSpec, values: [Float], context: Int, sequencesPerFrame: Int) throws {
    coding = try stream.coding
    codec = try stream.shardCodec
    encoder = FrameEncoder(
      streams: [FrameEncoder.Stream(name: stream.hookName ?? stream.name, coding: coding, codec: codec)],
      context: context, sequencesPerFrame: sequencesPerFrame)
    decoder = try ZstdDecoder(verifiesContent: false)
    plainDecoder = try ZstdDecoder()
    rowsPerFrame = sequencesPerFrame * context
    let perFrame = rowsPerFrame * stream.width
    blocks = (0..<(values.count / perFrame)).map { i in
      SequenceBlock(
        first: i * sequencesPerFrame, tokens: [],
        lengths: [UInt32](repeating: UInt32(context), count: sequencesPerFrame),
        activations: [Array(values[(i * perFrame)..<((i + 1) * perFrame)])])
    }
    nValues = blocks.count * perFrame
    guard nValues > 0 else { throw ActCacheError.unsupported("\(values.count) values fill no frame of \(perFrame)") }
    content = FrameBuffer(count: rowsPerFrame * coding.rowByteCount)
    copy = FrameBuffer(count: content.count)
  }

  /// Statistics, rounding, planes and compression of all frames.
  package func encode() throws {
    frames = try blocks.map { try encoder.encode($0)[0][0].frame }
    contentBytes = frames.reduce(0) { $0 + $1.contentBytes }
    encodedBytes = frames.reduce(0) { $0 + $1.bytes.count }
  }

  /// Decodes and widens what `encode` made into `output`, [nValues], taking digests as a reader does.
  package func decode(into output: inout [Float]) throws {
    precondition(output.count == nValues, "\(output.count) values, not \(nValues)")
    var values = output.mutableSpan
    for (i, frame) in frames.enumerated() {
      _ = frame.bytes.withRawSpan { XXH64.hash($0, seed: UInt64(i)) }
      try decompress(frame, with: decoder)
      content.withBytes(0..<content.count) {
        coding.decode($0, of: rowsPerFrame, rows: 0..<rowsPerFrame, into: &values, atRow: i * rowsPerFrame)
      }
    }
  }

  /// The least that reading takes: ZSTD_decompressDCtx, and a copy of what comes out.
  package func decompressAndCopy() throws {
    for frame in frames {
      try decompress(frame, with: plainDecoder)
      copy.withMutableBytes(0..<copy.count) { output in content.withBytes(0..<content.count) { output.copy(from: $0) } }
    }
  }

  private func decompress(_ frame: EncodedFrame, with decoder: ZstdDecoder) throws {
    try content.withMutableBytes(0..<content.count) { output in
      try frame.bytes.withRawSpan { encoded in
        if codec == .none { return output.copy(from: encoded) }
        try decoder.decode(encoded, into: &output)
      }
    }
  }
}
