// T positions, D dHead, H query heads. Scores are kept in units of log 2, so that softmax needs 2ˣ alone.

/// The heads of one attention layer and what they may look at.
package struct AttentionShape: Sendable, Equatable {
  package var nHeads: Int
  /// Divides `nHeads`: query head h reads key/value head h / (nHeads / nKVHeads).
  package var nKVHeads: Int
  package var dHead: Int
  /// Factor of q·k before the softmax.
  package var scale: Float
  /// A query sees itself and the `window - 1` positions before it; nil: all before it.
  package var window: Int?

  package init(nHeads: Int, nKVHeads: Int, dHead: Int, scale: Float, window: Int? = nil) {
    precondition(nHeads > 0 && nKVHeads > 0 && nHeads % nKVHeads == 0, "\(nHeads) heads on \(nKVHeads) key/value heads")
    (self.nHeads, self.nKVHeads, self.dHead, self.scale, self.window) = (nHeads, nKVHeads, dHead, scale, window)
  }

  /// Columns of q | k | v side by side.
  package var qkvWidth: Int { (nHeads + 2 * nKVHeads) * dHead }

  /// Factor of q·k that gives scores in units of log 2: scale·log₂ e.
  var log2Scale: Float { scale * 1.442_695_04 }

  /// Floats of scratch that `causalAttention` needs for sequences of up to `nPositions`.
  package func scratchCount(nPositions: Int) -> Int {
    let padded = (nPositions + 31) & ~31
    return padded * (2 * dHead + 4) + 4 * dHead
  }
}

/// Causal attention of one sequence: z = softmax(scale·q·kᵀ, masked)·v for every head.
///
/// Four queries at a time against 32 keys held as columns (K transposed), tiles beyond the diagonal or the window
/// never touched; the score rows of the four queries stay in the L1 cache. For heads of whole vectors P·V runs
/// over rows of V, for others over the transposed V with one horizontal sum per result.
///
/// - Parameters:
///   - qkv: [T, H·D | nKVHeads·D | nKVHeads·D], rotated already where the model does so.
///   - scratch: one row of at least `shape.scratchCount(nPositions: T)` floats, overwritten.
///   - z: [T, H·D], overwritten.
///   - statistics: [T, 2·H], overwritten if given: each head's largest score in units of log 2, then each head's
///     1 / Σ 2^(score − largest). `causalAttentionBackward` makes the softmax again from them.
package func causalAttention(
  _ qkv: Strip, _ shape: AttentionShape, scratch: Strip, into z: Strip, statistics: Strip? = nil
) {
  let (t, d) = (qkv.rows, shape.dHead)
  precondition(qkv.columns == shape.qkvWidth, "\(qkv.columns) columns, \(shape.qkvWidth) expected")
  precondition(
    z.rows == t && z.columns == shape.nHeads * d, "[\(t), \(shape.nHeads * d)] into [\(z.rows), \(z.columns)]")
  precondition(scratch.rows * scratch.columns >= shape.scratchCount(nPositions: t), "too little scratch")
  precondition(
    statistics.map { $0.rows == t && $0.columns == 2 * shape.nHeads } ?? true, "statistics of another shape")
  if t == 0 || d == 0 { return }
  let padded = (t + 31) & ~31
  let keys = scratch.base
  let values = keys + d * padded
  let scores = values + d * padded
  let queries = scores + 4 * padded
  let isWhole = d % 16 == 0
  let group = shape.nHeads / shape.nKVHeads
  let factor = shape.log2Scale
  for kv in 0..<shape.nKVHeads {
    let k = qkv.base + (shape.nHeads + kv) * d
    let v = qkv.base + (shape.nHeads + shape.nKVHeads + kv) * d
    transpose(k, rows: t, columns: d, stride: qkv.stride, into: keys, stride: padded)
    if isWhole {
      for i in 0..<t { (values + i * d).update(from: v + i * qkv.stride, count: d) }
    } else {
      transpose(v, rows: t, columns: d, stride: qkv.stride, into: values, stride: padded)
    }
    for head in kv * group..<(kv + 1) * group {
      var q0 = 0
      while q0 < t {
        let n = min(4, t - q0)
        for r in 0..<4 {
          let q = qkv.base + (q0 + min(r, n - 1)) * qkv.stride + head * d
          for i in 0..<d { queries[4 * i + r] = q[i] * factor }
        }
        let first = shape.window.map { max(0, q0 - $0 + 1) & ~31 } ?? 0
        let end = q0 + n
        let maxima = scoreFourQueries(
          queries, keys, d, padded, keys: first..<end, query: q0, window: shape.window, into: scores)
        let sums = softmaxFourRows(scores, padded, first..<end, maxima)
        if let statistics {
          let inverse = 1 / sums
          for r in 0..<n {
            let row = statistics.row(q0 + r) + head
            (row[0], row[shape.nHeads]) = (maxima[r], inverse[r])
          }
        }
        let out = z.row(q0) + head * d
        if isWhole {
          weighRows(scores, padded, values, d, first..<end, sums, into: out, stride: z.stride, n: n)
        } else {
          weighColumns(scores, padded, values, d, first..<end, sums, into: out, stride: z.stride, n: n)
        }
        q0 += 4
      }
    }
  }
}

