import COpenBLAS

/// C = alpha·op(A)·op(B), or C += … : general matrix product by OpenBLAS (cblas_sgemm).
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

func tiledProduct(
  _ a: Strip, _ b: Strip, into c: Strip, transposeA: Bool = false, transposeB: Bool = false, alpha: Float = 1,
  accumulating: Bool = false
) {
  // m rows, n columns of the output, k inner
  let (m, k) = transposeA ? (a.columns, a.rows) : (a.rows, a.columns)
  let (k2, n) = transposeB ? (b.columns, b.rows) : (b.rows, b.columns)
  precondition(k == k2 && c.rows == m && c.columns == n, "[\(m), \(k)]·[\(k2), \(n)] into [\(c.rows), \(c.columns)]")
  if m == 0 || n == 0 { return }
  let tilesDown = (m + tileRows - 1) / tileRows
  let tilesAcross = (n + tileColumns - 1) / tileColumns
  Threads.forEach(tilesDown * tilesAcross) { tile in
    let i = tile / tilesAcross * tileRows
    let j = tile % tilesAcross * tileColumns
    cblas_sgemm(
      CblasRowMajor, transposeA ? CblasTrans : CblasNoTrans, transposeB ? CblasTrans : CblasNoTrans,
      Int32(min(tileRows, m - i)), Int32(min(tileColumns, n - j)), Int32(k), alpha,
      a.base + (transposeA ? i : i * a.stride), Int32(a.stride),
      b.base + (transposeB ? j * b.stride : j), Int32(b.stride),
      accumulating ? 1 : 0, c.base + i * c.stride + j, Int32(c.stride))
  }
}
