/// Which latents are in use.
package struct LatentActivity: Sendable, Equatable {
  /// Tokens since each latent was last active. [dSAE]
  package var tokensSinceActive: [Int]
  /// On how many tokens of the last batch each latent was active. [dSAE]
  package private(set) var uses: [Int]
  /// Share of latents active per token in the last batch; 1 before the first.
  package var activeFraction = 1.0
  /// Share of latents per token that the codes of the last batch held, active or near their threshold; 1 before the
  /// first. Decides into how many parts the next batch is cut.
  package var entryFraction = 1.0

  init(nLatents: Int) {
    tokensSinceActive = [Int](repeating: 0, count: nLatents)
    uses = tokensSinceActive
  }

  mutating func record(uses: [Int], nEntries: Int, tokens: Int) {
    self.uses = uses
    var sum = 0
    for j in uses.indices {
      tokensSinceActive[j] = uses[j] > 0 ? 0 : tokensSinceActive[j] + tokens
      sum += uses[j]
    }
    activeFraction = Double(sum) / Double(tokens) / Double(uses.count)
    entryFraction = Double(nEntries) / Double(tokens) / Double(uses.count)
  }

  /// Latents that were not active for `tokens` tokens.
  package func dead(after tokens: Int) -> [Int32] {
    tokensSinceActive.indices.filter { tokensSinceActive[$0] >= tokens }.map { Int32($0) }
  }
}
