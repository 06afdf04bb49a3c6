import Memory

/// How text becomes sequences of token ids; part of a cache's identity.
public struct TokenSpec: Codable, Equatable, Sendable {
  /// Positions per sequence.
  public let context: Int
  /// "concatenate" (documents run on from sequence to sequence) or "none" (one document per sequence, padded).
  public let pack: String
  /// The token every sequence begins with and documents are parted by; nil if none is added.
  public let bos: Int?
  /// The token between documents where no `bos` is added; nil if there is none.
  public let separator: Int?
  /// What fills the end of short sequences with pack "none".
  public let padding: Int
  /// Where plain text is cut into documents.
  public let documentSeparator: String
  /// The member of a JSON line that holds the text.
  public let textField: String

  public init(
    context: Int, pack: String, bos: Int?, separator: Int?, padding: Int, documentSeparator: String, textField: String
  ) {
    self.context = context
    self.pack = pack
    self.bos = bos
    self.separator = separator
    self.padding = padding
    self.documentSeparator = documentSeparator
    self.textField = textField
  }
}

/// What decides every number of a cache but the text itself: two caches with the same identity can share shards.
public struct CacheIdentity: Codable, Equatable, Sendable {
  /// SHA-256 over the model's tensors (name, shape, type, bytes of each), whatever files they lie in.
  public let weights: String
  /// SHA-256 of the model's configuration.
  public let modelConfiguration: String
  /// SHA-256 over the tokenizer.
  public let tokenizer: String
  public let tokens: TokenSpec
  /// Arithmetic of the forward pass, for instance "f32 openblas".
  public let numerics: String
  public let formatVersion: Int

  public init(weights: String, modelConfiguration: String, tokenizer: String, tokens: TokenSpec, numerics: String) {
    self.weights = weights
    self.modelConfiguration = modelConfiguration
    self.tokenizer = tokenizer
    self.tokens = tokens
    self.numerics = numerics
    formatVersion = ShardHeader.version
  }

  /// SHA-256 of the canonical JSON of this value, hex: the cache's name.
  public func baseKey() throws -> String { try CanonicalJSON.hexDigest(of: CanonicalJSON.encode(self)) }
}

/// A stream of activations: the hook and how its values are kept.
public struct HookSpec: Codable, Equatable, Sendable {
  /// A TransformerLens hook name.
  public let name: String
  /// Values per position.
  public let width: Int
  /// A `StorageType`.
  public let dtype: String
  /// Of `fix:<s>`: the step of each channel.
  public let steps: [Float]?

  public init(name: String, width: Int, dtype: String, steps: [Float]? = nil) {
    self.name = name
    self.width = width
    self.dtype = dtype
    self.steps = steps
  }

  /// SHA-256 of the canonical JSON {baseKey, dtype, stream, transform}, hex.
  func streamKey(baseKey: String) -> String {
    CanonicalJSON.object([
      "baseKey": .string(baseKey), "dtype": .string(dtype), "stream": .string("hooks/" + name),
      "transform": .string("none"),
    ]).digest
  }
}

/// Which sequences no training reader returns.
public struct HeldOutRule: Codable, Equatable, Sendable {
  /// Part of all sequences, 0 for none.
  public let fraction: Double
  /// At least so many sequences, but never more than half of the cache.
  public let minimum: Int
  public let seed: UInt64

  public init(fraction: Double = 0.02, minimum: Int = 64, seed: UInt64 = 0) {
    self.fraction = fraction
    self.minimum = minimum
    self.seed = seed
  }

  /// The held-out ones of `n` sequences, ascending: the first `k` of a keyed permutation of all.
  public func sequences(of n: Int) -> [Int] {
    guard fraction > 0, n > 0 else { return [] }
    let wanted = max(Double(minimum), (fraction * Double(n)).rounded(.up))
    let k = min(n / 2, Int(min(wanted, Double(n))))
    let permutation = KeyedPermutation(count: n, key: Key(seed).mixing(.heldOut).value)
    return (0..<k).map { permutation[$0] }.sorted()
  }
}

