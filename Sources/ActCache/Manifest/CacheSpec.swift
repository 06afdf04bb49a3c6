import Memory

/// What all streams of a cache share. It is fixed by the first harvest and never changes.
public struct CacheSpec: Codable, Equatable, Sendable {
  public let identity: CacheIdentity
  /// "u16" or "u32".
  public let tokenType: String
  /// Sequences per shard: ranges end at its multiples, and where a generation ends.
  public let sequencesPerShard: Int
  /// Sequences per data frame of every stream but the tokens, and the unit in which training order is shuffled.
  public let sequencesPerFrame: Int
  /// Sequences per data frame of the token stream.
  public let tokenSequencesPerFrame: Int
  public let heldOut: HeldOutRule

  /// Frames decode to at least 64 KiB, which costs nothing in size and makes random access cheap.
  package static let minFrameBytes = 65_536
  /// Tokens compress better at this level, and are few.
  private static let tokenCodec = "zstd:3"

  /// - Parameters:
  ///   - streams: of the first harvest; the narrowest decides how many sequences make a frame.
  ///   - minFrameBytes: smaller in tests only.
  /// - Throws: `ActCacheError.limit` or `.unsupported` if the format has no room for this.
  package init(
    identity: CacheIdentity, streams: [StreamSpec], nVocabulary: Int, tokensPerShard: Int,
    heldOut: HeldOutRule = HeldOutRule(), minFrameBytes: Int = CacheSpec.minFrameBytes
  ) throws {
    self.identity = identity
    self.heldOut = heldOut
    tokenType = nVocabulary <= 65_536 ? "u16" : "u32"
    let context = max(1, identity.tokens.context)
    let activations = streams.filter { $0.type != nil }
    sequencesPerFrame = FrameSize.sequencesPerFrame(
      // Targets have frames of their own size, see below; alone they decide like everybody.
      of: (activations.isEmpty ? streams : activations).compactMap { stream in
        guard let codec = ShardCodec(stream.codec) else { return nil }
        if let type = stream.type { return (context * stream.width * type.byteCount, codec) }
        let shape = stream.policy.flatMap { TargetFrameShape(policy: $0, nVocabulary: stream.width) }
        return shape?.largest(nTokens: context).map { ($0, codec) }
      }, minBytes: minFrameBytes)
    let perFrame = { (bytes: Int) in (minFrameBytes + bytes - 1) / max(1, bytes) }
    tokenSequencesPerFrame = perFrame(context * (nVocabulary <= 65_536 ? 2 : 4))
    sequencesPerShard = CacheSpec.sequencesPerShard(
      tokens: tokensPerShard, context: context, sequencesPerFrame: sequencesPerFrame)
    try validate()
  }

  private init(_ spec: CacheSpec, layoutOf other: CacheSpec, sequencesPerShard: Int) {
    identity = spec.identity
    tokenType = spec.tokenType
    heldOut = spec.heldOut
    self.sequencesPerShard = sequencesPerShard
    sequencesPerFrame = other.sequencesPerFrame
    tokenSequencesPerFrame = other.tokenSequencesPerFrame
  }

  /// `wanted` with the frames of this cache, and with its shards unless `tokensPerShard` asks for others.
  package func keepingLayout(of wanted: CacheSpec, tokensPerShard: Int?) -> CacheSpec {
    let perShard = tokensPerShard.map {
      CacheSpec.sequencesPerShard(
        tokens: $0, context: wanted.identity.tokens.context, sequencesPerFrame: sequencesPerFrame)
    }
    return CacheSpec(wanted, layoutOf: self, sequencesPerShard: perShard ?? sequencesPerShard)
  }

  /// Whole frames in every shard, so that frames keep their size however the shards are cut.
  private static func sequencesPerShard(tokens: Int, context: Int, sequencesPerFrame: Int) -> Int {
    let wanted = max(1, tokens / max(1, context))
    return max(1, (wanted + sequencesPerFrame / 2) / sequencesPerFrame) * sequencesPerFrame
  }

  package var hasLengths: Bool { identity.tokens.pack == "none" }

  /// The token stream of a cache of this kind.
  package var tokenStream: StreamSpec {
    StreamSpec(name: StreamSpec.tokens, width: 1, dtype: tokenType, codec: CacheSpec.tokenCodec)
  }

  /// Sequences per data frame of `stream`.
  package func sequencesPerFrame(of stream: StreamSpec) -> Int {
    if stream.name == StreamSpec.tokens { return tokenSequencesPerFrame }
    guard stream.type == nil, let policy = stream.policy,
      let shape = TargetFrameShape(policy: policy, nVocabulary: stream.width)
    else { return sequencesPerFrame }
    // Targets of a large vocabulary take far more than activations: whole parts of a frame, of about 4 MiB at most.
    for parts in 1...min(sequencesPerFrame, 4096) where sequencesPerFrame % parts == 0 {
      let n = sequencesPerFrame / parts
      let (nTokens, overflow) = n.multipliedReportingOverflow(by: identity.tokens.context)
      if !overflow, let bytes = shape.largest(nTokens: nTokens), bytes <= 4 << 20 { return n }
    }
    return 1
  }

