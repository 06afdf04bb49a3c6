// Kernels of dense hidden layers, [B, m]. Rows are shared among threads in pieces of 64; sums over rows go over pieces of 256,
// then over the pieces in order.

/// The nonlinearity of a trained hidden layer: its slope follows from its result.
package enum HiddenActivation: String, Codable, Sendable, CaseIterable {
  case tanh, relu

  @inline(__always) fileprivate func value(_ x: Lanes) -> Lanes {
    switch self {
    case .tanh: LinearAlgebra.tanh(x)
    case .relu: x.replacing(with: 0, where: x .<= 0)
    }
  }

  @inline(__always) fileprivate func slope(_ y: Lanes) -> Lanes {
    switch self {
    case .tanh: 1 - y * y
    case .relu: Lanes(repeating: 1).replacing(with: 0, where: y .<= 0)
    }
  }
}

/// x ← f(x + bias), in place; bias is [1, m].
package func activate(_ x: inout Matrix, _ f: HiddenActivation, bias: borrowing Matrix) {
  let m = x.columns
  precondition(bias.count == m, "\(bias.count) biases for \(m) columns")
  let (xs, b) = (x.base, bias.base)
  Threads.forEachRange(x.rows, grain: 64) { range in
    for row in range {
      let p = xs + row * m
      forEachLanes(m) { i, count in
        let y = f.value(p.lanes(at: i, count: count) + b.lanes(at: i, count: count))
        p.store(y, at: i, count: count)
      }
    }
  }
}

/// gradient ← gradient · f′, from dLoss/dy to dLoss/dPre, where y = f(pre) is given.
package func passBack(_ gradient: inout Matrix, through f: HiddenActivation, result y: borrowing Matrix) {
  let m = y.columns
  precondition(
    gradient.rows == y.rows && gradient.columns == m, "[\(gradient.rows), \(gradient.columns)] for [\(y.rows), \(m)]")
  let (g, ys) = (gradient.base, y.base)
  Threads.forEachRange(y.rows, grain: 64) { range in
    for row in range {
      let (p, q) = (g + row * m, ys + row * m)
      forEachLanes(m) { i, count in
        p.store(p.lanes(at: i, count: count) * f.slope(q.lanes(at: i, count: count)), at: i, count: count)
      }
    }
  }
}

/// out = (x − mean x) / √(mean (x − mean x)² + ε) · weight + bias, row by row (`normalize`, on all threads).
package func layerNorm(
  _ x: borrowing Matrix, epsilon: Float, weight: borrowing Matrix, bias: borrowing Matrix, into out: inout Matrix
) {
  let (xs, outs, w, b) = (x.strip, out.strip, weight.strip, bias.strip)
  Threads.forEachRange(x.rows, grain: 64) { range in
    normalize(xs.rows(range), .layer, epsilon: epsilon, weight: w, bias: b, into: outs.rows(range))
  }
}

