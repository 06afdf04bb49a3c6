/// The constants of one step of gradient descent with momentum μ, as torch.optim.SGD (dampening 0, no Nesterov; weight
/// decay is part of the gradient):
///
///     b ← μb + g + λp    p ← p − lr·b
package struct SGDStep: Sendable {
  package var learningRate: Float
  package var momentum: Float
  package var weightDecay: Float

  package init(learningRate: Float, momentum: Float, weightDecay: Float = 0) {
    self.learningRate = learningRate
    self.momentum = momentum
    self.weightDecay = weightDecay
  }
}

/// One step in one sweep over memory; `b`, of the shape of `weights`, is 0 before the first step.
package func sgd(
  _ weights: inout Matrix, gradient: borrowing Matrix, b: inout Matrix, _ step: SGDStep, _ update: RowUpdate
) {
  let (rows, d) = (weights.rows, weights.columns)
  precondition(b.rows == rows && b.columns == d, "momentum [\(b.rows), \(b.columns)] of [\(rows), \(d)]")
  let (momenta, scale) = (b.base, update.gradientScale)
  update.forEachRow(of: weights, gradient: gradient) { row, p, g, along in
    let b = momenta + row * d
    var i = 0
    while i + 16 <= d {
      let weight = p.lanes(at: i)
      let gradient = g.lanes(at: i).addingProduct(Lanes(repeating: -along), weight) * scale
      let momentum = (gradient + weight * step.weightDecay).addingProduct(
        b.lanes(at: i), Lanes(repeating: step.momentum))
      b.store(momentum, at: i)
      p.store(weight - momentum * step.learningRate, at: i)
      i += 16
    }
    while i < d {
      let gradient = g[i].addingProduct(-along, p[i]) * scale
      b[i] = (gradient + p[i] * step.weightDecay).addingProduct(b[i], step.momentum)
      p[i] -= b[i] * step.learningRate
      i += 1
    }
  }
}