/// out[j, i] = x[i, j], the rows of `out` filled up to a multiple of 32 with zeros.
private func transpose(
  _ x: UnsafeMutablePointer<Float>, rows: Int, columns: Int, stride: Int, into out: UnsafeMutablePointer<Float>,
  stride outStride: Int
) {
  for j in 0..<columns {
    let row = out + j * outStride
    for i in 0..<rows { row[i] = x[i * stride + j] }
    for i in rows..<outStride { row[i] = 0 }
  }
}

private let ramp = Lanes(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)

/// Scores of queries query..<query + 4 against tiles of 32 keys; masked ones are −∞. Returns the row maxima.
@inline(__always)
private func scoreFourQueries(
  _ q: UnsafeMutablePointer<Float>, _ k: UnsafeMutablePointer<Float>, _ d: Int, _ padded: Int, keys: Range<Int>,
  query: Int, window: Int?, into scores: UnsafeMutablePointer<Float>
) -> SIMD4<Float> {
  let ramp = ramp
  let lowest = Lanes(repeating: -.infinity)
  var (m0, m1, m2, m3) = (lowest, lowest, lowest, lowest)
  // The last query's window is the first to leave keys behind.
  let windowStart = window.map { query + 3 - $0 + 1 } ?? Int.min
  for tile in stride(from: keys.lowerBound, to: keys.upperBound, by: 32) {
    var (a0, a1, a2, a3) = (Lanes.zero, Lanes.zero, Lanes.zero, Lanes.zero)
    var (b0, b1, b2, b3) = (Lanes.zero, Lanes.zero, Lanes.zero, Lanes.zero)
    var column = k + tile
    var row = q
    for _ in 0..<d {
      let (x, y) = (column.lanes(at: 0), column.lanes(at: 16))
      let (q0, q1) = (Lanes(repeating: row[0]), Lanes(repeating: row[1]))
      let (q2, q3) = (Lanes(repeating: row[2]), Lanes(repeating: row[3]))
      a0.addProduct(x, q0)
      a1.addProduct(x, q1)
      a2.addProduct(x, q2)
      a3.addProduct(x, q3)
      b0.addProduct(y, q0)
      b1.addProduct(y, q1)
      b2.addProduct(y, q2)
      b3.addProduct(y, q3)
      column += padded
      row += 4
    }
    if tile + 31 > query || tile < windowStart {
      let x = ramp + Float(tile)
      let y = x + 16
      let last = Float(query)
      // Positions stay below 2²⁴, so they are exact in f32.
      a0.replace(with: lowest, where: x .> last)
      a1.replace(with: lowest, where: x .> last + 1)
      a2.replace(with: lowest, where: x .> last + 2)
      a3.replace(with: lowest, where: x .> last + 3)
      b0.replace(with: lowest, where: y .> last)
      b1.replace(with: lowest, where: y .> last + 1)
      b2.replace(with: lowest, where: y .> last + 2)
      b3.replace(with: lowest, where: y .> last + 3)
      if let window {
        let gone = last - Float(window)
        a0.replace(with: lowest, where: x .<= gone)
        a1.replace(with: lowest, where: x .<= gone + 1)
        a2.replace(with: lowest, where: x .<= gone + 2)
        a3.replace(with: lowest, where: x .<= gone + 3)
        b0.replace(with: lowest, where: y .<= gone)
        b1.replace(with: lowest, where: y .<= gone + 1)
        b2.replace(with: lowest, where: y .<= gone + 2)
        b3.replace(with: lowest, where: y .<= gone + 3)
      }
    }
    let s = scores + tile
    s.store(a0, at: 0)
    s.store(b0, at: 16)
    s.store(a1, at: padded)
    s.store(b1, at: padded + 16)
    s.store(a2, at: 2 * padded)
    s.store(b2, at: 2 * padded + 16)
    s.store(a3, at: 3 * padded)
    s.store(b3, at: 3 * padded + 16)
    m0 = larger(m0, larger(a0, b0))
    m1 = larger(m1, larger(a1, b1))
    m2 = larger(m2, larger(a2, b2))
    m3 = larger(m3, larger(a3, b3))
  }
  return SIMD4(m0.max(), m1.max(), m2.max(), m3.max())
}

