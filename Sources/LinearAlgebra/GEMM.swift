/// C = alpha·op(A)·op(B), or C += … : general matrix product.
///
/// The output is cut into tiles of a fixed size, one call each, shared among `Threads`; each call runs on one
/// thread over the whole inner dimension, so the result does not depend on the number of threads.
///
/// - Parameters:
///   - a: [m, k], or [k, m] if `transposeA`.
///   - b: [k, n], or [n, k] if `transposeB`.
///   - c: [m, n]; overwritten, or added to if `accumulating`.
package func gemm(
  _ a: borrowing Matrix, _ b: borrowing Matrix, into c: inout Matrix,
  transposeA: Bool = false, transposeB: Bool = false, alpha: Float = 1, accumulating: Bool = false
) {
  tiledProduct(
    a.strip, b.strip, into: c.strip, transposeA: transposeA, transposeB: transposeB, alpha: alpha,
    accumulating: accumulating)
}

/// The same on some rows of A and of C, and all of B.
package func gemm(
  _ a: borrowing Matrix, rows rowsOfA: Range<Int>, _ b: borrowing Matrix, into c: inout Matrix,
  rows rowsOfC: Range<Int>, transposeA: Bool = false, transposeB: Bool = false, alpha: Float = 1,
  accumulating: Bool = false
) {
  tiledProduct(
    a.strip.rows(rowsOfA), b.strip, into: c.strip.rows(rowsOfC), transposeA: transposeA, transposeB: transposeB,
    alpha: alpha, accumulating: accumulating)
}

/// The same on some rows of A, B and C.
package func gemm(
  _ a: borrowing Matrix, rows rowsOfA: Range<Int>, _ b: borrowing Matrix, rows rowsOfB: Range<Int>,
  into c: inout Matrix, rows rowsOfC: Range<Int>, transposeA: Bool = false, transposeB: Bool = false,
  alpha: Float = 1, accumulating: Bool = false
) {
  tiledProduct(
    a.strip.rows(rowsOfA), b.strip.rows(rowsOfB), into: c.strip.rows(rowsOfC), transposeA: transposeA,
    transposeB: transposeB, alpha: alpha, accumulating: accumulating)
}

// 95 % of the rate of one call over everything (512×2048 of 4096×8192×768: 380 of 400 GFLOP/s), and many enough
// to share.
private let tileRows = 512
private let tileColumns = 2048

package func tiledProduct(
  _ a: Strip, _ b: Strip, into c: Strip, transposeA: Bool = false, transposeB: Bool = false, alpha: Float = 1,
  accumulating: Bool = false
) {
  let (m, n) = (c.rows, c.columns)
  let tilesDown = (m + tileRows - 1) / tileRows
  let tilesAcross = (n + tileColumns - 1) / tileColumns
  let inner = transposeA ? a.rows : a.columns
  if transposeA && !transposeB && inner >= 1024 && m * n <= 1 << 16 {
    return splitProduct(a, b, into: c, alpha: alpha, accumulating: accumulating)
  }
  Threads.forEach(tilesDown * tilesAcross) { tile in
    let i = tile / tilesAcross * tileRows
    let j = tile % tilesAcross * tileColumns
    let (rows, columns) = (i..<min(m, i + tileRows), j..<min(n, j + tileColumns))
    gemm(
      transposeA ? a.columns(rows) : a.rows(rows), transposeB ? b.rows(columns) : b.columns(columns),
      into: c.rows(rows).columns(columns), transposeA: transposeA, transposeB: transposeB, alpha: alpha,
      accumulating: accumulating)
  }
}

/// C += Aᵀ·B, or overwritten: the gradient of a weight, whose sum goes over all tokens. Tiles are 64 rows of C, as C is
/// small beside A and B.
///
/// - Parameters:
///   - a: [tokens, m].
///   - b: [tokens, n].
///   - c: [m, n].
package func weightGradient(_ a: Strip, _ b: Strip, into c: Strip, accumulating: Bool = true) {
  Threads.forEachRange(c.rows, grain: 64) { rows in
    gemm(a.columns(rows), b, into: c.rows(rows), transposeA: true, accumulating: accumulating)
  }
}

/// C = alpha·Aᵀ·B, or C += …, for gradients of small weights from many rows, which are one tile: pieces of the rows are
/// products of their own, added in order.
private func splitProduct(_ a: Strip, _ b: Strip, into c: Strip, alpha: Float, accumulating: Bool) {
  let (m, n, inner) = (c.rows, c.columns, a.rows)
  let grain = max(256, (inner + 7) / 8)
  let nPieces = (inner + grain - 1) / grain
  let partials = Matrix(uninitialized: nPieces * m, n)
  let strip = partials.strip
  Threads.forEachRange(inner, grain: grain) { range in
    let piece = range.lowerBound / grain
    gemm(a.rows(range), b.rows(range), into: strip.rows(piece * m..<(piece + 1) * m), transposeA: true, alpha: alpha)
  }
  Threads.forEachRange(m, grain: max(1, (1 << 12) / max(1, n))) { range in
    for row in range {
      let sum = c.row(row)
      if !accumulating { sum.update(repeating: 0, count: n) }
      for piece in 0..<nPieces { accumulate(strip.row(piece * m + row), times: 1, into: sum, count: n) }
    }
  }
}
