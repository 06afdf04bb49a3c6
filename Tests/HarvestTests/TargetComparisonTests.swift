import Foundation
import TestSupport
import Testing

@testable import ActCache
@testable import Harvest

@Suite struct TargetComparisonTests {
  /// What a policy stores of a distribution, read again.
  private func stored(_ logits: [Double], _ policy: LogitPolicy) throws -> TeacherTargets {
    let shape = try #require(TargetFrameShape(policy: policy, nVocabulary: logits.count))
    let logSum = log(logits.reduce(0) { $0 + exp($1) })
    let logP = logits.map { Float($0 - logSum) }
    let order = logits.indices.sorted { (logits[$0], -$0) > (logits[$1], -$1) }
    let entropy = Float(-logP.reduce(0.0) { $0 + Double($1) * exp(Double($1)) })
    func tail(_ n: Int) -> Double { order.dropFirst(n).reduce(0) { $0 + exp(Double(logP[$1])) } }
    var encoder = TargetFrameEncoder(shape)
    switch policy {
    case .full, .hidden: try encoder.append(logits: logP.span, logSumExp: 0, entropy: entropy)
    case .topK(let k): try append(k)
    case .mass(let r, let cap): try append((1...cap).first { tail($0) <= r } ?? cap)
    }
    func append(_ n: Int) throws {
      try encoder.append(
        indices: order.prefix(n).map { UInt32($0) }[...], logProbabilities: order.prefix(n).map { logP[$0] }[...],
        tailMass: Float(tail(n)), entropy: entropy)
    }
    return try shape.decode(encoder.content().bytes, nTokens: 1)
  }

  private let logits: [Double] = {
    var random = SeededGenerator(seed: 4)
    return (0..<40).map { _ in Double.random(in: -3...3, using: &random) }
  }()

  private func faults(_ mine: [Double], _ theirs: [Double], _ policy: String) throws -> [String] {
    let policy = try #require(LogitPolicy(policy))
    let comparison = TargetComparison(
      stored: try stored(mine, policy), computed: try stored(theirs, policy), policy: policy)
    #expect(comparison.values >= 3 && comparison.equal <= comparison.values)
    return comparison.faults.map(\.what)
  }

  private static let policies = ["topk:1", "topk:7", "mass:0.2:30", "mass:0.01:5", "full"]

  @Test(arguments: policies) func theSameNumbersAreEqual(name: String) throws {
    let policy = try #require(LogitPolicy(name))
    let targets = try stored(logits, policy)
    let same = TargetComparison(stored: targets, computed: targets, policy: policy)
    #expect(same.equal == same.values && same.faults.isEmpty && same.largestError == 0)
  }

  @Test(arguments: policies) func sumsInAnotherOrderAreAllowed(name: String) throws {
    var random = SeededGenerator(seed: 5)
    for _ in 0..<50 {
      let near = logits.map { $0 + Double.random(in: -4e-4...4e-4, using: &random) }
      #expect(try faults(near, logits, name) == [])
    }
  }

  @Test(arguments: policies) func anotherModelIsFound(name: String) throws {
    var random = SeededGenerator(seed: 6)
    for _ in 0..<20 {
      let other = logits.map { $0 + Double.random(in: -0.1...0.1, using: &random) }
      #expect(try !faults(other, logits, name).isEmpty)
    }
  }

  @Test func tokensAsLikelyAsEachOtherStandForEachOther() throws {
    let order = logits.indices.sorted { logits[$0] > logits[$1] }
    var tied = logits
    // The 7th and the 8th.
    tied[order[7]] = tied[order[6]] - 1e-5
    var other = tied
    other[order[7]] = tied[order[6]] + 1e-5
    #expect(try faults(tied, other, "topk:7") == [])
    // A list that ends at a mass may have one entry more or less.
    let tail = { (n: Int) -> Double in
      let all = tied.reduce(0) { $0 + exp($1) }
      return order.dropFirst(n).reduce(0) { $0 + exp(tied[$1]) } / all
    }
    let policy = "mass:\(tail(9)):30"
    let counts = try [tied, tied.enumerated().map { $0.offset == order[0] ? $0.element - 1e-4 : $0.element }].map {
      try stored($0, try #require(LogitPolicy(policy))).indices.count
    }
    #expect(counts[0] != counts[1])
    #expect(
      try faults(tied, tied.enumerated().map { $0.offset == order[0] ? $0.element - 1e-4 : $0.element }, policy) == [])
  }

  @Test func eachDifferenceIsNamed() throws {
    let order = logits.indices.sorted { logits[$0] > logits[$1] }
    var other = logits
    other[order[30]] = logits[order[0]] + 1
    let found = try faults(other, logits, "topk:3")
    #expect(
      found.contains {
        $0.hasPrefix("token \(order[30]) of probability ") && $0.contains(" is listed, the model's list ends at ")
      })
    #expect(
      found.contains { $0.hasPrefix("token \(order[0]) has a probability of ") && $0.contains(", the model gives ") })
    #expect(found.contains { $0.hasPrefix("a tail mass of ") } && found.contains { $0.hasPrefix("an entropy of ") })
    let back = try faults(logits, other, "topk:3")
    #expect(back.contains { $0.hasPrefix("token \(order[30]), to which the model gives ") })
    let counts = try faults(logits, logits.map { $0 * 3 }, "mass:0.1:30")
    #expect(counts.contains { $0.contains(" entries, the model needs ") })
    let full = try stored(logits, .full)
    let padding = TeacherTargets(
      nVocabulary: 40, starts: [0, 0], indices: [], probabilities: [], tailMasses: [1], entropies: [0])
    #expect(
      TargetComparison(stored: padding, computed: full, policy: .full).faults.map(\.what) == [
        "0 entries, the model gives 40"
      ])
  }
}
