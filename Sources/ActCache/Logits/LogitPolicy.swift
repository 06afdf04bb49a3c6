/// What a cache keeps of the teacher's next-token distributions; no policy at all is `none`.
///
/// | policy | bytes per token | error |
/// | --- | --- | --- |
/// | hidden | dModel · 2 or 4 | the rounding of the final hidden state (none with f32); one unembedding to use |
/// | topk, mass | 20 + 4·k | loss r·KL(p_T/r ‖ q_T/q(T)) ≥ 0 below the true KL, gradient at most 2r in L1 |
/// | full | 12 + 2·vocabulary | the rounding of log-probabilities to 1/65,535 of their range |
///
/// with r the teacher's mass on the tokens T that are not stored, which is stored per token. Probabilities of the k
/// largest are never renormalised to 1: that bias is larger than the loss of a good SAE.
public enum LogitPolicy: Hashable, Sendable {
  /// "hidden": the values of `ln_final.hook_normalized`, as an ordinary stream of activations.
  case hidden
  /// "topk:<k>": the k largest probabilities of each token.
  case topK(Int)
  /// "mass:<r>:<cap>": as many as leave at most r of the mass, at most `cap`. "mass:<r>" has cap 1024.
  case mass(Double, cap: Int)
  /// "full": all of them.
  case full

  /// The largest k and cap; beyond it `full` is hardly larger.
  public static let maxStored = 4096
  public static let defaultCap = 1024
  /// For messages.
  public static let allowed =
    "none, hidden, topk:<k>, mass:<r> or mass:<r>:<cap> with 0 < r < 1 and k and cap 1...4096, full"

  /// nil if `name` is no policy. Every number has one canonical form, which `name` prints: "mass:1e-2" reads as
  /// "mass:0.01:1024".
  public init?(_ name: String) {
    let parts = name.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
    switch (parts[0], parts.count) {
    case ("hidden", 1): self = .hidden
    case ("full", 1): self = .full
    case ("topk", 2):
      guard let k = LogitPolicy.count(parts[1]) else { return nil }
      self = .topK(k)
    case ("mass", 2), ("mass", 3):
      let isDecimal = parts[1].utf8.allSatisfy { "0123456789.e-".utf8.contains($0) }
      guard isDecimal, let r = Double(parts[1]), r > 0, r < 1,
        let cap = parts.count == 2 ? LogitPolicy.defaultCap : LogitPolicy.count(parts[2])
      else { return nil }
      self = .mass(r, cap: cap)
    default: return nil
    }
  }

  private static func count(_ text: String) -> Int? {
    guard let value = Int(text), text == String(value), (1...maxStored).contains(value) else { return nil }
    return value
  }

  public var name: String {
    switch self {
    case .hidden: "hidden"
    case .topK(let k): "topk:\(k)"
    case .mass(let r, let cap): "mass:\(r):\(cap)"
    case .full: "full"
    }
  }

  /// The name of its stream, and its folder in the cache.
  public var stream: String { "logits/\(name)" }

  /// The policies of a flag or a manifest: names, each of which may itself be a list parted by commas; "none" alone is
  /// no policy. Throws `ActCacheError.unsupported` for what is no policy and for one that is named twice.
  public static func list(_ names: [String]) throws(ActCacheError) -> [LogitPolicy] {
    let names = names.flatMap { $0.split(separator: ",", omittingEmptySubsequences: false).map(String.init) }
    if names == ["none"] { return [] }
    var policies: [LogitPolicy] = []
    for name in names {
      guard let policy = LogitPolicy(name) else {
        let hint = name == "none" ? "none stands alone" : "allowed: \(allowed)"
        throw .unsupported("\"\(name)\" is no logit policy here; \(hint)")
      }
      guard !policies.contains(policy) else {
        throw .unsupported("the logit policy \(policy.name) is named twice; name it once")
      }
      policies.append(policy)
    }
    return policies
  }

  /// Throws `ActCacheError.limit` if a model's vocabulary or the length of its sequences is too small or too large.
  public func validate(nVocabulary: Int, context: Int) throws(ActCacheError) {
    guard (2...ShardLimits.maxVocabulary).contains(nVocabulary) else {
      throw .limit("a vocabulary of \(nVocabulary), teacher logits are stored for 2 to \(ShardLimits.maxVocabulary)")
    }
    if case .topK(let k) = self, k > nVocabulary {
      throw .limit("\(name): the vocabulary has only \(nVocabulary) tokens; choose a smaller k, or full")
    }
    guard let shape = TargetFrameShape(policy: self, nVocabulary: nVocabulary) else { return }
    if shape.largest(nTokens: context) == nil {
      throw .limit(
        "\(name): a sequence of \(context) tokens and a vocabulary of \(nVocabulary) may not fit into a frame of "
          + "\(ShardLimits.maxFrameBytes >> 20) MiB; choose a shorter --context, or hidden or topk")
    }
  }
}
