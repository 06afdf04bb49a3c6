import Foundation
import SAE
import Testing

@testable import Train

@Suite struct DivergenceWatchTests {
  /// Of a batch of variance 1.
  private func losses(_ total: Double, dead: Int = 0, error: Double = 0) -> StepLosses {
    var losses = StepLosses()
    (losses.total, losses.mse, losses.fvu, losses.nDead) = (total, error, error, dead)
    return losses
  }

  @Test func lossesThatAreNotNumbersAndDeadSAEsAreProblems() {
    var watch = DivergenceWatch()
    #expect(watch.problem(losses(1), nLatents: 4) == nil)
    #expect(watch.problem(losses(.nan), nLatents: 4)?.what == "the loss is nan")
    #expect(watch.problem(losses(.infinity), nLatents: 4)?.what == "the loss is inf")
    #expect(watch.problem(losses(1, dead: 3), nLatents: 4) == nil)
    #expect(
      watch.problem(losses(1, dead: 4), nLatents: 4) == .init(what: "all 4 latents are dead", isInactivity: true))
  }

  @Test func aLossTenTimesTheMedianOfManyStepsIsAProblem() {
    var watch = DivergenceWatch()
    // One wild loss among the first does not move the median, nor end the run.
    for step in 0..<101 { #expect(watch.problem(losses(step == 3 ? 100 : 0.5), nLatents: 4) == nil) }
    #expect(watch.problem(losses(5), nLatents: 4) == nil)
    var copy = watch
    #expect(
      copy.problem(losses(5.1), nLatents: 4)?.what == "the loss is 5.1, over 10 times its median of 101 steps, 0.5")
    // The median follows the run.
    for _ in 0..<60 { #expect(watch.problem(losses(1.5), nLatents: 4) == nil) }
    #expect(watch.problem(losses(14), nLatents: 4) == nil)
  }

  @Test func aLossAboveTheLeastMedianIsAProblemOnceItIsWorseThanTheMean() {
    var watch = DivergenceWatch()
    #expect(watch.problem(losses(2, error: 2), nLatents: 4) == nil)
    for _ in 0..<9 { #expect(watch.problem(losses(0.1, error: 0.1), nLatents: 4) == nil) }
    // Worse, but better than the mean of all tokens; and worse than that, but not than the start.
    for error in [0.99, 1.2, 2] { #expect(watch.problem(losses(error, error: error), nLatents: 4) == nil) }
    #expect(
      watch.problem(losses(2.1, error: 2.1), nLatents: 4)?.what
        == "the loss is 2.1, over 10 times its least running median, 0.1")
    // A median that grows along hides nothing.
    var growing = DivergenceWatch()
    var loss = 0.1
    for _ in 0..<400 where growing.problem(losses(loss, error: loss), nLatents: 4) == nil { loss *= 1.02 }
    #expect(loss > 1 && loss < 1.2, "\(loss)")
    // The model's losses are not held against the activations.
    var model = DivergenceWatch()
    for step in 0..<101 {
      // One that began well may be worse for a while.
      let loss = (20..<60).contains(step) ? 3 : 0.1
      #expect(model.problem(losses(loss, error: 300), nLatents: 4, isLocal: false) == nil)
    }
    var copy = model
    #expect(copy.problem(losses(1.1, error: 300), nLatents: 4, isLocal: false) != nil)
    #expect(
      model.problem(losses(0.1, error: 4e8), nLatents: 4, isLocal: false)?.what
        == "the mean squared error is 4e+08, over 1000000 times the first one and the variance of the batches, 300")
  }

  @Test func anErrorFarAboveTheFirstIsAProblemAtOnce() {
    var watch = DivergenceWatch()
    #expect(watch.problem(losses(1, error: 0.01), nLatents: 4) == nil)
    #expect(watch.problem(losses(99, error: 99), nLatents: 4) == nil)
    #expect(
      watch.problem(losses(120, error: 120), nLatents: 4)?.what
        == "the mean squared error is 120, over 100 times the first one and the variance of the batches, 1")
    // relu begins far from its input.
    var relu = DivergenceWatch()
    #expect(relu.problem(losses(225, error: 225), nLatents: 4) == nil)
    #expect(relu.problem(losses(9000, error: 9000), nLatents: 4) == nil)
    // A batch of one token has no variance.
    var one = DivergenceWatch()
    for error in [0.01, 100] {
      var losses = losses(error, error: error)
      losses.fvu = 0
      #expect(one.problem(losses, nLatents: 4) == nil)
    }
  }

  @Test func stepsInARowWithoutActiveLatentsAreAProblem() {
    var watch = DivergenceWatch()
    func next(_ isInactive: Bool, of nSteps: Int = 1000) -> DivergenceWatch.Problem? {
      watch.problem(losses(1), nLatents: 4, isInactive: isInactive, nSteps: nSteps)
    }
    for _ in 0..<99 { #expect(next(true) == nil) }
    #expect(next(false) == nil)
    for _ in 0..<99 { #expect(next(true) == nil) }
    #expect(next(true) == .init(what: "no latent was active in 100 steps", isInactivity: true))
    watch = DivergenceWatch()
    #expect(next(true, of: 5) == nil)
    #expect(next(true, of: 5)?.what == "no latent was active in 2 steps")
    watch = DivergenceWatch()
    #expect(next(true, of: 1) != nil)
  }

  @Test func whatBeginsAnewMayRise() {
    var watch = DivergenceWatch()
    for _ in 0..<150 { #expect(watch.problem(losses(0.01, error: 0.01), nLatents: 4) == nil) }
    watch.begin(at: 150)
    for _ in 0..<150 { #expect(watch.problem(losses(5, error: 2), nLatents: 4, isLocal: false) == nil) }
    #expect(watch.problem(losses(51, error: 2), nLatents: 4, isLocal: false) != nil)
  }

  @Test func whatIsReadAgainJudgesTheSame() throws {
    var watch = DivergenceWatch()
    for step in 0..<130 {
      let loss = 0.1 + 1 / Double(step + 3)
      #expect(watch.problem(losses(loss, error: loss / 3), nLatents: 4, isInactive: step > 120) == nil)
    }
    let read = try JSONDecoder().decode(DivergenceWatch.self, from: JSONEncoder().encode(watch))
    #expect(read == watch && read.isPossible(before: 130) && !read.isPossible(before: 100))
    #expect(DivergenceWatch().isPossible(before: 0) && !DivergenceWatch().isPossible(before: 1))
  }

  @Test func schedulesSayWhenTheLossHasOtherTerms() throws {
    var configuration = TrainConfiguration(cache: "c", hook: "h", out: "o")
    (configuration.tokens, configuration.batch, configuration.k) = (100, 1, 4)
    var shape = SAEConfiguration(architecture: .topk, dIn: 8, dSAE: 32, k: 4)
    func changes(_ objective: Objective) -> [Int] {
      var since = 0
      return (1..<100).filter { step in
        if configuration.hasSameLoss(since, step, objective, shape) { return false }
        since = step
        return true
      }
    }
    #expect(changes(Objective(.local)) == [])
    #expect(changes(Objective(.e2e)) == [])
    #expect(changes(Objective(.localToKL)) == [95])
    var mixed = Objective(.mixed)
    mixed.weights = [.local: TermWeight(1), .kl: try #require(TermWeight("1>8@0.5..0.6"))]
    // 1.7, 3.8 and 8 of kl: each more than twice the one before.
    #expect(changes(mixed) == [52, 56])
    (shape.kStart, shape.kAnnealFraction) = (8, 0.2)
    #expect(changes(Objective(.local)) == [1, 6, 11, 16])
  }
}
