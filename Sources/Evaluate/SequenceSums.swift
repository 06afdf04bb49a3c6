/// What an evaluation adds up, sequence by sequence: every number of a run is a ratio of such sums, and a resample of the
/// sequences gives its confidence interval. Each array has an element per held-out sequence, in their order.
package struct SequenceSums: Codable, Sendable, Equatable {
  /// Squared errors of one stream of activations.
  package struct Errors: Codable, Sendable, Equatable {
    package var hook: String
    package var width: Int
    /// Mean over all held-out tokens of ‖a − mean‖².
    package var variance: Double
    /// Σ‖a − a′‖² over the tokens of each sequence, in raw units.
    package var squares: [Double]

    package init(hook: String, width: Int) {
      (self.hook, self.width) = (hook, width)
      (variance, squares) = (0, [])
    }

    /// Mean over tokens and elements of (a − a′)².
    package func mse(tokens: [Int], weights: [Int]? = nil) -> Double {
      total(squares, weights) / (total(tokens, weights) * Double(width))
    }

    /// Σ‖a − a′‖² / Σ‖a − mean‖², with the variance of all held-out tokens.
    package func fvu(tokens: [Int], weights: [Int]? = nil) -> Double {
      variance > 0 ? total(squares, weights) / (total(tokens, weights) * variance) : 0
    }
  }

  /// Of the model whose half-layers were trained, without the SAE: cross-entropy, and KL(original ‖ it), nats.
  package struct WithoutSAE: Codable, Sendable, Equatable {
    package var ce: [Double] = []
    package var kl: [Double] = []
  }

  /// Tokens of text, and positions that predict a next token.
  package var tokens: [Int] = []
  package var scored: [Int] = []
  /// Active latents.
  package var active: [Double] = []
  /// Next-token cross-entropies, nats.
  package var ceOriginal: [Double] = []
  package var ceSpliced: [Double] = []
  package var ceZeroAblated: [Double] = []
  package var ceMeanAblated: [Double] = []
  /// With the error put back halfway; empty where no layer is left.
  package var ceErrorHalfway: [Double] = []
  package var kl: [Double] = []
  /// ½ Σ|p − q|.
  package var distance: [Double] = []
  /// Positions where original and spliced run have the same likeliest token, and where theirs is the next token of the
  /// text.
  package var agreeing: [Double] = []
  package var correctOriginal: [Double] = []
  package var correctSpliced: [Double] = []
  /// nil where no half-layer was trained.
  package var withoutSAE: WithoutSAE?
  /// Of the SAE's own hook, and of the residual streams after it.
  package var own: Errors
  package var downstream: [Errors]

  package init(own: Errors, downstream: [Errors]) {
    (self.own, self.downstream) = (own, downstream)
  }

  /// Active latents per token.
  package func l0(weights: [Int]? = nil) -> Double { total(active, weights) / total(tokens, weights) }

  /// The mean of sums over scored positions.
  package func perScored(_ sums: [Double], weights: [Int]? = nil) -> Double {
    total(sums, weights) / total(scored, weights)
  }

  package func ceIncrease(weights: [Int]? = nil) -> Double {
    (total(ceSpliced, weights) - total(ceOriginal, weights)) / total(scored, weights)
  }
}

/// Σ values, each taken `weights[i]` times.
private func total(_ values: [Double], _ weights: [Int]?) -> Double {
  guard let weights else { return values.reduce(0, +) }
  precondition(weights.count == values.count, "\(weights.count) weights for \(values.count) sequences")
  var sum = 0.0
  for (value, weight) in zip(values, weights) { sum += value * Double(weight) }
  return sum
}

private func total(_ values: [Int], _ weights: [Int]?) -> Double {
  guard let weights else { return Double(values.reduce(0, +)) }
  precondition(weights.count == values.count, "\(weights.count) weights for \(values.count) sequences")
  var sum = 0
  for (value, weight) in zip(values, weights) { sum += value * weight }
  return Double(sum)
}
