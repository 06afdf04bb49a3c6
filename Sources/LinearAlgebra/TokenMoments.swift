/// Mean and standard deviation of each token, which `standardizeTokens` takes away and `restoreTokens` gives back.
package struct TokenMoments: Sendable, Equatable {
  package internal(set) var means: [Float] = []
  /// With n − 1 in the denominator, as torch's `std`.
  package internal(set) var deviations: [Float] = []

  package var withoutMeans: TokenMoments {
    TokenMoments(means: [Float](repeating: 0, count: means.count), deviations: deviations)
  }

  /// Added to the deviation where it divides.
  static let epsilon: Float = 1e-5
}

/// x ← (x − mean x) / (std x + 1e-5), token by token: SAELens' `normalize_activations: layer_norm`, and but for the factor
/// √(d − 1), which makes ‖x‖² a token's width less 1 instead of 1, what Gao et al. 2024 (§2.1) do to inputs.
///
/// - Parameter x: [tokens, d], d at least 2.
package func standardizeTokens(_ x: inout Matrix) -> TokenMoments {
  let (rows, d) = (x.rows, x.columns)
  precondition(d >= 2, "tokens of \(d) values have no standard deviation")
  // [2, rows]
  let moments = Matrix(2, rows)
  let (xs, means, deviations) = (x.base, moments.base, moments.base + rows)
  Threads.forEachRange(rows, grain: 256) { range in
    for b in range {
      let row = xs + b * d
      let whole = d & ~15
      var lanes = Lanes.zero
      for i in stride(from: 0, to: whole, by: 16) { lanes += row.lanes(at: i) }
      var sum = lanes.total
      for i in whole..<d { sum += row[i] }
      let mean = sum / Float(d)
      var squares = Lanes.zero
      for i in stride(from: 0, to: whole, by: 16) {
        let e = row.lanes(at: i) - mean
        squares.addProduct(e, e)
      }
      var total = squares.total
      for i in whole..<d { total += (row[i] - mean) * (row[i] - mean) }
      let deviation = (total / Float(d - 1)).squareRoot()
      let divisor = deviation + TokenMoments.epsilon
      for i in stride(from: 0, to: whole, by: 16) { row.store((row.lanes(at: i) - mean) / divisor, at: i) }
      for i in whole..<d { row[i] = (row[i] - mean) / divisor }
      (means[b], deviations[b]) = (mean, deviation)
    }
  }
  let values = moments.values
  return TokenMoments(means: Array(values[..<rows]), deviations: Array(values[rows...]))
}

/// x ← x · std + mean, token by token: as SAELens without the 1e-5.
package func restoreTokens(_ x: inout Matrix, _ moments: TokenMoments) {
  precondition(moments.means.count == x.rows, "moments of \(moments.means.count) tokens for \(x.rows)")
  let (d, xs) = (x.columns, x.base)
  for (b, (mean, deviation)) in zip(moments.means, moments.deviations).enumerated() {
    for i in b * d..<(b + 1) * d { xs[i] = xs[i] * deviation + mean }
  }
}
