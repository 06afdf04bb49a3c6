import Foundation

/// The constants of one Adam step (Kingma & Ba 2015, algorithm 1), as torch.optim.Adam applies them:
///
///     m ← β₁m + (1−β₁)g    v ← β₂v + (1−β₂)g²
///     p ← p − (lr / (1−β₁ᵗ)) · m / (√v / √(1−β₂ᵗ) + ε)
package struct AdamStep: Sendable {
  package var learningRate: Float
  package var beta1: Float
  package var beta2: Float
  package var epsilon: Float
  /// t, from 1.
  package var step: Int
  /// The gradient is multiplied by this first (clipping).
  package var gradientScale: Float

  package init(
    learningRate: Float, beta1: Float = 0.9, beta2: Float = 0.999, epsilon: Float = 1e-8, step: Int,
    gradientScale: Float = 1
  ) {
    self.learningRate = learningRate
    self.beta1 = beta1
    self.beta2 = beta2
    self.epsilon = epsilon
    self.step = step
    self.gradientScale = gradientScale
  }
}

/// One step on all of `weights`, in one sweep over memory; with `normalizingRows` each row is scaled to unit norm
/// while it is in cache.
///
/// - Parameters: all four of one shape; `m` and `v` are the moments, 0 before the first step.
package func adam(
  _ weights: inout Matrix, gradient: borrowing Matrix, m: inout Matrix, v: inout Matrix, _ step: AdamStep,
  normalizingRows: Bool = false
) {
  let (rows, d) = (weights.rows, weights.columns)
  precondition(
    gradient.rows == rows && gradient.columns == d && m.rows == rows && m.columns == d && v.rows == rows
      && v.columns == d, "shapes differ from [\(rows), \(d)]")
  let (p, g, m, v) = (weights.base, gradient.base, m.base, v.base)
  let rate = Float(Double(step.learningRate) / (1 - pow(Double(step.beta1), Double(step.step))))
  let root = Float((1 - pow(Double(step.beta2), Double(step.step))).squareRoot())
  let grain = max(1, (1 << 14) / max(d, 1))
  Threads.forEachRange(rows, grain: grain) { range in
    if normalizingRows {
      for row in range {
        update(p + row * d, g + row * d, m + row * d, v + row * d, count: d, step, rate: rate, root: root)
        normalize(p + row * d, count: d)
      }
    } else {
      let start = range.lowerBound * d
      update(p + start, g + start, m + start, v + start, count: range.count * d, step, rate: rate, root: root)
    }
  }
}

@inline(__always) private func update(
  _ p: UnsafeMutablePointer<Float>, _ g: UnsafePointer<Float>, _ m: UnsafeMutablePointer<Float>,
  _ v: UnsafeMutablePointer<Float>, count: Int, _ step: AdamStep, rate: Float, root: Float
) {
  let (beta1, beta2) = (step.beta1, step.beta2)
  let (rest1, rest2) = (1 - beta1, 1 - beta2)
  var i = 0
  while i + 16 <= count {
    let gradient = g.lanes(at: i) * step.gradientScale
    let first = (m.lanes(at: i) * beta1).addingProduct(gradient, Lanes(repeating: rest1))
    let second = (v.lanes(at: i) * beta2).addingProduct(gradient * gradient, Lanes(repeating: rest2))
    m.store(first, at: i)
    v.store(second, at: i)
    p.store(p.lanes(at: i) - rate * first / (squareRoot(second) / root + step.epsilon), at: i)
    i += 16
  }
  while i < count {
    let gradient = g[i] * step.gradientScale
    m[i] = m[i] * beta1 + gradient * rest1
    v[i] = v[i] * beta2 + gradient * gradient * rest2
    p[i] -= rate * m[i] / (v[i].squareRoot() / root + step.epsilon)
    i += 1
  }
}
