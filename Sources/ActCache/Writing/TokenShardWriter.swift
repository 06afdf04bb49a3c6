import Memory

/// Writes the token ids of one range, in frames of their own size.
final class TokenShardWriter {
  private let spec: CacheSpec
  private let shard: ShardWriter
  private let encoder: ZstdEncoder
  /// Tokens and lengths that do not fill a frame yet.
  private var tokens: [UInt32] = []
  private var lengths: [UInt32] = []

  init(spec: CacheSpec, shard: ShardWriter) throws {
    self.spec = spec
    self.shard = shard
    guard case .zstd(let level) = ShardCodec(spec.tokenStream.codec) else {
      throw ActCacheError.unsupported("codec \(spec.tokenStream.codec) of tokens")
    }
    encoder = try ZstdEncoder(level: level)
  }

  func append(_ block: SequenceBlock) throws {
    tokens += block.tokens
    lengths += block.lengths
    while lengths.count >= spec.tokenSequencesPerFrame { try writeFrame(spec.tokenSequencesPerFrame) }
  }

  func commit() throws -> FileRecord {
    if !lengths.isEmpty { try writeFrame(lengths.count) }
    return try shard.commit()
  }

  private func writeFrame(_ n: Int) throws {
    let count = n * spec.identity.tokens.context
    var content: [UInt8] = []
    content.reserveCapacity(count * 4 + n * 4)
    let isShort = spec.tokenType == "u16"
    for token in tokens.prefix(count) {
      if isShort {
        guard token <= 0xFFFF else {
          throw ActCacheError.limit("token \(token) is outside the vocabulary that the model states (at most 65,536)")
        }
        content.append(UInt8(truncatingIfNeeded: token))
        content.append(UInt8(truncatingIfNeeded: token >> 8))
      } else {
        content.append(u32: token)
      }
    }
    let valueBytes = content.count
    if spec.hasLengths { for length in lengths.prefix(n) { content.append(u32: length) } }
    let bytes = try content.withRawSpan { (bytes: RawSpan) throws(ZstdError) in
      try encoder.frame(bytes, planeByteCount: valueBytes)
    }
    try shard.append(EncodedFrame(bytes: bytes, contentBytes: content.count))
    tokens.removeFirst(count)
    lengths.removeFirst(n)
  }
}
