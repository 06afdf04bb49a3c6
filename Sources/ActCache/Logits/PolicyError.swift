import Foundation

/// How far a logit policy is from the teacher, measured on some tokens at harvest. Sums, so that those of several
/// ranges can be merged; nats.
///
/// Let p be the teacher, q a student, T the tokens that are not stored and r = p(T). Against the KL over the whole
/// vocabulary, that over the stored tokens and one bucket for T is too small by r·KL(p_T/r ‖ q_T/q(T)), at least 0 and
/// at most the KL itself, which depends on the student: no number bounds it for all of them. `uniformLoss` is its value
/// for a student that is uniform on T: r·(log |T| − H(p_T/r)). The gradients by the logits differ by at most 2r in L1,
/// whatever the student.
///
/// What was not measured is nil, and absent in files: of `hidden`, which lists no tokens, all but the rounding.
public struct PolicyError: Equatable, Sendable {
  /// Tokens of text that were measured.
  public private(set) var nTokens = 0
  /// r
  public private(set) var tailMassSum = 0.0
  public private(set) var tailMassMax = 0.0
  /// r·(log |T| − H(p_T/r))
  public private(set) var uniformLossSum = 0.0
  public private(set) var uniformLossMax = 0.0
  /// −Σ p log p over the whole vocabulary
  public private(set) var entropySum = 0.0
  /// Tokens of which the rounding was measured.
  public private(set) var nRounded = 0
  /// KL(p ‖ p̃) of what is stored: p̃ is p after rounding.
  public private(set) var roundingSum = 0.0
  public private(set) var roundingMax = 0.0

  public init() {}

  public var meanTailMass: Double? { mean(tailMassSum, nTokens) }
  public var meanUniformLoss: Double? { mean(uniformLossSum, nTokens) }
  public var meanEntropy: Double? { mean(entropySum, nTokens) }
  public var meanRounding: Double? { mean(roundingSum, nRounded) }
  /// Bounds of the L1 distance of the gradients, for every student.
  public var meanGradientBound: Double? { meanTailMass.map { 2 * $0 } }
  public var maxGradientBound: Double? { nTokens > 0 ? 2 * tailMassMax : nil }

  private func mean(_ sum: Double, _ count: Int) -> Double? { count > 0 ? sum / Double(count) : nil }

  /// False for what a file may say but nobody can measure.
  var isConsistent: Bool {
    [nTokens, nRounded].allSatisfy { (0...ShardLimits.maxCount).contains($0) }
      && [tailMassSum, tailMassMax, uniformLossSum, uniformLossMax, entropySum, roundingSum, roundingMax]
        .allSatisfy { $0.isFinite && $0 >= 0 }
  }

  /// Adds the tokens of `targets`, padding left out.
  package mutating func add(_ targets: TeacherTargets) {
    for token in 0..<targets.nTokens {
      let entries = targets.starts[token]..<targets.starts[token + 1]
      if entries.isEmpty { continue }
      let r = Double(targets.tailMasses[token])
      let entropy = Double(targets.entropies[token])
      var loss = 0.0
      if r > 0 {
        // r·H(p_T/r) = −Σ_T p log p + r log r, and −Σ_T is what the listed tokens leave of the entropy.
        let listed = targets.probabilities[entries].reduce(0.0) { sum, p in
          p > 0 ? sum - Double(p) * log(Double(p)) : sum
        }
        loss = max(0, r * log(Double(targets.nVocabulary - entries.count)) - (entropy - listed) - r * log(r))
      }
      nTokens += 1
      tailMassSum += r
      tailMassMax = max(tailMassMax, r)
      uniformLossSum += loss
      uniformLossMax = max(uniformLossMax, loss)
      entropySum += entropy
    }
  }

  /// Adds the KL between the exact distribution of a token and the stored one; noise below 0 counts as 0.
  package mutating func addRounding(kl: Double) {
    nRounded += 1
    roundingSum += max(0, kl)
    roundingMax = max(roundingMax, kl)
  }

  /// Adds the KL between the listed log-probabilities of a token before and after rounding.
  package mutating func addRounding(
    logProbabilities exact: some Sequence<Float>, stored: some Sequence<Float>
  ) {
    var kl = 0.0
    for (exact, stored) in zip(exact, stored) where stored > 0 {
      // Σ p(δ − 1 + e^−δ) = Σ p log(p/p̃), as both have the same sum; it keeps the digits of small differences.
      let delta = Double(exact) - log(Double(stored))
      kl += exp(Double(exact)) * (delta + expm1(-delta))
    }
    addRounding(kl: kl)
  }

  public mutating func merge(_ other: PolicyError) {
    nTokens += other.nTokens
    tailMassSum += other.tailMassSum
    tailMassMax = max(tailMassMax, other.tailMassMax)
    uniformLossSum += other.uniformLossSum
    uniformLossMax = max(uniformLossMax, other.uniformLossMax)
    entropySum += other.entropySum
    nRounded += other.nRounded
    roundingSum += other.roundingSum
    roundingMax = max(roundingMax, other.roundingMax)
  }
}

extension PolicyError: Codable {
  private enum CodingKeys: String, CodingKey {
    case nTokens, tailMassSum, tailMassMax, uniformLossSum, uniformLossMax, entropySum
    case nRounded, roundingSum, roundingMax
  }

  public init(from decoder: any Decoder) throws {
    let members = try decoder.container(keyedBy: CodingKeys.self)
    func number(_ key: CodingKeys) throws -> Double { try members.decodeIfPresent(Double.self, forKey: key) ?? 0 }
    nTokens = try members.decodeIfPresent(Int.self, forKey: .nTokens) ?? 0
    nRounded = try members.decodeIfPresent(Int.self, forKey: .nRounded) ?? 0
    (tailMassSum, tailMassMax) = (try number(.tailMassSum), try number(.tailMassMax))
    (uniformLossSum, uniformLossMax) = (try number(.uniformLossSum), try number(.uniformLossMax))
    entropySum = try number(.entropySum)
    (roundingSum, roundingMax) = (try number(.roundingSum), try number(.roundingMax))
  }

  public func encode(to encoder: any Encoder) throws {
    var members = encoder.container(keyedBy: CodingKeys.self)
    if nTokens > 0 {
      try members.encode(nTokens, forKey: .nTokens)
      try members.encode(tailMassSum, forKey: .tailMassSum)
      try members.encode(tailMassMax, forKey: .tailMassMax)
      try members.encode(uniformLossSum, forKey: .uniformLossSum)
      try members.encode(uniformLossMax, forKey: .uniformLossMax)
      try members.encode(entropySum, forKey: .entropySum)
    }
    if nRounded > 0 {
      try members.encode(nRounded, forKey: .nRounded)
      try members.encode(roundingSum, forKey: .roundingSum)
      try members.encode(roundingMax, forKey: .roundingMax)
    }
  }
}
