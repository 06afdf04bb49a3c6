import ActCache
import Harvest
import SAE
import Train

/// The same SAE trained on batches from the cache, and with the model in the loop: local objective.
package struct LiveBenchmark {
  package struct Result: Codable, Sendable {
    package var hook: String
    package var context: Int
    package var cached: TrainBenchmark.Result
    package var live: TrainBenchmark.Result
    /// Steps per second from the cache over those with the model.
    package var gain: Double
    package var verdict: String
  }

  package let configuration: SAEConfiguration
  package let batch: Int
  package let steps: Int

  package init(_ configuration: SAEConfiguration, batch: Int, steps: Int) {
    self.configuration = configuration
    self.batch = batch
    self.steps = steps
  }

  /// Runs of either kind, one after the other in turn, so that others on the machine disturb both alike.
  private static let rounds = 3

  /// - Parameters:
  ///   - source: the model that made `cache`.
  ///   - isInterrupted: asked before each run of a few steps.
  package func run(
    _ cache: CacheReader, hook: String, source: any ActivationSource, isInterrupted: () -> Bool = { false }
  ) throws -> Result {
    let scale = try cache.hook(hook).scale
    let fromCache = try CacheBatches(cache, hook: hook, batchSize: batch, seed: 0)
    let fromModel = try LiveBatches(source, sequencesOf: cache, hook: hook, scale: scale)
    let stepsPerRound = (steps + LiveBenchmark.rounds - 1) / LiveBenchmark.rounds
    func measure(_ source: any BatchSource) throws -> TrainBenchmark.Result {
      if isInterrupted() { throw MeasureError.interrupted }
      return try TrainBenchmark(configuration, batch: batch, steps: stepsPerRound, source: source).run()
    }
    var (cached, live) = (try measure(fromCache), try measure(fromModel))
    for _ in 1..<LiveBenchmark.rounds {
      cached = cached.adding(try measure(fromCache))
      live = live.adding(try measure(fromModel))
    }
    let gain = live.medianSecondsPerStep / cached.medianSecondsPerStep
    let share = live.lanes.first.map { Verdict.share($0.seconds(.forward), of: $0) } ?? 0
    return Result(
      hook: hook, context: cache.manifest.context, cached: cached, live: live, gain: gain,
      verdict: "with the model in the loop \(Verdict.percent(share)) of a step is its forward pass; from the cache a "
        + "step takes \(Verdict.percent(1 / gain)) of the time")
  }
}
