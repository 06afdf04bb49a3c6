/// Which rows of a weight matrix a step changes, and what becomes of their gradient before the rule of the optimizer:
///
///     g ← gradientScale · (g − along[row] · w)
package struct RowUpdate {
  /// Ascending; nil: all rows. The others are neither read nor written.
  package var rows: [Int32]?
  /// What `gradientSums` found along each row; nil where rows are not held at unit norm.
  package var sums: GradientSums?
  /// From clipping.
  package var gradientScale: Float
  /// Whether rows are scaled to unit norm afterwards.
  package var normalizing: Bool

  package init(
    rows: [Int32]? = nil, sums: GradientSums? = nil, gradientScale: Float = 1, normalizing: Bool = false
  ) {
    self.rows = rows
    self.sums = sums
    self.gradientScale = gradientScale
    self.normalizing = normalizing
  }

  /// Calls `body` with the number and the start of each row and its part of the gradient along the weights, and scales
  /// the row while it is in cache.
  @inline(__always) func forEachRow(
    of weights: borrowing Matrix, gradient: borrowing Matrix,
    _ body: (_ row: Int, _ p: UnsafeMutablePointer<Float>, _ g: UnsafePointer<Float>, _ along: Float) -> Void
  ) {
    let (n, d) = (weights.rows, weights.columns)
    precondition(
      gradient.rows == n && gradient.columns == d, "gradient [\(gradient.rows), \(gradient.columns)] of [\(n), \(d)]")
    precondition(sums.map { $0.rows == n } ?? true, "sums of \(sums?.rows ?? 0) rows for \(n)")
    let (p, g, along) = (weights.base, gradient.base, sums?.along.base)
    Threads.forEachRange(rows?.count ?? n, grain: max(1, (1 << 14) / max(d, 1))) { range in
      for i in range {
        let row = rows.map { Int($0[i]) } ?? i
        body(row, p + row * d, g + row * d, along?[row] ?? 0)
        if normalizing { normalize(p + row * d, count: d) }
      }
    }
  }
}

/// Sums over each row of a gradient g, for clipping by the joint norm and for rows held at unit norm. Made by the kernel
/// that writes the gradient while the row is in cache, or by `gradientSums`.
package final class GradientSums: Sendable {
  /// Σ (g − along · w)² of each row. [1, rows]
  let squares: Matrix
  /// ⟨g, w⟩ of each row, 0 where rows are not held at unit norm. [1, rows]
  let along: Matrix

  package init(rows: Int) {
    squares = Matrix(1, rows)
    along = Matrix(1, rows)
  }

  package var rows: Int { squares.columns }

  /// Over the rows given, or all, in ascending order.
  package func total(rows selected: [Int32]?) -> Double {
    guard let selected else { return (0..<rows).reduce(0) { $0 + Double(squares.base[$1]) } }
    return selected.reduce(0) {
      precondition($1 >= 0 && Int($1) < rows, "row \($1) of \(rows)")
      return $0 + Double(squares.base[Int($1)])
    }
  }

  /// Records a row whose gradient is 0.
  @inline(__always) func clear(row: Int) {
    squares.base[row] = 0
    along.base[row] = 0
  }

  /// Records the sums of a row; `weights` is nil where rows are not held at unit norm.
  @inline(__always) func record(
    row: Int, _ gradient: UnsafePointer<Float>, along weights: UnsafePointer<Float>?, count: Int
  ) {
    let square = dot(gradient, gradient, count: count)
    guard let weights else {
      squares.base[row] = square
      return
    }
    let part = dot(gradient, weights, count: count)
    let (s, c, w) = (Double(square), Double(part), Double(dot(weights, weights, count: count)))
    along.base[row] = part
    // Of a difference of large numbers at most the sign can be wrong.
    let rest = s - 2 * c * c + c * c * w
    squares.base[row] = Float(rest < 0 ? 0 : rest)
  }
}

/// Fills `sums` for the rows given, or all: those of g itself, or with `removingParallel` of g without its part along each
/// row of `weights`, the gradient on the sphere (Bricken et al. 2023, "Towards Monosemanticity", appendix).
package func gradientSums(
  _ gradient: borrowing Matrix, rows: [Int32]? = nil, along weights: borrowing Matrix, removingParallel: Bool,
  into sums: GradientSums
) {
  let d = weights.columns
  let update = RowUpdate(rows: rows)
  update.forEachRow(of: weights, gradient: gradient) { row, p, g, _ in
    sums.record(row: row, g, along: removingParallel ? UnsafePointer(p) : nil, count: d)
  }
}

/// Rows with an element that is not 0, ascending.
package func rowsWithGradient(_ gradient: borrowing Matrix) -> [Int32] {
  let (base, d) = (gradient.base, gradient.columns)
  var flags = [Bool](repeating: false, count: gradient.rows)
  flags.withUnsafeMutableBufferPointer { flags in
    let flags = Shared(flags)
    Threads.forEachRange(gradient.rows, grain: 256) { range in
      for row in range { flags.value[row] = (0..<d).contains { base[row * d + $0] != 0 } }
    }
  }
  return flags.indices.filter { flags[$0] }.map { Int32($0) }
}

extension Matrix {
  /// Makes rows 0 but those of `kept`, ascending.
  package mutating func clear(rowsExcept kept: [Int32]) {
    var start = 0
    for row in kept.map({ Int($0) }) + [rows] {
      precondition(row >= start && row <= rows, "row \(row) after \(start) of \(rows)")
      (base + start * columns).update(repeating: 0, count: (row - start) * columns)
      start = row + 1
    }
  }

  /// Makes the rows named 0.
  package mutating func clear(rows selected: [Int32]) {
    for row in selected {
      precondition(row >= 0 && Int(row) < rows, "row \(row) of \(rows)")
      (base + Int(row) * columns).update(repeating: 0, count: columns)
    }
  }
}
