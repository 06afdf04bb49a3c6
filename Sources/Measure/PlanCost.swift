import Report

/// What a harvest and the runs after it cost, with the cache and without.
package struct PlanCost: Codable, Equatable, Sendable {
  /// Of what is not there yet.
  package let harvestSeconds: Double
  package let runs: Int
  /// Of all runs together, from the cache.
  package let cachedSeconds: Double
  /// Of all runs together, each with the model in the loop; nil without a model to measure.
  package let liveSeconds: Double?
  /// From so many runs on the cache pays; nil if nobody knows, or if it never does.
  package let breakEvenRuns: Int?

  package init(harvestSeconds: Double, runs: Int, cachedSeconds: Double, liveSeconds: Double?) {
    precondition(runs > 0, "\(runs) runs")
    self.harvestSeconds = harvestSeconds
    self.runs = runs
    self.cachedSeconds = cachedSeconds
    self.liveSeconds = liveSeconds
    let gain = liveSeconds.map { ($0 - cachedSeconds) / Double(runs) }
    breakEvenRuns = gain.flatMap { $0 > 0 ? max(1, Int(min(1e15, (harvestSeconds / $0).rounded(.up)))) : nil }
  }

  /// nil if nobody knows.
  package var pays: Bool? { liveSeconds.map { harvestSeconds + cachedSeconds < $0 } }

  package var sentence: String {
    let count = runs == 1 ? "1 run" : "\(grouped(runs)) runs"
    let own =
      harvestSeconds > 0
      ? "harvest \(duration(harvestSeconds)) and training \(duration(cachedSeconds))"
      : "training \(duration(cachedSeconds)) from the cache that is there"
    guard let live = liveSeconds else {
      return "\(count): \(own). What that takes without a cache was not measured; add --model to compare."
    }
    guard let breakEvenRuns else {
      return
        "caching never pays here: from the cache \(count) \(runs == 1 ? "takes" : "take") \(duration(cachedSeconds)), "
        + "with the model in the loop \(duration(live))."
    }
    guard harvestSeconds + cachedSeconds < live else {
      return "caching does not pay for \(count): \(own), against \(duration(live)) with the model in the loop; it pays "
        + "from \(grouped(breakEvenRuns)) runs on."
    }
    let ratio = fixed(live / (harvestSeconds + cachedSeconds), 1)
    let from =
      harvestSeconds > 0 ? "; it pays from \(breakEvenRuns == 1 ? "the first run" : "\(breakEvenRuns) runs") on" : ""
    return "caching pays for \(count): \(own), against \(duration(live)) with the model in the loop, \(ratio) times as "
      + "long\(from)."
  }
}
