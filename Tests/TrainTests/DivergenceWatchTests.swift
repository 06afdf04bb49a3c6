import SAE
import Testing

@testable import Train

@Suite struct DivergenceWatchTests {
  private func losses(_ total: Double, dead: Int = 0) -> StepLosses {
    var losses = StepLosses()
    losses.total = total
    losses.nDead = dead
    return losses
  }

  @Test func lossesThatAreNotNumbersAndDeadSAEsAreProblems() {
    var watch = DivergenceWatch()
    #expect(watch.problem(losses(1), nLatents: 4) == nil)
    #expect(watch.problem(losses(.nan), nLatents: 4) == "the loss is nan")
    #expect(watch.problem(losses(.infinity), nLatents: 4) == "the loss is inf")
    #expect(watch.problem(losses(1, dead: 3), nLatents: 4) == nil)
    #expect(watch.problem(losses(1, dead: 4), nLatents: 4) == "all 4 latents are dead")
  }

  @Test func aLossTenTimesTheMedianOfManyStepsIsAProblem() {
    var watch = DivergenceWatch()
    // One wild loss among the first does not move the median, nor end the run.
    for step in 0..<101 { #expect(watch.problem(losses(step == 3 ? 100 : 0.5), nLatents: 4) == nil) }
    #expect(watch.problem(losses(5), nLatents: 4) == nil)
    #expect(
      watch.problem(losses(5.1), nLatents: 4) == "the loss is 5.1, over 10 times its median of 101 steps, 0.5")
    // The median follows the run.
    for _ in 0..<60 { #expect(watch.problem(losses(1.5), nLatents: 4) == nil) }
    #expect(watch.problem(losses(14), nLatents: 4) == nil)
  }
}
