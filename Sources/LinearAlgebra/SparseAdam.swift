/// Adam on rows with a gradient only: of the others neither weights nor moments are read or written, so their momentum
/// waits instead of decaying. Two conventions for the correction of the bias of moments that start at 0:
///
/// - `counts` empty: by the global step t, as torch.optim.SparseAdam (and mlsae's, which looks at single elements)
///
///       p ← p − lr · √(1−β₂ᵗ) / (1−β₁ᵗ) · m / (√v + ε)
///
///   so that the first update of a row at a late step is (1−β₁)/√(1−β₂) ≈ 3.2 times lr;
/// - `counts` [rows, 1]: by the steps in which the row had a gradient, which makes every row's course that of
///   torch.optim.Adam on those steps alone; the first update is lr. Counted in f32, up to 2²⁴.
///
/// A matrix of one row (a bias; not one held at unit norm) is taken element by element: those with a gradient of 0 are left alone, and `counts` is
/// [1, columns].
package func sparseAdam(
  _ weights: inout Matrix, gradient: borrowing Matrix, m: inout Matrix, v: inout Matrix, counts: inout Matrix,
  _ step: AdamStep, _ update: RowUpdate
) {
  let (rows, d) = (weights.rows, weights.columns)
  let isElementwise = rows == 1 && update.sums == nil && !update.normalizing
  precondition(
    m.rows == rows && m.columns == d && v.rows == rows && v.columns == d, "moments differ from [\(rows), \(d)]")
  precondition(
    counts.count == 0 || counts.count == (isElementwise ? d : rows), "\(counts.count) counts for [\(rows), \(d)]")
  let (m, v) = (m.base, v.base)
  let count = counts.count == 0 ? nil : counts.base
  let (first, second) = step.corrections(step: step.step)
  let global = AdamConstants(
    step, rate: Float(Double(step.learningRate) * second / first), root: 1, scale: update.gradientScale)
  /// Counts a step of the row, and corrects by it.
  @inline(__always) func constants(_ place: Int) -> AdamConstants {
    guard let count else { return global }
    count[place] += 1
    let (first, second) = step.corrections(step: Int(count[place]))
    var own = global
    own.rate = Float(Double(step.learningRate) / first)
    own.root = Float(second)
    return own
  }
  if isElementwise {
    let (p, g) = (weights.base, gradient.base)
    precondition(
      gradient.rows == 1 && gradient.columns == d, "gradient [\(gradient.rows), \(gradient.columns)] of [1, \(d)]")
    Threads.forEachRange(d, grain: 1 << 12) { range in
      for i in range where g[i] != 0 { adamRow(p + i, g + i, m + i, v + i, count: 1, constants(i), along: 0) }
    }
  } else {
    update.forEachRow(of: weights, gradient: gradient) { row, p, g, along in
      adamRow(p, g, m + row * d, v + row * d, count: d, constants(row), along: along)
    }
  }
}
