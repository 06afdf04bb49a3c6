/// k of a step: from `start` to `k`, linearly over a share of the steps, then k. The formula of dictionary_learning's
/// TopKTrainer (`k_anneal_steps`), which always starts from the width of the activations.
struct AnnealedK {
  let k: Int
  private let start: Int
  private let fraction: Double
  /// That of the step which began last; k before the first.
  private(set) var current: Int

  init(k: Int, start: Int? = nil, fraction: Double = 0) {
    (self.k, self.start, self.fraction) = (k, start ?? k, fraction)
    current = k
  }

  mutating func begin(step: Int, of nSteps: Int) {
    // Rounding would make some of these sums less than k.
    if start == k { return }
    let annealed = fraction * Double(nSteps)
    let share = annealed > 0 ? min(1, Double(step) / annealed) : 1
    current = Int(Double(start) * (1 - share) + Double(k) * share)
  }
}
