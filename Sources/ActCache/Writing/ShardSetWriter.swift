import Memory

/// Writes one range of sequences: the tokens, every hook, and then the receipt that makes them part of the cache.
/// A writer that ends without `commit` leaves nothing behind.
package final class ShardSetWriter {
  package let range: Range<Int>
  private let cache: String
  private let spec: CacheSpec
  private let encoder: FrameEncoder
  private let tokenEncoder: ZstdEncoder
  private let tokenShard: ShardWriter
  private let hookShards: [ShardWriter]
  private var statistics: [StreamStatistics]
  private var next: Int
  /// Tokens and lengths that do not fill a frame yet.
  private var pendingTokens: [UInt32] = []
  private var pendingLengths: [UInt32] = []
  private var nTextTokens = 0

  /// Tokens compress better at this level, and are few.
  private static let tokenLevel = 3

  init(cache: String, spec: CacheSpec, encoder: FrameEncoder, range: Range<Int>) throws {
    self.cache = cache
    self.spec = spec
    self.encoder = encoder
    self.range = range
    next = range.lowerBound
    tokenEncoder = try ZstdEncoder(level: ShardSetWriter.tokenLevel)
    statistics = spec.hooks.map { StreamStatistics(width: $0.width) }
    let name = Receipt.rangeName(range) + ".zst"
    let key = try spec.identity.baseKey()
    tokenShard = try ShardWriter.start(
      folder: cache, relativePath: "tokens/" + name,
      header: ShardHeader(
        stream: "tokens", baseKey: key, streamKey: spec.tokenStreamKey(baseKey: key), first: range.lowerBound,
        end: range.upperBound, context: spec.identity.tokens.context, width: 1, dtype: spec.tokenType, transforms: [],
        codec: "zstd:\(ShardSetWriter.tokenLevel)", sequencesPerFrame: spec.tokenSequencesPerFrame,
        hasLengths: spec.hasLengths))
    hookShards = try spec.hooks.map { hook in
      try ShardWriter.start(
        folder: cache, relativePath: "hooks/\(hook.name)/" + name,
        header: ShardHeader(
          stream: "hooks/" + hook.name, baseKey: key, streamKey: hook.streamKey(baseKey: key),
          first: range.lowerBound, end: range.upperBound, context: spec.identity.tokens.context, width: hook.width,
          dtype: hook.dtype, transforms: spec.codec == "none" ? [] : ["byteplanes"], codec: spec.codec,
          sequencesPerFrame: spec.sequencesPerFrame, hasLengths: false, steps: hook.steps.map(FixedPoint.digest)))
    }
  }

  /// Appends the sequences that follow: a whole number of frames, unless they end the range.
  package func append(_ block: SequenceBlock) throws {
    let context = spec.identity.tokens.context
    let end = block.first + block.nSequences
    precondition(block.first == next, "sequences from \(block.first), \(next) is next")
    precondition(
      end <= range.upperBound && (end == range.upperBound || block.nSequences % spec.sequencesPerFrame == 0),
      "\(block.nSequences) sequences are not whole frames of \(spec.sequencesPerFrame)")
    precondition(block.tokens.count == block.nSequences * context, "\(block.tokens.count) tokens")
    precondition(block.activations.count == spec.hooks.count, "\(block.activations.count) hooks")
    for (hook, values) in zip(spec.hooks, block.activations) {
      precondition(values.count == block.nSequences * context * hook.width, "\(hook.name): \(values.count) values")
    }
    for frame in try encoder.encode(block) {
      for (i, output) in frame.enumerated() {
        try hookShards[i].append(output.frame)
        statistics[i].merge(output.statistics)
      }
    }
    pendingTokens += block.tokens
    pendingLengths += block.lengths
    for length in block.lengths { nTextTokens += Int(length) }
    next = end
    while pendingLengths.count >= spec.tokenSequencesPerFrame { try writeTokens(spec.tokenSequencesPerFrame) }
  }

  private func writeTokens(_ n: Int) throws {
    let count = n * spec.identity.tokens.context
    var content: [UInt8] = []
    content.reserveCapacity(count * 4 + n * 4)
    let isShort = spec.tokenType == "u16"
    for token in pendingTokens.prefix(count) {
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
    if spec.hasLengths { for length in pendingLengths.prefix(n) { content.append(u32: length) } }
    let bytes = try content.withRawSpan { (bytes: RawSpan) throws(ZstdError) in
      try tokenEncoder.frame(bytes, planeByteCount: valueBytes)
    }
    try tokenShard.append(EncodedFrame(bytes: bytes, contentBytes: content.count))
    pendingTokens.removeFirst(count)
    pendingLengths.removeFirst(n)
  }

  /// Makes the range part of the cache.
  /// - Parameters:
  ///   - isLast: no sequences follow.
  ///   - chain: the token chain before and after this range.
  package func commit(
    isLast: Bool, chain: (before: TokenChain, after: TokenChain), corpora: [String], counts: CorpusCounts
  ) throws -> Receipt {
    precondition(next == range.upperBound, "sequences up to \(next) of \(range) written")
    if !pendingLengths.isEmpty { try writeTokens(pendingLengths.count) }
    let files = try [tokenShard.commit()] + hookShards.map { try $0.commit() }
    let receipt = Receipt(
      format: Receipt.format, version: ShardHeader.version, spec: spec, first: range.lowerBound,
      end: range.upperBound, isLast: isLast, files: files, chainBefore: chain.before.hexValue,
      chainAfter: chain.after.hexValue, nTextTokens: nTextTokens, corpora: corpora, counts: counts,
      statistics: Dictionary(uniqueKeysWithValues: zip(spec.hooks.map(\.name), statistics)))
    let bytes = try SealedJSON.seal(receipt, name: "receipt")
    try fileErrors { () throws(MemoryError) in
      try DurableFile.write(bytes, to: cache + "/" + Receipt.relativePath(range))
    }
    return receipt
  }
}

extension CacheSpec {
  /// SHA-256 of the canonical JSON {baseKey, dtype, stream}, hex.
  func tokenStreamKey(baseKey: String) -> String {
    CanonicalJSON.object([
      "baseKey": .string(baseKey), "dtype": .string(tokenType), "stream": .string("tokens"),
    ]).digest
  }
}
