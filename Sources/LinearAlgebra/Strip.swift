import COpenBLAS

/// Some rows of a matrix, lent to one piece of a threaded loop; rows are `stride` elements apart.
///
/// A strip neither owns nor keeps the memory, and writes through it go past Swift's exclusivity checks: whoever
/// makes one sees to it that the matrix outlives it and that no two pieces write the same rows. It exists so that
/// every thread can take its own rows through several kernels in turn while they stay in its cache.
@safe package struct Strip: @unchecked Sendable {
  // Sendable: see above, pieces write to rows of their own.
  let base: UnsafeMutablePointer<Float>
  package let rows: Int
  package let columns: Int
  let stride: Int

  init(base: UnsafeMutablePointer<Float>, rows: Int, columns: Int, stride: Int) {
    self.base = base
    (self.rows, self.columns, self.stride) = (rows, columns, stride)
  }

  /// Some of the rows.
  package func rows(_ range: Range<Int>) -> Strip {
    precondition(range.lowerBound >= 0 && range.upperBound <= rows, "rows \(range) of \(rows)")
    return Strip(base: base + range.lowerBound * stride, rows: range.count, columns: columns, stride: stride)
  }

  /// Some of the columns.
  package func columns(_ range: Range<Int>) -> Strip {
    precondition(range.lowerBound >= 0 && range.upperBound <= columns, "columns \(range) of \(columns)")
    return Strip(base: base + range.lowerBound, rows: rows, columns: range.count, stride: stride)
  }

  /// The same memory as a [rows, columns] strip without gaps: scratch space is taken as large as ever needed and
  /// cut to the shape at hand.
  package func shaped(_ rows: Int, _ columns: Int) -> Strip {
    precondition(
      (stride == self.columns || self.rows <= 1) && rows * columns <= self.rows * self.columns,
      "[\(rows), \(columns)] from scratch of [\(self.rows), \(self.columns)], stride \(stride)")
    return Strip(base: base, rows: rows, columns: columns, stride: columns)
  }

  /// Lends one row.
  package func withSpan<R, E: Error>(row i: Int, _ body: (Span<Float>) throws(E) -> R) throws(E) -> R {
    precondition(i >= 0 && i < rows, "row \(i) of \(rows)")
    return try body(UnsafeBufferPointer(start: row(i), count: columns).span)
  }

  @inline(__always) func row(_ i: Int) -> UnsafeMutablePointer<Float> { base + i * stride }

  /// Overwrites all elements with those of `other`, of the same shape.
  package func assign(_ other: Strip) {
    precondition(
      rows == other.rows && columns == other.columns, "[\(other.rows), \(other.columns)] into [\(rows), \(columns)]")
    for i in 0..<rows { row(i).update(from: other.row(i), count: columns) }
  }
}

extension Strip {
  package func fill(_ value: Float) {
    for i in 0..<rows { row(i).update(repeating: value, count: columns) }
  }
}

extension Matrix {
  /// Lends all rows; see `Strip` for what the caller promises.
  package var strip: Strip { Strip(base: base, rows: rows, columns: columns, stride: columns) }
}

/// C = alpha·op(A)·op(B), or C += …, on the calling thread: the one place that calls OpenBLAS (cblas_sgemm).
///
/// - Parameters:
///   - a: [m, k], or [k, m] if `transposeA`.
///   - b: [k, n], or [n, k] if `transposeB`.
///   - c: [m, n]; overwritten, or added to if `accumulating`.
package func gemm(
  _ a: Strip, _ b: Strip, into c: Strip, transposeA: Bool = false, transposeB: Bool = false, alpha: Float = 1,
  accumulating: Bool = false
) {
  let (m, k) = transposeA ? (a.columns, a.rows) : (a.rows, a.columns)
  let (inner, n) = transposeB ? (b.columns, b.rows) : (b.rows, b.columns)
  precondition(
    k == inner && c.rows == m && c.columns == n, "[\(m), \(k)]·[\(inner), \(n)] into [\(c.rows), \(c.columns)]")
  if m == 0 || n == 0 { return }
  BLASLibrary.holdToOneThread
  cblas_sgemm(
    CblasRowMajor, transposeA ? CblasTrans : CblasNoTrans, transposeB ? CblasTrans : CblasNoTrans,
    Int32(m), Int32(n), Int32(k), alpha, a.base, Int32(a.stride), b.base, Int32(b.stride),
    accumulating ? 1 : 0, c.base, Int32(c.stride))
}
