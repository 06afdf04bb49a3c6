import Memory

/// The decoded frames of one shard, checked in every way. For one thread at a time.
final class FrameContents {
  let shard: ShardReader
  private let decoder: FrameDecoder
  private var content = FrameBuffer(count: 0)
  private var loaded = -1

  init(_ shard: ShardReader) throws {
    self.shard = shard
    decoder = try FrameDecoder(verifiesContent: true)
  }

  /// Lends the content of a frame, whose digest and checksum are right.
  /// - Throws: `ActCacheError.damaged`, and what `body` throws.
  func withContent<R>(of frame: Int, _ body: (RawSpan) throws -> R) throws -> R {
    let count = shard.contentBytes(ofFrame: frame)
    if loaded != frame {
      loaded = -1
      if content.count < count { content = FrameBuffer(count: count) }
      try content.withMutableBytes(0..<count) { try shard.decode(frame: frame, with: decoder, into: &$0) }
      loaded = frame
    }
    return try content.withBytes(0..<count, body)
  }

  /// The token ids of a frame and, where its shard has them, the lengths of its sequences.
  func tokens(of frame: Int) throws -> (ids: [UInt32], lengths: [UInt32]) {
    let header = shard.header
    let (n, isWide) = (header.sequences(inFrame: frame) * header.context, header.bytesPerValue == 4)
    return try withContent(of: frame) { bytes in
      let ids = (0..<n).map { i -> UInt32 in
        if isWide { return bytes.u32(at: 4 * i) ?? 0 }
        return UInt32(bytes.u8(at: 2 * i) ?? 0) | UInt32(bytes.u8(at: 2 * i + 1) ?? 0) << 8
      }
      guard header.hasLengths else { return (ids, []) }
      let start = n * header.bytesPerValue
      return (ids, (0..<header.sequences(inFrame: frame)).map { bytes.u32(at: start + 4 * $0) ?? 0 })
    }
  }

  /// The activations of a frame, [sequences · context, width].
  func values(of frame: Int, _ coding: ValueCoding, into output: inout [Float]) throws {
    let n = shard.header.sequences(inFrame: frame) * shard.header.context
    if output.count != n * coding.width { output = [Float](repeating: 0, count: n * coding.width) }
    try withContent(of: frame) { bytes in
      var values = output.mutableSpan
      coding.decode(bytes, of: n, rows: 0..<n, into: &values)
    }
  }

  /// The teacher's targets at the positions of a frame.
  func targets(of frame: Int, _ shape: TargetFrameShape) throws -> TeacherTargets {
    let nTokens = shard.header.sequences(inFrame: frame) * shard.header.context
    return try withContent(of: frame) { bytes in
      do throws(TargetFault) { return try shape.decode(bytes, nTokens: nTokens) } catch {
        throw shard.damaged("frame \(frame): \(error.what)")
      }
    }
  }
}
