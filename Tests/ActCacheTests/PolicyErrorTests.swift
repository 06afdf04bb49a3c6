import Foundation
import TestSupport
import Testing

@testable import ActCache

@Suite struct PolicyErrorTests {
  /// Two tokens over a vocabulary of 5, one listing 2 and one all of it, and padding.
  private var targets: TeacherTargets {
    let p: [Float] = [0.5, 0.2, 0.15, 0.1, 0.05]
    let entropy = -p.reduce(Float(0)) { $0 + $1 * log($1) }
    return TeacherTargets(
      nVocabulary: 5, starts: [0, 2, 2, 7], indices: [3, 1, 0, 1, 2, 3, 4], probabilities: [0.5, 0.2] + p,
      tailMasses: [0.3, 1, 0], entropies: [entropy, 0, entropy])
  }

  @Test func sumsAreThoseOfTheDefinitions() {
    var error = PolicyError()
    error.add(targets)
    #expect(error.nTokens == 2)
    #expect(abs(error.meanTailMass - 0.15) < 1e-7 && abs(error.tailMassMax - 0.3) < 1e-7)
    #expect(abs(error.meanGradientBound - 0.3) < 1e-7 && abs(error.maxGradientBound - 0.6) < 1e-7)
    // r·KL(tail ‖ uniform): the tail is 0.15, 0.1, 0.05 of 0.3.
    let tail = [0.5, 1.0 / 3, 1.0 / 6]
    let loss = 0.3 * tail.reduce(0) { $0 + $1 * log($1 * 3) }
    #expect(abs(error.uniformLossMax - loss) < 1e-6 && abs(error.meanUniformLoss - loss / 2) < 1e-6)
    #expect(abs(error.meanEntropy - Double(targets.entropies[0])) < 1e-7)
  }

  @Test func partsMergeToTheWhole() throws {
    var (whole, first, second) = (PolicyError(), PolicyError(), PolicyError())
    whole.add(targets)
    first.add(targets.tokens(0..<1))
    second.add(targets.tokens(1..<3))
    for (i, kl) in [1e-7, -1e-9, 3e-6].enumerated() {
      whole.addRounding(kl: kl)
      if i == 0 { first.addRounding(kl: kl) } else { second.addRounding(kl: kl) }
    }
    var reversed = second
    reversed.merge(first)
    first.merge(second)
    #expect(first == whole && reversed == whole && whole.nRounded == 3 && whole.roundingMax == 3e-6)
    #expect(try JSONDecoder().decode(PolicyError.self, from: JSONEncoder().encode(whole)) == whole)
    #expect(PolicyError().meanTailMass == 0 && PolicyError().meanRounding == 0)
  }

  @Test func roundingIsTheDivergenceOfTheStoredProbabilities() {
    let exact = [0.5, 0.3, 0.2]
    let stored = [0.5005, 0.2994, 0.2001]
    var error = PolicyError()
    error.addRounding(logProbabilities: exact.map { Float(log($0)) }, stored: stored.map { Float($0) })
    let kl = zip(exact, stored).reduce(0.0) { $0 + $1.0 * log($1.0 / $1.1) }
    #expect(abs(error.meanRounding - kl) < 1e-3 * kl && kl > 0, "\(error.meanRounding), not \(kl)")
  }
}