/// scores ← 2^(scores − maximum), row by row; returns the row sums.
@inline(__always)
private func softmaxFourRows(
  _ scores: UnsafeMutablePointer<Float>, _ padded: Int, _ keys: Range<Int>, _ maxima: SIMD4<Float>
) -> SIMD4<Float> {
  var (s0, s1, s2, s3) = (Lanes.zero, Lanes.zero, Lanes.zero, Lanes.zero)
  let (m0, m1) = (Lanes(repeating: maxima[0]), Lanes(repeating: maxima[1]))
  let (m2, m3) = (Lanes(repeating: maxima[2]), Lanes(repeating: maxima[3]))
  for tile in stride(from: keys.lowerBound, to: keys.upperBound, by: 16) {
    let s = scores + tile
    let p0 = exp2OfNonPositive(s.lanes(at: 0) - m0)
    let p1 = exp2OfNonPositive(s.lanes(at: padded) - m1)
    let p2 = exp2OfNonPositive(s.lanes(at: 2 * padded) - m2)
    let p3 = exp2OfNonPositive(s.lanes(at: 3 * padded) - m3)
    s.store(p0, at: 0)
    s.store(p1, at: padded)
    s.store(p2, at: 2 * padded)
    s.store(p3, at: 3 * padded)
    s0 += p0
    s1 += p1
    s2 += p2
    s3 += p3
  }
  return SIMD4(s0.total, s1.total, s2.total, s3.total)
}

/// z = P·V / sum with V as rows of whole vectors, 64 columns at a time.
@inline(__always)
private func weighRows(
  _ p: UnsafeMutablePointer<Float>, _ padded: Int, _ values: UnsafeMutablePointer<Float>, _ d: Int,
  _ keys: Range<Int>, _ sums: SIMD4<Float>, into out: UnsafeMutablePointer<Float>, stride: Int, n: Int
) {
  let inverse = 1 / sums
  var c = 0
  while c + 32 <= d {
    var (a0, a1, a2, a3) = (Lanes.zero, Lanes.zero, Lanes.zero, Lanes.zero)
    var (b0, b1, b2, b3) = (Lanes.zero, Lanes.zero, Lanes.zero, Lanes.zero)
    var row = values + keys.lowerBound * d + c
    for j in keys {
      let (x, y) = (row.lanes(at: 0), row.lanes(at: 16))
      let (p0, p1) = (Lanes(repeating: p[j]), Lanes(repeating: p[padded + j]))
      let (p2, p3) = (Lanes(repeating: p[2 * padded + j]), Lanes(repeating: p[3 * padded + j]))
      a0.addProduct(x, p0)
      a1.addProduct(x, p1)
      a2.addProduct(x, p2)
      a3.addProduct(x, p3)
      b0.addProduct(y, p0)
      b1.addProduct(y, p1)
      b2.addProduct(y, p2)
      b3.addProduct(y, p3)
      row += d
    }
    let o = out + c
    o.store(a0 * inverse[0], at: 0)
    o.store(b0 * inverse[0], at: 16)
    if n > 1 {
      o.store(a1 * inverse[1], at: stride)
      o.store(b1 * inverse[1], at: stride + 16)
    }
    if n > 2 {
      o.store(a2 * inverse[2], at: 2 * stride)
      o.store(b2 * inverse[2], at: 2 * stride + 16)
    }
    if n > 3 {
      o.store(a3 * inverse[3], at: 3 * stride)
      o.store(b3 * inverse[3], at: 3 * stride + 16)
    }
    c += 32
  }
  if c < d {
    var (a0, a1, a2, a3) = (Lanes.zero, Lanes.zero, Lanes.zero, Lanes.zero)
    var row = values + keys.lowerBound * d + c
    for j in keys {
      let x = row.lanes(at: 0)
      a0.addProduct(x, Lanes(repeating: p[j]))
      a1.addProduct(x, Lanes(repeating: p[padded + j]))
      a2.addProduct(x, Lanes(repeating: p[2 * padded + j]))
      a3.addProduct(x, Lanes(repeating: p[3 * padded + j]))
      row += d
    }
    let o = out + c
    o.store(a0 * inverse[0], at: 0)
    if n > 1 { o.store(a1 * inverse[1], at: stride) }
    if n > 2 { o.store(a2 * inverse[2], at: 2 * stride) }
    if n > 3 { o.store(a3 * inverse[3], at: 3 * stride) }
  }
}

