import Measure
import Testing

@Suite struct PlanCostTests {
  /// Harvest 125 s; a run takes 99 s from the cache and 150 s with the model.
  private func cost(runs: Int, harvest: Double = 125, cached: Double = 99, live: Double? = 150) -> PlanCost {
    PlanCost(
      harvestSeconds: harvest, runs: runs, cachedSeconds: cached * Double(runs),
      liveSeconds: live.map { $0 * Double(runs) })
  }

  @Test func itSaysFromHowManyRunsOnCachingPays() {
    #expect(cost(runs: 1).breakEvenRuns == 3 && cost(runs: 1).pays == false)
    #expect(
      cost(runs: 1).sentence
        == "caching does not pay for 1 run: harvest 2 min 05 s and training 1 min 39 s, against 2 min 30 s with the model "
        + "in the loop; it pays from 3 runs on.")
    #expect(cost(runs: 2).pays == false && cost(runs: 3).pays == true)
    #expect(
      cost(runs: 24).sentence
        == "caching pays for 24 runs: harvest 2 min 05 s and training 39 min 36 s, against 1 h 00 min with the model in "
        + "the loop, 1.4 times as long; it pays from 3 runs on.")
  }

  @Test func breakEvenIsTheFirstNumberOfRunsThatPaysOrIsEven() {
    for (harvest, runs) in [(0.0, 1), (51.0, 1), (51.1, 2), (102.0, 2), (1000.0, 20)] {
      #expect(cost(runs: 1, harvest: harvest).breakEvenRuns == runs, "\(harvest)")
    }
  }

  @Test func aSmallModelIsFasterThanAnyCache() {
    let never = cost(runs: 5, live: 90)
    #expect(never.breakEvenRuns == nil && never.pays == false)
    #expect(
      never.sentence
        == "caching never pays here: from the cache 5 runs take 8 min 15 s, with the model in the loop 7 min 30 s.")
  }

  @Test func aCacheThatIsThereCostsNothingMore() {
    #expect(
      cost(runs: 1, harvest: 0).sentence
        == "caching pays for 1 run: training 1 min 39 s from the cache that is there, against 2 min 30 s with the model in "
        + "the loop, 1.5 times as long.")
  }

  @Test func withoutAModelNothingIsCompared() {
    let unknown = cost(runs: 2, live: nil)
    #expect(unknown.pays == nil && unknown.breakEvenRuns == nil)
    #expect(
      unknown.sentence
        == "2 runs: harvest 2 min 05 s and training 3 min 18 s. What that takes without a cache was not measured; add "
        + "--model to compare.")
  }
}
