import Memory

/// Reads the token stream frame by frame, remembering the last frame.
///
/// It gives any sequence, held-out ones too: training goes through the readers that leave them out.
package final class TokenStream {
  private let cache: CacheReader
  private let decoder: FrameDecoder
  private var content = FrameBuffer.none
  private var loaded: (shard: Int, frame: Int)?

  package init(_ cache: CacheReader) throws {
    self.cache = cache
    decoder = try FrameDecoder()
  }

  /// Token ids of one sequence, `context` of them, and how many are text.
  package func sequence(_ index: Int) throws -> (tokens: [UInt32], length: Int) {
    let context = cache.manifest.context
    let (shard, inShard) = cache.place(ofSequence: index)
    let (frame, row) = inShard.quotientAndRemainder(dividingBy: cache.manifest.spec.tokenSequencesPerFrame)
    let reader = try cache.shard(shard, of: "tokens")
    let count = reader.contentBytes(ofFrame: frame)
    if loaded?.shard != shard || loaded?.frame != frame {
      if content.count < count { content = FrameBuffer(count: count) }
      loaded = nil
      try content.withMutableBytes(0..<count) { try reader.decode(frame: frame, with: decoder, into: &$0) }
      loaded = (shard, frame)
    }
    let n = reader.header.sequences(inFrame: frame)
    return content.withBytes(0..<count) { bytes in
      let wide = reader.header.bytesPerValue == 4
      let tokens = (0..<context).map { position -> UInt32 in
        let i = row * context + position
        if wide { return bytes.u32(at: 4 * i) ?? 0 }
        return UInt32(bytes.u8(at: 2 * i) ?? 0) | UInt32(bytes.u8(at: 2 * i + 1) ?? 0) << 8
      }
      guard reader.header.hasLengths else { return (tokens, context) }
      let lengths = n * context * reader.header.bytesPerValue
      return (tokens, min(context, Int(bytes.u32(at: lengths + 4 * row) ?? 0)))
    }
  }
}
