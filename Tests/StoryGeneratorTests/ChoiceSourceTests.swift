import Foundation
import Testing

@testable import StoryGenerator

@Suite struct ChoiceSourceTests {
  @Test func costIsTheLogarithmOfTheOdds() {
    var choices = ChoiceSource(seed: 1, index: 0)
    _ = choices.index(below: 8)
    #expect(abs(choices.nats - log(8)) < 1e-12)
    let before = choices.nats
    let chosen = choices.index(weights: [1, 3])
    #expect(abs(choices.nats - before - log(chosen == 0 ? 4 : 4.0 / 3)) < 1e-12)
    _ = choices.index(below: 1)
    #expect(abs(choices.nats - before - log(chosen == 0 ? 4 : 4.0 / 3)) < 1e-12)
  }

  @Test func weightsAreKept() {
    var choices = ChoiceSource(seed: 3, index: 0)
    var counts = [0, 0, 0]
    for _ in 0..<9000 { counts[choices.index(weights: [1, 0, 2])] += 1 }
    #expect(counts[1] == 0)
    // Four standard deviations of a binomial with n = 9000, p = 1/3 are 179.
    #expect(abs(counts[0] - 3000) < 179, "\(counts)")
  }
}
