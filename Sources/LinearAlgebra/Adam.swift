import Foundation

/// The constants of one step of Adam (Kingma & Ba 2015, algorithm 1) or AdamW (Loshchilov & Hutter 2019), as
/// torch.optim.Adam and AdamW apply them:
///
///     p ← p − lr·λ·p
///     m ← β₁m + (1−β₁)g    v ← β₂v + (1−β₂)g²
///     p ← p − (lr / (1−β₁ᵗ)) · m / (√v / √(1−β₂ᵗ) + ε)
package struct AdamStep: Sendable {
  package var learningRate: Float
  package var beta1: Float
  package var beta2: Float
  package var epsilon: Float
  /// λ; 0 is Adam.
  package var weightDecay: Float
  /// t, from 1.
  package var step: Int

  package init(
    learningRate: Float, beta1: Float = 0.9, beta2: Float = 0.999, epsilon: Float = 1e-8, weightDecay: Float = 0,
    step: Int
  ) {
    self.learningRate = learningRate
    self.beta1 = beta1
    self.beta2 = beta2
    self.epsilon = epsilon
    self.weightDecay = weightDecay
    self.step = step
  }

  /// 1 − β₁ᵗ and √(1 − β₂ᵗ).
  func corrections(step: Int) -> (first: Double, second: Double) {
    (1 - pow(Double(beta1), Double(step)), (1 - pow(Double(beta2), Double(step))).squareRoot())
  }
}

/// One step on all of `weights` in one sweep over memory, which also takes from each row's gradient its part along the row
/// and scales the row, where `update` says so.
///
/// - Parameters: all four matrices of one shape; `m` and `v` are the moments, 0 before the first step.
package func adam(
  _ weights: inout Matrix, gradient: borrowing Matrix, m: inout Matrix, v: inout Matrix, _ step: AdamStep,
  _ update: RowUpdate
) {
  let (rows, d) = (weights.rows, weights.columns)
  precondition(
    m.rows == rows && m.columns == d && v.rows == rows && v.columns == d, "moments differ from [\(rows), \(d)]")
  let (m, v) = (m.base, v.base)
  let (first, second) = step.corrections(step: step.step)
  let constants = AdamConstants(
    step, rate: Float(Double(step.learningRate) / first), root: Float(second), scale: update.gradientScale)
  update.forEachRow(of: weights, gradient: gradient) { row, p, g, along in
    adamRow(p, g, m + row * d, v + row * d, count: d, constants, along: along)
  }
}

/// p −= rate · m / (√v / root + ε), and what comes before it.
struct AdamConstants {
  var rate: Float
  var root: Float
  let beta1, beta2, epsilon, scale: Float
  /// 1 − lr·λ
  let kept: Float

  init(_ step: AdamStep, rate: Float, root: Float, scale: Float) {
    (self.rate, self.root, self.scale) = (rate, root, scale)
    (beta1, beta2, epsilon) = (step.beta1, step.beta2, step.epsilon)
    kept = 1 - step.learningRate * step.weightDecay
  }
}

@inline(__always) func adamRow(
  _ p: UnsafeMutablePointer<Float>, _ g: UnsafePointer<Float>, _ m: UnsafeMutablePointer<Float>,
  _ v: UnsafeMutablePointer<Float>, count: Int, _ c: AdamConstants, along: Float
) {
  let (rest1, rest2) = (1 - c.beta1, 1 - c.beta2)
  var i = 0
  while i + 16 <= count {
    let weight = p.lanes(at: i)
    let gradient = g.lanes(at: i).addingProduct(Lanes(repeating: -along), weight) * c.scale
    let first = (m.lanes(at: i) * c.beta1).addingProduct(gradient, Lanes(repeating: rest1))
    let second = (v.lanes(at: i) * c.beta2).addingProduct(gradient * gradient, Lanes(repeating: rest2))
    m.store(first, at: i)
    v.store(second, at: i)
    p.store(weight * c.kept - c.rate * first / (squareRoot(second) / c.root + c.epsilon), at: i)
    i += 16
  }
  while i < count {
    let gradient = g[i].addingProduct(-along, p[i]) * c.scale
    m[i] = m[i] * c.beta1 + gradient * rest1
    v[i] = v[i] * c.beta2 + gradient * gradient * rest2
    p[i] = p[i] * c.kept - c.rate * m[i] / (v[i].squareRoot() / c.root + c.epsilon)
    i += 1
  }
}
