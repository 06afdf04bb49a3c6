import ActCache
import Foundation

/// The targets of one sequence as a cache has them, against those that the model gives now.
///
/// Both are rounded, and on another kind of CPU the model's sums are added in another order. Then a token at the end of a
/// list may give way to one as likely, and a list that ends where a mass is reached may end one token earlier or later:
/// such lists are as good as each other, and so is what they leave to the tail.
struct TargetComparison {
  /// Nats by which a log-probability may differ before it is rounded. Between the OpenBLAS kernels for AVX2 and AVX-512
  /// it was less than this even after rounding (docs/design.md).
  static let tolerance = 1e-3

  /// Probabilities, tail masses and entropies that were compared.
  private(set) var values = 0
  /// Those that are exactly the model's.
  private(set) var equal = 0
  /// The largest difference of two log-probabilities, nats.
  private(set) var largestError = 0.0
  /// What is wrong beyond the tolerance, and at which position.
  private(set) var faults: [(position: Int, what: String)] = []

  init(stored: TeacherTargets, computed: TeacherTargets, policy: LogitPolicy) {
    for position in 0..<min(stored.nTokens, computed.nTokens) {
      let (mine, theirs) = (List(stored, position), List(computed, position))
      values += mine.tokens.count + 2
      guard mine != theirs else {
        equal += mine.tokens.count + 2
        continue
      }
      for what in compare(mine, theirs, policy) { faults.append((position, what)) }
    }
  }

  /// The targets of one position.
  private struct List: Equatable {
    let tokens: ArraySlice<UInt32>
    let probabilities: ArraySlice<Float>
    let tailMass: Double
    let entropy: Double

    init(_ targets: TeacherTargets, _ position: Int) {
      let entries = targets.starts[position]..<targets.starts[position + 1]
      (tokens, probabilities) = (targets.indices[entries], targets.probabilities[entries])
      tailMass = Double(targets.tailMasses[position])
      entropy = Double(targets.entropies[position])
    }

    static func == (a: List, b: List) -> Bool {
      a.tailMass == b.tailMass && a.entropy == b.entropy && a.tokens.elementsEqual(b.tokens)
        && a.probabilities.elementsEqual(b.probabilities)
    }

    var smallest: Double { Double(probabilities.min() ?? 0) }
    /// Nats from one 16-bit code to the next.
    var step: Double { (logarithm(probabilities.max() ?? 1) - logarithm(probabilities.min() ?? 1)) / 65_535 }
    var byToken: [UInt32: Float] { Dictionary(uniqueKeysWithValues: zip(tokens, probabilities)) }
  }

  private mutating func compare(_ mine: List, _ theirs: List, _ policy: LogitPolicy) -> [String] {
    guard !mine.tokens.isEmpty, !theirs.tokens.isEmpty else {
      return ["\(mine.tokens.count) entries, the model gives \(theirs.tokens.count)"]
    }
    var faults: [String] = []
    let slack = TargetComparison.tolerance + 0.51 * (mine.step + theirs.step)
    let ratio = exp(slack)
    var rest = (mine: mine.tailMass, theirs: theirs.tailMass)
    let isSameList = mine.tokens.elementsEqual(theirs.tokens)
    let others = isSameList ? [:] : theirs.byToken
    let own = isSameList ? [:] : mine.byToken
    for (i, (token, p)) in zip(mine.tokens, mine.probabilities).enumerated() {
      guard let other = isSameList ? theirs.probabilities[theirs.probabilities.startIndex + i] : others[token] else {
        rest.mine += Double(p)
        if Double(p) > theirs.smallest * ratio {
          faults.append("token \(token) of probability \(p) is listed, the model's list ends at \(theirs.smallest)")
        }
        continue
      }
      if p == other { equal += 1 }
      let error = abs(logarithm(p) - logarithm(other))
      largestError = max(largestError, error)
      if error > slack { faults.append("token \(token) has a probability of \(p), the model gives \(other)") }
    }
    if !isSameList {
      for (token, p) in zip(theirs.tokens, theirs.probabilities) where own[token] == nil {
        rest.theirs += Double(p)
        if Double(p) > mine.smallest * ratio {
          faults.append(
            "token \(token), to which the model gives \(p), is not listed; the list ends at \(mine.smallest)")
        }
      }
    }
    if mine.tailMass == theirs.tailMass { equal += 1 }
    // Of a list that could have ended earlier, the model's would have.
    let shorter = mine.tokens.count < theirs.tokens.count ? mine : theirs
    if case .mass(let most, _) = policy, mine.tokens.count != theirs.tokens.count, shorter.tailMass * ratio < most {
      faults.append("\(mine.tokens.count) entries, the model needs \(theirs.tokens.count)")
    }
    if abs(rest.mine - rest.theirs) > (ratio - 1) * max(rest.mine, rest.theirs) + 1e-9 {
      faults.append("a tail mass of \(Float(mine.tailMass)), the model gives \(Float(theirs.tailMass))")
    }
    // An entropy moves by no more than twice itself for each nat that log-probabilities move.
    if mine.entropy == theirs.entropy { equal += 1 }
    if abs(mine.entropy - theirs.entropy) > 2 * TargetComparison.tolerance * max(1, theirs.entropy) {
      faults.append("an entropy of \(Float(mine.entropy)), the model gives \(Float(theirs.entropy))")
    }
    return faults
  }
}

private func logarithm(_ p: Float) -> Double { log(Double(max(p, .leastNormalMagnitude))) }
