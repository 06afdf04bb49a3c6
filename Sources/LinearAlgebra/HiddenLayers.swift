// Kernels of dense hidden layers, [B, m]. Rows are shared among threads in pieces of 64; sums over rows go over pieces of 256,
// then over the pieces in order.

/// The nonlinearity of a trained hidden layer: its slope follows from its result.
package enum HiddenActivation: String, Codable, Sendable, CaseIterable {
  case tanh, relu
}

/// x ← f(x + bias), in place; bias is [1, m]. Without f x + bias.
package func activate(_ x: Strip, _ f: HiddenActivation?, bias: Strip) {
  let m = x.columns
  precondition(bias.columns == m, "\(bias.columns) biases for \(m) columns")
  let b = bias.base
  @inline(__always) func apply(_ range: Range<Int>, _ f: (Lanes) -> Lanes) {
    for row in range {
      let p = x.row(row)
      forEachLanes(m) { i, count in
        p.store(f(p.lanes(at: i, count: count) + b.lanes(at: i, count: count)), at: i, count: count)
      }
    }
  }
  Threads.forEachRange(x.rows, grain: 64) { range in
    switch f {
    case .tanh: apply(range) { tanh($0) }
    case .relu: apply(range) { $0.replacing(with: 0, where: $0 .<= 0) }
    case nil: apply(range) { $0 }
    }
  }
}

/// gradient ← gradient · f′, from dLoss/dy to dLoss/dPre, where y = f(pre) is given; without f it stays. Its sum over rows
/// goes to `dBias` [1, m].
package func passBack(
  _ gradient: Strip, through f: HiddenActivation?, result y: Strip, dBias: Strip, accumulating: Bool = false
) {
  let m = y.columns
  precondition(
    gradient.rows == y.rows && gradient.columns == m && dBias.columns == m,
    "[\(gradient.rows), \(gradient.columns)] for [\(y.rows), \(m)]")
  setPieces(of: y.rows, to: [dBias], accumulating) { range, sums in
    @inline(__always) func apply(_ slope: (Lanes) -> Lanes) {
      for row in range {
        let (p, q) = (gradient.row(row), y.row(row))
        forEachLanes(m) { i, count in
          let g = p.lanes(at: i, count: count) * slope(q.lanes(at: i, count: count))
          p.store(g, at: i, count: count)
          sums.store(sums.lanes(at: i, count: count) + g, at: i, count: count)
        }
      }
    }
    switch f {
    case .tanh: apply { 1 - $0 * $0 }
    case .relu: apply { Lanes(repeating: 1).replacing(with: 0, where: $0 .<= 0) }
    case nil: apply { _ in Lanes(repeating: 1) }
    }
  }
}

/// out = (x − mean x) / √(mean (x − mean x)² + ε) · weight + bias [+ other], row by row (`normalize`, on all threads).
package func layerNorm(
  _ x: Strip, epsilon: Float, weight: Strip, bias: Strip, plus other: Strip? = nil, into out: Strip
) {
  Threads.forEachRange(x.rows, grain: 64) { range in
    normalize(x.rows(range), .layer, epsilon: epsilon, weight: weight, bias: bias, into: out.rows(range))
    if let other { add(other.rows(range), to: out.rows(range)) }
  }
}

