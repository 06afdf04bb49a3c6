/// The constants of one step of Signum (Bernstein et al. 2018, arXiv 1802.04434, algorithm 2), with weight decay as there:
///
///     m ← μm + (1−μ)g    p ← p − lr·(sign m + λp),  sign 0 = 0
package struct SignumStep: Sendable {
  package var learningRate: Float
  package var momentum: Float
  package var weightDecay: Float

  package init(learningRate: Float, momentum: Float, weightDecay: Float = 0) {
    self.learningRate = learningRate
    self.momentum = momentum
    self.weightDecay = weightDecay
  }
}

/// One step in one sweep over memory; `m`, of the shape of `weights`, is 0 before the first step.
package func signum(
  _ weights: inout Matrix, gradient: borrowing Matrix, m: inout Matrix, _ step: SignumStep, _ update: RowUpdate
) {
  let (rows, d) = (weights.rows, weights.columns)
  precondition(m.rows == rows && m.columns == d, "momentum [\(m.rows), \(m.columns)] of [\(rows), \(d)]")
  let (momenta, scale, rest) = (m.base, update.gradientScale, 1 - step.momentum)
  let (rate, kept) = (step.learningRate, 1 - step.learningRate * step.weightDecay)
  update.forEachRow(of: weights, gradient: gradient) { row, p, g, along in
    let m = momenta + row * d
    var i = 0
    while i + 16 <= d {
      let weight = p.lanes(at: i)
      let gradient = g.lanes(at: i).addingProduct(Lanes(repeating: -along), weight) * scale
      let momentum = (m.lanes(at: i) * step.momentum).addingProduct(gradient, Lanes(repeating: rest))
      m.store(momentum, at: i)
      let change = Lanes.zero.replacing(with: rate, where: momentum .> 0).replacing(with: -rate, where: momentum .< 0)
      p.store(weight * kept - change, at: i)
      i += 16
    }
    while i < d {
      let gradient = g[i].addingProduct(-along, p[i]) * scale
      m[i] = m[i] * step.momentum + gradient * rest
      p[i] = p[i] * kept - (m[i] > 0 ? rate : m[i] < 0 ? -rate : 0)
      i += 1
    }
  }
}
