import Crypto
import Memory

/// One stream of a cache and how its values are kept.
public struct StreamSpec: Codable, Equatable, Sendable {
  /// "tokens", "hooks/<TransformerLens hook name>" or "logits/<policy>": also its folder.
  public let name: String
  /// Values per position; the vocabulary for `logits/` streams that refer to it.
  public let width: Int
  /// A `StorageType`; "u16" or "u32" for tokens, "targets" for teacher targets.
  public let dtype: String
  /// A `ShardCodec`.
  public let codec: String
  /// Of `fix:<s>`: the step of each channel. The digests of the shards are bound to them.
  public let steps: [Float]?

  public init(name: String, width: Int, dtype: String, codec: String, steps: [Float]? = nil) {
    self.name = name
    self.width = width
    self.dtype = dtype
    self.codec = codec
    self.steps = steps
  }

  /// Teacher targets of a policy: for `hidden` activations of `width` dModel in `dtype`.
  package static func logits(
    _ policy: LogitPolicy, nVocabulary: Int, dModel: Int, dtype: String, codec: String
  ) -> StreamSpec {
    policy == .hidden
      ? StreamSpec(name: policy.stream, width: dModel, dtype: dtype, codec: codec)
      : StreamSpec(name: policy.stream, width: nVocabulary, dtype: targets, codec: "zstd:1")
  }

  /// The policy of a stream of teacher targets.
  package var policy: LogitPolicy? { policyName.flatMap { LogitPolicy($0) } }

  /// The activations at a hook point.
  public static func hook(
    _ name: String, width: Int, dtype: String, codec: String = "zstd:1", steps: [Float]? = nil
  ) -> StreamSpec {
    StreamSpec(name: hooksPrefix + name, width: width, dtype: dtype, codec: codec, steps: steps)
  }

  /// The same stream with steps of fixed point.
  package func with(steps: [Float]?) -> StreamSpec {
    StreamSpec(name: name, width: width, dtype: dtype, codec: codec, steps: steps)
  }

  package static let tokens = "tokens"
  static let hooksPrefix = "hooks/"
  static let logitsPrefix = "logits/"
  /// The element type of streams of teacher targets.
  static let targets = "targets"

  /// The hook point; nil for another stream.
  public var hookName: String? {
    name.hasPrefix(StreamSpec.hooksPrefix) ? String(name.dropFirst(StreamSpec.hooksPrefix.count)) : nil
  }

  /// The logit policy; nil for another stream.
  public var policyName: String? {
    name.hasPrefix(StreamSpec.logitsPrefix) ? String(name.dropFirst(StreamSpec.logitsPrefix.count)) : nil
  }

  /// The command that adds what the stream lacks of the tokens of a cache.
  package func harvestCommand(cache: String) -> String {
    var command = AddingCommand(cache: cache)
    command.hooks = hookName.map { [$0] } ?? []
    command.logits = policyName.map { [$0] } ?? []
    (command.dtype, command.codec) = (dtype, codec)
    return command.description
  }

  /// How its values are stored; nil for tokens and targets.
  public var type: StorageType? { StorageType(dtype) }

  /// SHA-256 of the canonical JSON {baseKey, dtype, steps, stream}, hex; `steps` only with fixed point. The codec does
  /// not enter: it changes no value.
  func key(baseKey: String) -> String {
    var members: [String: CanonicalJSON] = [
      "baseKey": .string(baseKey), "dtype": .string(dtype), "stream": .string(name),
    ]
    if let digest = stepsDigest { members["steps"] = .string(digest) }
    return CanonicalJSON.object(members).digest
  }

  /// SHA-256 of the steps as little-endian f32, hex; nil without steps.
  var stepsDigest: String? {
    steps.map(FixedPoint.digest)
  }

  /// How its values lie in a frame. Throws `ActCacheError.unsupported` for tokens and targets.
  var coding: ValueCoding {
    get throws(ActCacheError) {
      guard let type else { throw .unsupported("dtype \(dtype): this version stores \(StorageType.allowed)") }
      return try ValueCoding(type: type, width: width, steps: steps, codec: shardCodec)
    }
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

  /// Throws `ActCacheError.unsupported` or `.limit` for a stream that this version cannot hold.
  func validate() throws(ActCacheError) {
    guard let folder = name.split(separator: "/", maxSplits: 1).last, !folder.isEmpty, !folder.contains("/"),
      !folder.hasPrefix("."), name == StreamSpec.tokens || hookName != nil || policyName != nil
    else { throw .unsupported("hook name \"\(hookName ?? name)\" cannot name a folder") }
    _ = try shardCodec
    let label = hookName ?? name
    let maxWidth = policyName == nil || dtype != StreamSpec.targets ? ShardLimits.maxWidth : ShardLimits.maxVocabulary
    guard (1...maxWidth).contains(width) else {
      throw .limit("\(label) has \(width) values: allowed are 1...\(maxWidth)")
    }
    if name == StreamSpec.tokens {
      guard ["u16", "u32"].contains(dtype) else { throw .unsupported("token type \(dtype)") }
      return
    }
    if let policyName {
      guard let policy = LogitPolicy(policyName), policy.name == policyName else {
        throw .unsupported("logits \(policyName): this version stores \(LogitPolicy.allowed)")
      }
      guard (dtype == StreamSpec.targets) == (policy != .hidden) else {
        throw .unsupported("logits \(policyName) of dtype \(dtype)")
      }
      if policy != .hidden {
        guard try shardCodec != .none else { throw .unsupported("logits \(policyName) with codec none") }
        return
      }
    }
    _ = try coding
  }

  /// What differs from `other`, which has the same name: `codec: zstd:1, not none`.
  func differences(from other: StreamSpec) -> [String] {
    var list: [String] = []
    if width != other.width { list.append("width: \(width), not \(other.width)") }
    if dtype != other.dtype { list.append("dtype: \(dtype), not \(other.dtype)") }
    if codec != other.codec { list.append("codec: \(codec), not \(other.codec)") }
    if dtype == other.dtype, steps != other.steps { list.append("steps of fixed point: other numbers") }
    return list
  }
}
