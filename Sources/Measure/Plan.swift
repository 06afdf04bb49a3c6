import SAE

/// What `actcache plan` finds. Every number says how it came about.
package struct Plan: Codable, Sendable {
  package struct Stream: Codable, Equatable, Sendable {
    package var name, why: String
    package var width: Int
    package var dtype, codec: String
    /// On disk.
    package var bytesPerToken: Double
    /// Of all tokens that are wanted.
    package var bytes: Int
    /// Tokens that the cache has already.
    package var tokensThere: Int
    package var how: String
  }

  package struct Rate: Codable, Equatable, Sendable {
    package var what: String
    package var tokensPerSecond: Double
    package var threads: Int
    package var how: String
  }

  /// Runs whose steps cost the same.
  package struct Shape: Codable, Equatable, Sendable {
    package var hook: String
    package var arch: SAEConfiguration.Architecture
    package var latents, k, batch: Int
    package var runs: Int
    /// Of all of them.
    package var tokens: Int
    /// From the cache, reading included.
    package var secondsPerStep: Spread
    package var cachedTokensPerSecond: Double
    package var liveTokensPerSecond: Double?
  }

  package var machine: Machine
  package var cache: String
  package var objective: String
  package var context: Int
  package var harvestTokens: Int
  /// That the model still has to see.
  package var newTokens: Int
  package var streams: [Stream]
  /// Of what is not there yet.
  package var newBytes: Int
  package var freeBytes: Int?
  package var rates: [Rate]
  package var shapes: [Shape]
  /// nil where this version cannot train the objective.
  package var cost: PlanCost?
  package var notes: [String]
  /// The answer.
  package var sentence: String
}