/// Everything that must agree between the shards of one cache.
public struct CacheSpec: Codable, Equatable, Sendable {
  public let identity: CacheIdentity
  public let hooks: [HookSpec]
  /// "u16" or "u32".
  public let tokenType: String
  /// "zstd:<level>".
  public let codec: String
  /// Teacher logits kept beside the activations: "none".
  public let logits: String
  /// Sequences per shard; the last shard may have fewer.
  public let sequencesPerShard: Int
  /// Sequences per data frame of an activation stream, and the unit in which training order is shuffled.
  public let sequencesPerFrame: Int
  /// Sequences per data frame of the token stream.
  public let tokenSequencesPerFrame: Int
  public let heldOut: HeldOutRule

  /// Frames decode to at least 64 KiB, which costs nothing in size and makes random access cheap.
  package static let minFrameBytes = 65_536

  /// - Throws: `ActCacheError.limit` or `.unsupported` if the format has no room for this.
  package init(
    identity: CacheIdentity, hooks: [HookSpec], nVocabulary: Int, codec: String = "zstd:1", logits: String = "none",
    tokensPerShard: Int, heldOut: HeldOutRule = HeldOutRule(), minFrameBytes: Int = CacheSpec.minFrameBytes
  ) throws {
    self.identity = identity
    self.hooks = hooks
    self.codec = codec
    self.logits = logits
    self.heldOut = heldOut
    tokenType = nVocabulary <= 65_536 ? "u16" : "u32"
    let context = max(1, identity.tokens.context)
    sequencesPerFrame = FrameSize.sequencesPerFrame(
      of: hooks.compactMap { hook in
        guard let type = StorageType(hook.dtype), let codec = ShardCodec(codec) else { return nil }
        return (context * hook.width * type.byteCount, codec)
      }, minBytes: minFrameBytes)
    let perFrame = { (bytes: Int) in (minFrameBytes + bytes - 1) / max(1, bytes) }
    tokenSequencesPerFrame = perFrame(context * (nVocabulary <= 65_536 ? 2 : 4))
    // Whole frames in every shard, so that frames keep their size however the shards are cut.
    let wanted = max(1, tokensPerShard / context)
    sequencesPerShard = max(1, (wanted + sequencesPerFrame / 2) / sequencesPerFrame) * sequencesPerFrame
    try validate()
  }

  var hasLengths: Bool { identity.tokens.pack == "none" }

  public func validate() throws {
    guard (1...ShardLimits.maxContext).contains(identity.tokens.context) else {
      throw ActCacheError.limit("context \(identity.tokens.context): allowed are 1...\(ShardLimits.maxContext)")
    }
    guard (1...ShardLimits.maxHooks).contains(hooks.count), Set(hooks.map(\.name)).count == hooks.count else {
      throw ActCacheError.limit(
        "\(hooks.count) hooks (\(hooks.map(\.name).joined(separator: ", "))): allowed are 1...\(ShardLimits.maxHooks), "
          + "each once")
    }
    _ = try shardCodec
    for hook in hooks {
      guard let type = StorageType(hook.dtype) else {
        throw ActCacheError.unsupported("dtype \(hook.dtype): this version stores \(StorageType.allowed)")
      }
      guard (1...ShardLimits.maxWidth).contains(hook.width) else {
        throw ActCacheError.limit("\(hook.name) has \(hook.width) values: allowed are 1...\(ShardLimits.maxWidth)")
      }
      guard !hook.name.isEmpty, !hook.name.contains("/"), !hook.name.hasPrefix(".") else {
        throw ActCacheError.unsupported("hook name \"\(hook.name)\" cannot name a folder")
      }
      let frameBytes = sequencesPerFrame.multipliedReportingOverflow(
        by: identity.tokens.context * hook.width * type.byteCount)
      _ = try coding(of: hook)
      guard !frameBytes.overflow, frameBytes.partialValue <= ShardLimits.maxFrameBytes else {
        throw ActCacheError.limit(
          "\(hook.name): \(sequencesPerFrame) sequences of \(identity.tokens.context) × \(hook.width) \(hook.dtype) "
            + "exceed the frame limit of 64 MiB; choose a shorter --context")
      }
    }
    guard logits == "none" else {
      throw ActCacheError.unsupported("logits \(logits): this version stores none")
    }
    guard sequencesPerShard >= 1, sequencesPerFrame >= 1, tokenSequencesPerFrame >= 1,
      sequencesPerShard % sequencesPerFrame == 0
    else { throw ActCacheError.limit("shards of \(sequencesPerShard) in frames of \(sequencesPerFrame) sequences") }
  }