/// Back through `layerNorm`: `gradient` from dLoss/dOut to dLoss/dx, with x̂ the normalised row and g = dOut · weight
///
///     dx = (g − mean g − x̂ · mean(g · x̂)) / √(variance + ε)
///
/// Σ over rows of dOut · x̂ and of dOut go to the gradients of weight and bias, [1, m] each.
package func passBackThroughLayerNorm(
  _ gradient: Strip, x: Strip, epsilon: Float, weight: Strip, dWeight: Strip, dBias: Strip,
  accumulating: Bool = false
) {
  let (rows, m) = (x.rows, x.columns)
  precondition(
    gradient.rows == rows && gradient.columns == m && weight.columns == m,
    "[\(gradient.rows), \(gradient.columns)] and \(weight.columns) weights for [\(rows), \(m)]")
  let w = weight.base
  setPieces(of: rows, to: [dWeight, dBias], accumulating) { range, sums in
    let (dWeight, dBias) = (sums, sums + m)
    let perColumn = 1 / Float(m)
    for row in range {
      let (g, a) = (gradient.row(row), x.row(row))
      let (mean, inverse) = centerAndScale(a, m, .layer, epsilon)
      var (total, along) = (Lanes.zero, Lanes.zero)
      forEachLanes(m) { i, count in
        let normalized = (a.lanes(at: i, count: count) - mean) * inverse
        let dOut = g.lanes(at: i, count: count)
        dWeight.store(dWeight.lanes(at: i, count: count) + dOut * normalized, at: i, count: count)
        dBias.store(dBias.lanes(at: i, count: count) + dOut, at: i, count: count)
        let weighted = dOut * w.lanes(at: i, count: count)
        total += weighted
        along += weighted * normalized
      }
      let (meanTotal, meanAlong) = (total.total * perColumn, along.total * perColumn)
      forEachLanes(m) { i, count in
        let normalized = (a.lanes(at: i, count: count) - mean) * inverse
        let weighted = g.lanes(at: i, count: count) * w.lanes(at: i, count: count)
        g.store(inverse * (weighted - meanTotal - normalized * meanAlong), at: i, count: count)
      }
    }
  }
}

/// residual ← scale · (residual − x), for a reconstruction in it. Returns Σ (residual − x)².
package func subtract(_ x: Strip, from residual: Strip, scale: Float) -> Double {
  let d = x.columns
  precondition(
    residual.rows == x.rows && residual.columns == d, "[\(x.rows), \(d)] from [\(residual.rows), \(residual.columns)]")
  return reduce(x.rows, grain: 64) { range in
    range.reduce(0.0) { sum, row in
      let (p, q) = (residual.row(row), x.row(row))
      var squares = Lanes.zero
      forEachLanes(d) { i, count in
        let e = p.lanes(at: i, count: count) - q.lanes(at: i, count: count)
        squares += e * e
        p.store(scale * e, at: i, count: count)
      }
      return sum + Double(squares.total)
    }
  }
}

/// Each of `totals` [1, m] (+)= a sum over rows: `body` adds those of a piece of 256 rows to zeros, which lie one after the
/// other, and the pieces are added in order.
private func setPieces(
  of rows: Int, to totals: [Strip], _ accumulating: Bool,
  _ body: (_ rows: Range<Int>, _ sums: UnsafeMutablePointer<Float>) -> Void
) {
  let grain = 256
  let m = totals[0].columns
  let parts = Matrix((rows + grain - 1) / grain, totals.count * m)
  let strip = parts.strip
  Threads.forEachRange(rows, grain: grain) { body($0, strip.row($0.lowerBound / grain)) }
  for (i, total) in totals.enumerated() {
    if !accumulating { total.fill(0) }
    for piece in 0..<parts.rows {
      accumulate(parts.base + (piece * totals.count + i) * m, times: 1, into: total.base, count: m)
    }
  }
}

/// Calls `body` for every 16 of `n` elements, and for the rest.
@inline(__always) private func forEachLanes(_ n: Int, _ body: (_ start: Int, _ count: Int) -> Void) {
  var i = 0
  while i + 16 <= n {
    body(i, 16)
    i += 16
  }
  if i < n { body(i, n - i) }
}

extension UnsafeMutablePointer<Float> {
  /// `count` elements, then zeros.
  @inline(__always) fileprivate func lanes(at offset: Int, count: Int) -> Lanes {
    if count == 16 { return lanes(at: offset) }
    var lanes = Lanes.zero
    for i in 0..<count { lanes[i] = self[offset + i] }
    return lanes
  }

  @inline(__always) fileprivate func store(_ lanes: Lanes, at offset: Int, count: Int) {
    if count == 16 { return store(lanes, at: offset) }
    for i in 0..<count { self[offset + i] = lanes[i] }
  }
}