/// z = P·V / sum with V transposed: lanes run over keys.
@inline(__always)
private func weighColumns(
  _ p: UnsafeMutablePointer<Float>, _ padded: Int, _ values: UnsafeMutablePointer<Float>, _ d: Int,
  _ keys: Range<Int>, _ sums: SIMD4<Float>, into out: UnsafeMutablePointer<Float>, stride: Int, n: Int
) {
  let inverse = 1 / sums
  for i in 0..<d {
    let column = values + i * padded
    var (a0, a1, a2, a3) = (Lanes.zero, Lanes.zero, Lanes.zero, Lanes.zero)
    for tile in Swift.stride(from: keys.lowerBound, to: keys.upperBound, by: 16) {
      let x = column.lanes(at: tile)
      a0.addProduct(x, p.lanes(at: tile))
      a1.addProduct(x, p.lanes(at: padded + tile))
      a2.addProduct(x, p.lanes(at: 2 * padded + tile))
      a3.addProduct(x, p.lanes(at: 3 * padded + tile))
    }
    out[i] = a0.total * inverse[0]
    if n > 1 { out[stride + i] = a1.total * inverse[1] }
    if n > 2 { out[2 * stride + i] = a2.total * inverse[2] }
    if n > 3 { out[3 * stride + i] = a3.total * inverse[3] }
  }
}

@inline(__always) func larger(_ a: Lanes, _ b: Lanes) -> Lanes { a.replacing(with: b, where: a .< b) }

/// 2ˣ for x ≤ 0, within 2 ulp; 0 below −126 and for −∞; NaN stays NaN.
///
/// x = n + r with |r| ≤ ½, 2ʳ by a polynomial of degree 6 (Cephes exp2f), n added to the exponent bits.
@inline(__always) func exp2OfNonPositive(_ x: Lanes) -> Lanes {
  let shift = Lanes(repeating: 12_582_912)  // 1.5·2²³: adding it rounds to an integer, kept in the low bits
  let clamped = x.replacing(with: Lanes(repeating: -126), where: x .< -126)
  let t = clamped + shift
  let r = clamped - (t - shift)
  var p = Lanes(repeating: 1.535_336_2e-4)
  p = Lanes(repeating: 1.339_887_4e-3).addingProduct(p, r)
  p = Lanes(repeating: 9.618_437_4e-3).addingProduct(p, r)
  p = Lanes(repeating: 5.550_332_5e-2).addingProduct(p, r)
  p = Lanes(repeating: 2.402_264_8e-1).addingProduct(p, r)
  p = Lanes(repeating: 6.931_472_06e-1).addingProduct(p, r)
  p = Lanes(repeating: 1).addingProduct(p, r)
  let exponent = unsafeBitCast(t, to: SIMD16<Int32>.self) &<< 23
  let result = unsafeBitCast(unsafeBitCast(p, to: SIMD16<Int32>.self) &+ exponent, to: Lanes.self)
  return result.replacing(with: 0, where: x .< -126)
}
