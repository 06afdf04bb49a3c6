// T positions, D dHead, H query heads; keys and values in tiles of 32, transposed: [tile, D, 32].

extension AttentionShape {
  /// Floats of scratch that `causalAttentionBackward` needs for sequences of up to `nPositions`.
  package func backwardScratchCount(nPositions: Int) -> Int {
    let padded = (nPositions + 31) & ~31
    return 4 * padded * dHead + (4 + 4 + 64) * dHead
  }
}

/// The gradient of `causalAttention` with respect to queries, keys and values of one sequence.
///
/// With p the weights of a query, made again from its statistics, and δ = dz·z:
///
///     dv_j += p_j·dz;   ds_j = p_j·(dz·v_j − δ);   dq += scale·ds_j·k_j;   dk_j += scale·ds_j·q
///
/// (Dao et al. 2022, FlashAttention, algorithm 4). Four queries go over the tiles of 32 keys that they see, and
/// everything between scores and gradients stays in registers; dk and dv of a tile lie beside its keys.
///
/// - Parameters:
///   - qkv: [T, H·D | nKVHeads·D | nKVHeads·D], as it went into the attention.
///   - statistics: [T, 2·H] and
///   - z: [T, H·D], as the attention left them.
///   - dZ: [T, H·D], gradient of z.
///   - scratch: one row of at least `shape.backwardScratchCount(nPositions: T)` floats, overwritten.
///   - dQKV: of qkv's shape, overwritten.
package func causalAttentionBackward(
  _ qkv: Strip, _ shape: AttentionShape, statistics: Strip, z: Strip, dZ: Strip, scratch: Strip, into dQKV: Strip
) {
  let (t, d) = (qkv.rows, shape.dHead)
  precondition(
    qkv.columns == shape.qkvWidth && dQKV.rows == t && dQKV.columns == shape.qkvWidth,
    "[\(t), \(qkv.columns)] and [\(dQKV.rows), \(dQKV.columns)], \(shape.qkvWidth) columns expected")
  precondition(
    z.rows == t && z.columns == shape.nHeads * d && dZ.rows == t && dZ.columns == shape.nHeads * d,
    "[\(z.rows), \(z.columns)] and [\(dZ.rows), \(dZ.columns)], [\(t), \(shape.nHeads * d)] expected")
  precondition(statistics.rows == t && statistics.columns == 2 * shape.nHeads, "statistics of another shape")
  precondition(scratch.rows * scratch.columns >= shape.backwardScratchCount(nPositions: t), "too little scratch")
  if t == 0 || d == 0 { return }
  let size = ((t + 31) & ~31) * d
  let (keys, values) = (scratch.base, scratch.base + size)
  let (dKeys, dValues) = (values + size, values + 2 * size)
  let queries = dValues + size
  let dOut = queries + 4 * d
  let dQueries = dOut + 4 * d
  let group = shape.nHeads / shape.nKVHeads
  for kv in 0..<shape.nKVHeads {
    let k = (shape.nHeads + kv) * d
    let v = (shape.nHeads + shape.nKVHeads + kv) * d
    toTiles(qkv.columns(k..<k + d), into: keys)
    toTiles(qkv.columns(v..<v + d), into: values)
    dKeys.update(repeating: 0, count: 2 * size)
    for head in kv * group..<(kv + 1) * group {
      var q0 = 0
      while q0 < t {
        let n = min(4, t - q0)
        var (maxima, deltas) = (SIMD4<Float>.zero, SIMD4<Float>.zero)
        for r in 0..<4 {
          if r >= n {
            // Scores 0 and gradients 0 leave no trace.
            for c in 0..<d { (queries[4 * c + r], dOut[4 * c + r]) = (0, 0) }
            continue
          }
          let row = statistics.row(q0 + r) + head
          let inverse = row[shape.nHeads]
          maxima[r] = row[0]
          let q = qkv.row(q0 + r) + head * d
          let (out, dout) = (z.row(q0 + r) + head * d, dZ.row(q0 + r) + head * d)
          var delta: Float = 0
          for c in 0..<d {
            // 1 / sum goes into dz, which every weight is multiplied with.
            let g = dout[c] * inverse
            queries[4 * c + r] = q[c] * shape.log2Scale
            dOut[4 * c + r] = g
            delta += g * out[c]
          }
          deltas[r] = delta
        }
        dQueries.update(repeating: 0, count: 64 * d)
        let first = shape.window.map { max(0, q0 - $0 + 1) & ~31 } ?? 0
        let windowStart = shape.window.map { q0 + 3 - $0 + 1 } ?? Int.min
        for tile in stride(from: first, to: q0 + n, by: 32) {
          let isEdge = tile + 31 > q0 || tile < windowStart
          backwardTile(
            queries, dOut, keys + tile * d, values + tile * d, maxima, deltas,
            mask: isEdge ? (tile, q0, shape.window) : nil, d: d, dQueries, dKeys + tile * d, dValues + tile * d)
        }
        for r in 0..<n {
          let out = dQKV.row(q0 + r) + head * d
          for c in 0..<d { out[c] = dQueries.lanes(at: (4 * c + r) * 16).total * shape.scale }
        }
        q0 += 4
      }
    }
    // dk = scale·Σ ds·q, and the queries have the factor scale·log₂ e.
    fromTiles(dKeys, times: 0.693_147_181, into: dQKV.columns(k..<k + d))
    fromTiles(dValues, times: 1, into: dQKV.columns(v..<v + d))
  }
}