/// Back through `layerNorm`: `gradient` from dLoss/dOut to dLoss/dx, with x̂ the normalised row and g = dOut · weight
///
///     dx = (g − mean g − x̂ · mean(g · x̂)) / √(variance + ε)
///
/// Adds Σ over rows of dOut · x̂ and of dOut to the gradients of weight and bias, [1, m] each.
package func passBackThroughLayerNorm(
  _ gradient: inout Matrix, x: borrowing Matrix, epsilon: Float, weight: borrowing Matrix,
  addingTo dWeight: inout Matrix, _ dBias: inout Matrix
) {
  let (rows, m) = (x.rows, x.columns)
  precondition(
    gradient.rows == rows && gradient.columns == m && weight.count == m,
    "[\(gradient.rows), \(gradient.columns)] and \(weight.count) weights for [\(rows), \(m)]")
  let grain = 256
  let nPieces = (rows + grain - 1) / grain
  let weightParts = Matrix(nPieces, m)
  let biasParts = Matrix(nPieces, m)
  let (gs, xs, w, toWeight, toBias) = (gradient.base, x.base, weight.base, weightParts.base, biasParts.base)
  Threads.forEachRange(rows, grain: grain) { range in
    let (dWeight, dBias) = (toWeight + range.lowerBound / grain * m, toBias + range.lowerBound / grain * m)
    let perColumn = 1 / Float(m)
    for row in range {
      let (g, a) = (gs + row * m, xs + row * m)
      var sum = Lanes.zero
      forEachLanes(m) { i, count in sum += a.lanes(at: i, count: count) }
      let mean = sum.total * perColumn
      var squares = Lanes.zero
      forEachLanes(m) { i, count in
        let e = a.lanes(at: i, count: count) - mean
        squares += (e * e).keeping(first: count)
      }
      let inverse = 1 / (squares.total * perColumn + epsilon).squareRoot()
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
  addRows(weightParts, to: &dWeight)
  addRows(biasParts, to: &dBias)
}

/// Which factor of a code's entries a sum over its uses takes.
package enum EntryFactor: Sendable {
  case value, gradient
}

/// out[j] (+)= Σ over the tokens b that use latent j of factor · x[b]: one side of `weightGradients`, for layers whose two
/// sides differ in width. Tokens are added in ascending order.
///
/// - Parameters:
///   - x: [B, d].
///   - out: [n, d]; rows without uses become 0, or stay if `accumulating`.
package func useSums(
  _ code: SparseCode, _ index: LatentIndex, of factor: EntryFactor, times x: borrowing Matrix, into out: inout Matrix,
  accumulating: Bool = false
) {
  let d = x.columns
  precondition(
    out.rows == code.nLatents && out.columns == d && code.rows == x.rows,
    "[\(out.rows), \(out.columns)] from \(code.nLatents) latents and [\(x.rows), \(d)]")
  let (xs, outs) = (x.base, out.base)
  let factors = factor == .value ? code.values : code.gradients
  if code.isDense {
    return forEachDenseSums(code, factors, of: x.strip) { range, sums in
      for j in range {
        let row = outs + j * d
        if accumulating {
          accumulate(sums.row(j - range.lowerBound), times: 1, into: row, count: d)
        } else {
          row.update(from: sums.row(j - range.lowerBound), count: d)
        }
      }
    }
  }
  Threads.forEachRange(code.nLatents, grain: 32) { range in
    for j in range {
      let row = outs + j * d
      if !accumulating { row.update(repeating: 0, count: d) }
      accumulate(Int(index.starts[j])..<Int(index.starts[j + 1]), into: row, count: d) {
        (factors[Int(index.entries[$0])], xs + Int(index.tokens[$0]) * d)
      }
    }
  }
}

/// Σ of the uses' gradients per latent: that of the encoder's bias, [1, n].
package func addGradientSums(_ code: SparseCode, _ index: LatentIndex, into out: inout Matrix, accumulating: Bool) {
  precondition(out.count == code.nLatents, "\(out.count) sums for \(code.nLatents) latents")
  if code.isDense {
    let sums = code.sumsByLatent(of: code.gradients)
    if accumulating { out.add(sums) } else { out = sums }
    return
  }
  for j in 0..<code.nLatents {
    var sum: Float = 0
    for use in Int(index.starts[j])..<Int(index.starts[j + 1]) { sum += code.gradients[Int(index.entries[use])] }
    out.base[j] = accumulating ? out.base[j] + sum : sum
  }
}

/// out = Σ over a token's entries of gradient · weights[latent]: dLoss/dx of a sparse encoder, for weights [n, d].
package func inputGradients(_ code: SparseCode, _ weights: borrowing Matrix, into out: Strip) {
  let d = weights.columns
  precondition(
    weights.rows == code.nLatents && out.rows == code.rows && out.columns == d,
    "weights [\(weights.rows), \(d)], \(code.rows) rows into [\(out.rows), \(out.columns)]")
  if code.isDense {
    out.fill(0)
    return addDenseProducts(code, code.gradients, weights.strip, to: out)
  }
  let w = weights.base
  Threads.forEachRange(code.rows, grain: 64) { range in
    for b in range {
      let row = out.row(b)
      row.update(repeating: 0, count: d)
      accumulate(Int(code.starts[b])..<Int(code.starts[b] + code.counts[b]), into: row, count: d) {
        (code.gradients[$0], w + Int(code.latents[$0]) * d)
      }
    }
  }
}

private func addRows(_ parts: borrowing Matrix, to total: inout Matrix) {
  precondition(total.count == parts.columns, "\(parts.columns) columns to \(total.count)")
  for piece in 0..<parts.rows {
    accumulate(parts.base + piece * parts.columns, times: 1, into: total.base, count: parts.columns)
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

extension SIMD16<Float> {
  @inline(__always) fileprivate func keeping(first count: Int) -> Lanes {
    if count == 16 { return self }
    var kept = Lanes.zero
    for i in 0..<count { kept[i] = self[i] }
    return kept
  }
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