  /// Throws `ActCacheError.unsupported` for another codec.
  var shardCodec: ShardCodec {
    get throws(ActCacheError) {
      guard let codec = ShardCodec(codec) else {
        throw .unsupported("codec \(codec): this version stores \(ShardCodec.allowed)")
      }
      return codec
    }
  }

  /// How the values of a hook are stored.
  func coding(of hook: HookSpec) throws(ActCacheError) -> ValueCoding {
    guard let type = StorageType(hook.dtype) else {
      throw .unsupported("dtype \(hook.dtype): this version stores \(StorageType.allowed)")
    }
    return try ValueCoding(type: type, width: hook.width, steps: hook.steps, codec: shardCodec)
  }

  /// Names and values of what differs from `other`, one `name: mine, not theirs` each.
  func differences(from other: CacheSpec) -> [String] {
    func fields(_ spec: CacheSpec) -> [(String, String)] {
      let t = spec.identity.tokens
      let dtypes = spec.hooks.map(\.dtype)
      return [
        ("weights", spec.identity.weights), ("model configuration", spec.identity.modelConfiguration),
        ("tokenizer", spec.identity.tokenizer), ("numerics", spec.identity.numerics),
        ("format", "\(spec.identity.formatVersion)"), ("context", "\(t.context)"), ("pack", t.pack),
        ("bos", t.bos.map(String.init) ?? "none"), ("separator token", t.separator.map(String.init) ?? "none"),
        ("padding", "\(t.padding)"), ("document separator", "\"\(t.documentSeparator)\""),
        ("text field", t.textField),
        ("hooks", spec.hooks.map { "\($0.name) (\($0.width))" }.joined(separator: ", ")),
        ("dtype", Set(dtypes).count == 1 ? dtypes[0] : dtypes.joined(separator: ", ")),
        ("token type", spec.tokenType), ("codec", spec.codec), ("logits", spec.logits),
        ("sequences per shard", "\(spec.sequencesPerShard)"), ("sequences per frame", "\(spec.sequencesPerFrame)"),
        ("token sequences per frame", "\(spec.tokenSequencesPerFrame)"),
        ("held-out fraction", "\(spec.heldOut.fraction)"), ("held-out minimum", "\(spec.heldOut.minimum)"),
        ("held-out seed", "\(spec.heldOut.seed)"),
      ]
    }
    let digests = ["weights", "model configuration", "tokenizer"]
    return zip(fields(self), fields(other)).compactMap { mine, theirs in
      if mine.1 == theirs.1 { return nil }
      let isDigest = digests.contains(mine.0)
      let (here, there) = isDigest ? (shortDigest(mine.1), shortDigest(theirs.1)) : (mine.1, theirs.1)
      return "\(mine.0): \(here), not \(there)"
    }
  }

  /// The beginning of a digest; of the digest of `text` if it is something else, a configuration for instance.
  private func shortDigest(_ text: String) -> String {
    let isDigest = text.utf8.count == 64 && text.allSatisfy(\.isHexDigit)
    return String((isDigest || text.utf8.count <= 12 ? text : CanonicalJSON.hexDigest(of: Array(text.utf8))).prefix(12))
  }

  /// Throws `ActCacheError.mismatch` unless `wanted` is this spec, with what differs, and with both base keys if they do.
  package func requireSame(as wanted: CacheSpec, path: String) throws {
    let differences = differences(from: wanted)
    if differences.isEmpty && self == wanted { return }
    let (key, wantedKey) = (try identity.baseKey().prefix(12), try wanted.identity.baseKey().prefix(12))
    // The base key says nothing of hooks, shards and storage.
    let keys =
      key == wantedKey
      ? "this cache has another setting than the command asks for"
      : "this cache was made by \(key), the command asks for \(wantedKey)"
    throw ActCacheError.mismatch(
      "\(path): \(keys); it has \(differences.joined(separator: "; ")). Choose another --out, or repeat the command that made this cache"
    )
  }
}