/// [T, D] as [tile, D, 32], filled up with zeros.
private func toTiles(_ x: Strip, into tiles: UnsafeMutablePointer<Float>) {
  let d = x.columns
  for tile in stride(from: 0, to: x.rows, by: 32) {
    let n = min(32, x.rows - tile)
    for c in 0..<d {
      let out = tiles + tile * d + 32 * c
      for i in 0..<n { out[i] = x.row(tile + i)[c] }
      for i in n..<32 { out[i] = 0 }
    }
  }
}

private func fromTiles(_ tiles: UnsafeMutablePointer<Float>, times factor: Float, into x: Strip) {
  let d = x.columns
  for i in 0..<x.rows {
    let (row, column) = (x.row(i), tiles + (i & ~31) * d + (i & 31))
    for c in 0..<d { row[c] = column[32 * c] * factor }
  }
}

private let ramp = Lanes(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)

/// Four queries against 32 keys.
@inline(__always)
private func backwardTile(
  _ q: UnsafeMutablePointer<Float>, _ dOut: UnsafeMutablePointer<Float>, _ keys: UnsafeMutablePointer<Float>,
  _ values: UnsafeMutablePointer<Float>, _ maxima: SIMD4<Float>, _ deltas: SIMD4<Float>,
  mask: (tile: Int, query: Int, window: Int?)?, d: Int, _ dQ: UnsafeMutablePointer<Float>,
  _ dKeys: UnsafeMutablePointer<Float>, _ dValues: UnsafeMutablePointer<Float>
) {
  // Scores s and dz·v of keys 0..<16 (a) and 16..<32 (b); the order of the sums is causalAttention's.
  var (a0, a1, a2, a3) = (Lanes.zero, Lanes.zero, Lanes.zero, Lanes.zero)
  var (b0, b1, b2, b3) = (Lanes.zero, Lanes.zero, Lanes.zero, Lanes.zero)
  var (g0, g1, g2, g3) = (Lanes.zero, Lanes.zero, Lanes.zero, Lanes.zero)
  var (h0, h1, h2, h3) = (Lanes.zero, Lanes.zero, Lanes.zero, Lanes.zero)
  for c in 0..<d {
    let (x, y) = (keys.lanes(at: 32 * c), keys.lanes(at: 32 * c + 16))
    let (u, v) = (values.lanes(at: 32 * c), values.lanes(at: 32 * c + 16))
    let (row, dRow) = (q + 4 * c, dOut + 4 * c)
    a0.addProduct(x, Lanes(repeating: row[0]))
    a1.addProduct(x, Lanes(repeating: row[1]))
    a2.addProduct(x, Lanes(repeating: row[2]))
    a3.addProduct(x, Lanes(repeating: row[3]))
    b0.addProduct(y, Lanes(repeating: row[0]))
    b1.addProduct(y, Lanes(repeating: row[1]))
    b2.addProduct(y, Lanes(repeating: row[2]))
    b3.addProduct(y, Lanes(repeating: row[3]))
    g0.addProduct(u, Lanes(repeating: dRow[0]))
    g1.addProduct(u, Lanes(repeating: dRow[1]))
    g2.addProduct(u, Lanes(repeating: dRow[2]))
    g3.addProduct(u, Lanes(repeating: dRow[3]))
    h0.addProduct(v, Lanes(repeating: dRow[0]))
    h1.addProduct(v, Lanes(repeating: dRow[1]))
    h2.addProduct(v, Lanes(repeating: dRow[2]))
    h3.addProduct(v, Lanes(repeating: dRow[3]))
  }
  // Weights, without 1 / sum.
  a0 = exp2OfNonPositive(a0 - maxima[0])
  a1 = exp2OfNonPositive(a1 - maxima[1])
  a2 = exp2OfNonPositive(a2 - maxima[2])
  a3 = exp2OfNonPositive(a3 - maxima[3])
  b0 = exp2OfNonPositive(b0 - maxima[0])
  b1 = exp2OfNonPositive(b1 - maxima[1])
  b2 = exp2OfNonPositive(b2 - maxima[2])
  b3 = exp2OfNonPositive(b3 - maxima[3])
  if let mask {
    let x = ramp + Float(mask.tile)
    let y = x + 16
    let last = Float(mask.query)
    a0.replace(with: 0, where: x .> last)
    a1.replace(with: 0, where: x .> last + 1)
    a2.replace(with: 0, where: x .> last + 2)
    a3.replace(with: 0, where: x .> last + 3)
    b0.replace(with: 0, where: y .> last)
    b1.replace(with: 0, where: y .> last + 1)
    b2.replace(with: 0, where: y .> last + 2)
    b3.replace(with: 0, where: y .> last + 3)
    if let window = mask.window {
      let gone = last - Float(window)
      a0.replace(with: 0, where: x .<= gone)
      a1.replace(with: 0, where: x .<= gone + 1)
      a2.replace(with: 0, where: x .<= gone + 2)
      a3.replace(with: 0, where: x .<= gone + 3)
      b0.replace(with: 0, where: y .<= gone)
      b1.replace(with: 0, where: y .<= gone + 1)
      b2.replace(with: 0, where: y .<= gone + 2)
      b3.replace(with: 0, where: y .<= gone + 3)
    }
  }
  // Gradients of the scores.
  g0 = a0 * (g0 - deltas[0])
  g1 = a1 * (g1 - deltas[1])
  g2 = a2 * (g2 - deltas[2])
  g3 = a3 * (g3 - deltas[3])
  h0 = b0 * (h0 - deltas[0])
  h1 = b1 * (h1 - deltas[1])
  h2 = b2 * (h2 - deltas[2])
  h3 = b3 * (h3 - deltas[3])
  for c in 0..<d {
    let (x, y) = (keys.lanes(at: 32 * c), keys.lanes(at: 32 * c + 16))
    let dq = dQ + 64 * c
    dq.store(dq.lanes(at: 0).addingProduct(x, g0).addingProduct(y, h0), at: 0)
    dq.store(dq.lanes(at: 16).addingProduct(x, g1).addingProduct(y, h1), at: 16)
    dq.store(dq.lanes(at: 32).addingProduct(x, g2).addingProduct(y, h2), at: 32)
    dq.store(dq.lanes(at: 48).addingProduct(x, g3).addingProduct(y, h3), at: 48)
    let (row, dRow) = (q + 4 * c, dOut + 4 * c)
    let (q0, q1) = (Lanes(repeating: row[0]), Lanes(repeating: row[1]))
    let (q2, q3) = (Lanes(repeating: row[2]), Lanes(repeating: row[3]))
    var (x0, x1) = (dKeys.lanes(at: 32 * c), dKeys.lanes(at: 32 * c + 16))
    x0 = x0.addingProduct(g0, q0).addingProduct(g1, q1).addingProduct(g2, q2).addingProduct(g3, q3)
    x1 = x1.addingProduct(h0, q0).addingProduct(h1, q1).addingProduct(h2, q2).addingProduct(h3, q3)
    dKeys.store(x0, at: 32 * c)
    dKeys.store(x1, at: 32 * c + 16)
    let (d0, d1) = (Lanes(repeating: dRow[0]), Lanes(repeating: dRow[1]))
    let (d2, d3) = (Lanes(repeating: dRow[2]), Lanes(repeating: dRow[3]))
    var (y0, y1) = (dValues.lanes(at: 32 * c), dValues.lanes(at: 32 * c + 16))
    y0 = y0.addingProduct(a0, d0).addingProduct(a1, d1).addingProduct(a2, d2).addingProduct(a3, d3)
    y1 = y1.addingProduct(b0, d0).addingProduct(b1, d1).addingProduct(b2, d2).addingProduct(b3, d3)
    dValues.store(y0, at: 32 * c)
    dValues.store(y1, at: 32 * c + 16)
  }
}