  /// The sequence before which the range that begins with `first` ends at the latest.
  package func rangeEnd(from first: Int) -> Int { (first / sequencesPerShard + 1) * sequencesPerShard }

  public func validate() throws {
    guard (1...ShardLimits.maxContext).contains(identity.tokens.context) else {
      throw ActCacheError.limit("context \(identity.tokens.context): allowed are 1...\(ShardLimits.maxContext)")
    }
    guard ["u16", "u32"].contains(tokenType) else { throw ActCacheError.unsupported("token type \(tokenType)") }
    let sizes = 1...ShardLimits.maxSequences
    guard sizes.contains(sequencesPerShard), sizes.contains(sequencesPerFrame), sizes.contains(tokenSequencesPerFrame),
      sequencesPerShard % sequencesPerFrame == 0
    else { throw ActCacheError.limit("shards of \(sequencesPerShard) in frames of \(sequencesPerFrame) sequences") }
    guard heldOut.fraction.isFinite, (0...0.5).contains(heldOut.fraction), heldOut.minimum >= 0 else {
      throw ActCacheError.limit("held-out fraction \(heldOut.fraction): allowed are 0...0.5")
    }
  }

  /// Throws `ActCacheError` unless the streams can be kept in a cache of this kind.
  package func validate(_ streams: [StreamSpec]) throws {
    guard streams.count <= ShardLimits.maxHooks, Set(streams.map(\.name)).count == streams.count else {
      throw ActCacheError.limit(
        "\(streams.count) streams (\(streams.map(\.name).joined(separator: ", "))): allowed are "
          + "\(ShardLimits.maxHooks), each once")
    }
    for stream in streams {
      try stream.validate()
      if let policy = stream.policy {
        try policy.validate(nVocabulary: stream.type == nil ? stream.width : 2, context: identity.tokens.context)
      }
      guard let type = stream.type else { continue }
      let sequenceBytes = identity.tokens.context * stream.width * type.byteCount
      let frameBytes = sequencesPerFrame.multipliedReportingOverflow(by: sequenceBytes)
      guard !frameBytes.overflow, frameBytes.partialValue <= ShardLimits.maxFrameBytes else {
        throw ActCacheError.limit(
          "\(stream.hookName ?? stream.name): \(sequencesPerFrame) sequences of \(identity.tokens.context) × "
            + "\(stream.width) \(stream.dtype) exceed the frame limit of 64 MiB; choose a shorter --context")
      }
    }
  }

  /// Names and values of what differs from `other`, one `name: mine, not theirs` each.
  func differences(from other: CacheSpec) -> [String] {
    func fields(_ spec: CacheSpec) -> [(String, String)] {
      let t = spec.identity.tokens
      return [
        ("weights", spec.identity.weights), ("model configuration", spec.identity.modelConfiguration),
        ("tokenizer", spec.identity.tokenizer), ("numerics", spec.identity.numerics),
        ("format", "\(spec.identity.formatVersion)"), ("context", "\(t.context)"), ("pack", t.pack),
        ("bos", t.bos.map(String.init) ?? "none"), ("separator token", t.separator.map(String.init) ?? "none"),
        ("padding", "\(t.padding)"), ("document separator", "\"\(t.documentSeparator)\""),
        ("text field", t.textField), ("token type", spec.tokenType),
        ("sequences per shard", "\(spec.sequencesPerShard)"), ("sequences per frame", "\(spec.sequencesPerFrame)"),
        ("token sequences per frame", "\(spec.tokenSequencesPerFrame)"),
        ("held-out fraction", "\(spec.heldOut.fraction)"), ("held-out minimum", "\(spec.heldOut.minimum)"),
        ("held-out seed", "\(spec.heldOut.seed)"),
      ]
    }
    return zip(fields(self), fields(other)).compactMap { mine, theirs in
      if mine.1 == theirs.1 { return nil }
      if mine.0 == "model configuration" { return CacheIdentity.configurationDifference(mine.1, theirs.1) }
      let isDigest = ["weights", "tokenizer"].contains(mine.0)
      let (here, there) =
        isDigest ? (String(CacheIdentity.short(mine.1)), String(CacheIdentity.short(theirs.1))) : (mine.1, theirs.1)
      return "\(mine.0): \(here), not \(there)"
    }
  }

  /// Throws `ActCacheError.mismatch` unless `wanted` is this spec, with what differs, and with both base keys if they do.
  package func requireSame(as wanted: CacheSpec, path: String) throws {
    let differences = differences(from: wanted)
    if differences.isEmpty && self == wanted { return }
    let (key, wantedKey) = (try identity.baseKey().prefix(12), try wanted.identity.baseKey().prefix(12))
    // The base key says nothing of shards and what is held out.
    let keys =
      key == wantedKey
      ? "this cache has another setting than the command asks for"
      : "this cache was made by \(key), the command asks for \(wantedKey)"
    throw ActCacheError.mismatch(
      "\(path): \(keys); it has \(differences.joined(separator: "; ")). Choose another --out, or repeat the command that made this cache"
    )
  }
}
