import SAE

/// A value with its 95 % confidence interval.
package struct Estimate: Codable, Sendable, Equatable {
  package var value: Double
  /// nil where too few resamples have a value.
  package var low: Double?
  package var high: Double?

  package init(value: Double, low: Double? = nil, high: Double? = nil) {
    (self.value, self.low, self.high) = (value, low, high)
  }
}

/// Resamples of sequences with replacement: the percentile bootstrap. Tokens of one sequence depend on each other, so whole
/// sequences are drawn.
package struct Bootstrap: Sendable {
  package let count: Int
  package let seed: UInt64

  package init(count: Int, seed: UInt64 = 0) {
    (self.count, self.seed) = (count, seed)
  }

  /// Calls `body` with each resample of n sequences: how often each was drawn.
  package func forEachResample(of n: Int, _ body: ([Int]) -> Void) {
    var random = GaussianGenerator(seed: seed)
    for _ in 0..<count {
      var weights = [Int](repeating: 0, count: n)
      for _ in 0..<n { weights[Int.random(in: 0..<n, using: &random)] += 1 }
      body(weights)
    }
  }

  /// The interval from the 2.5 % to the 97.5 % quantile of the values of the resamples (linear between neighbours); none if
  /// less than 95 % of the resamples have a value.
  package func estimate(_ value: Double, resampled: [Double]) -> Estimate {
    let values = resampled.filter(\.isFinite).sorted()
    guard let last = values.indices.last, Double(values.count) >= 0.95 * Double(count) else {
      return Estimate(value: value)
    }
    func quantile(_ share: Double) -> Double {
      let place = share * Double(last)
      let below = Int(place)
      return values[below] + (place - Double(below)) * (values[min(last, below + 1)] - values[below])
    }
    return Estimate(value: value, low: quantile(0.025), high: quantile(0.975))
  }
}
