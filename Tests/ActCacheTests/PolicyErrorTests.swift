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

  @Test func sumsAreThoseOfTheDefinitions() throws {
    var error = PolicyError()
    error.add(targets)
    #expect(error.nTokens == 2)
    #expect(abs(try #require(error.meanTailMass) - 0.15) < 1e-7 && abs(error.tailMassMax - 0.3) < 1e-7)
    #expect(abs(try #require(error.meanGradientBound) - 0.3) < 1e-7)
    #expect(abs(try #require(error.maxGradientBound) - 0.6) < 1e-7)
    // r·KL(tail ‖ uniform): the tail is 0.15, 0.1, 0.05 of 0.3.
    let tail = [0.5, 1.0 / 3, 1.0 / 6]
    let loss = 0.3 * tail.reduce(0) { $0 + $1 * log($1 * 3) }
    #expect(abs(error.uniformLossMax - loss) < 1e-6)
    #expect(abs(try #require(error.meanUniformLoss) - loss / 2) < 1e-6)
    #expect(abs(try #require(error.meanEntropy) - Double(targets.entropies[0])) < 1e-7)
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
  }

  @Test func whatWasNotMeasuredIsAbsent() throws {
    func members(_ error: PolicyError) throws -> String {
      String(decoding: try CanonicalJSON.encode(error), as: UTF8.self)
    }
    var hidden = PolicyError()
    #expect(try members(hidden) == "{}")
    #expect(hidden.meanTailMass == nil && hidden.maxGradientBound == nil && hidden.meanRounding == nil)
    hidden.addRounding(kl: 0.25)
    #expect(try members(hidden) == #"{"nRounded":1,"roundingMax":0.25,"roundingSum":0.25}"#)
    #expect(hidden.meanRounding == 0.25 && hidden.meanEntropy == nil && hidden.meanUniformLoss == nil)
    // Caches have been written that say 0 of it.
    let zeros =
      #"{"entropySum":0,"nRounded":1,"nTokens":0,"roundingMax":0.25,"roundingSum":0.25,"tailMassMax":0,"#
      + #""tailMassSum":0,"uniformLossMax":0,"uniformLossSum":0}"#
    #expect(try JSONDecoder().decode(PolicyError.self, from: Data(zeros.utf8)) == hidden)
  }

  @Test(arguments: [#"{"nTokens":4611686018427387904}"#, #"{"nRounded":-1}"#, #"{"tailMassSum":-1e-9,"nTokens":1}"#])
  func whatNobodyCanMeasureIsRefused(json: String) throws {
    #expect(try !JSONDecoder().decode(PolicyError.self, from: Data(json.utf8)).isConsistent)
  }

  @Test func roundingIsTheDivergenceOfTheStoredProbabilities() throws {
    let exact = [0.5, 0.3, 0.2]
    let stored = [0.5005, 0.2994, 0.2001]
    var error = PolicyError()
    error.addRounding(logProbabilities: exact.map { Float(log($0)) }, stored: stored.map { Float($0) })
    let kl = zip(exact, stored).reduce(0.0) { $0 + $1.0 * log($1.0 / $1.1) }
    #expect(abs(try #require(error.meanRounding) - kl) < 1e-3 * kl && kl > 0, "not \(kl): \(error)")
  }
}
