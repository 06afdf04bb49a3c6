// Sweeps over the rows of [B, d] matrices.

/// out = x − offset, row by row: an SAE's input, centred.
package func center(_ x: borrowing Matrix, by offset: borrowing Matrix, into out: inout Matrix) {
  let d = x.columns
  precondition(offset.count == d && out.rows == x.rows && out.columns == d, "[\(x.rows), \(d)] by \(offset.count)")
  let (xs, offsets, outs) = (x.base, offset.base, out.base)
  Threads.forEachRange(x.rows, grain: 256) { range in
    for b in range {
      let (source, target) = (xs + b * d, outs + b * d)
      var i = 0
      while i + 16 <= d {
        target.store(source.lanes(at: i) - offsets.lanes(at: i), at: i)
        i += 16
      }
      while i < d {
        target[i] = source[i] - offsets[i]
        i += 1
      }
    }
  }
}

/// The sum of each column, [1, d]: over pieces of 256 rows, then over the pieces in order.
package func columnSums(_ x: borrowing Matrix) -> Matrix { columnSums(x.strip) }

/// The same of rows without gaps.
package func columnSums(_ x: Strip) -> Matrix {
  precondition(x.stride == x.columns, "rows of \(x.columns), \(x.stride) apart")
  let (rows, d) = (x.rows, x.columns)
  let grain = 256
  let nPieces = (rows + grain - 1) / grain
  let partials = Matrix(nPieces, d)
  let (xs, partial) = (x.base, partials.base)
  Threads.forEachRange(rows, grain: grain) { range in
    let sum = partial + range.lowerBound / grain * d
    for b in range { accumulate(xs + b * d, times: 1, into: sum, count: d) }
  }
  let total = Matrix(1, d)
  for piece in 0..<nPieces { accumulate(partial + piece * d, times: 1, into: total.base, count: d) }
  return total
}

/// Σ over tokens of ‖x − mean‖², with the mean of these rows.
package func totalVariance(_ x: borrowing Matrix) -> Double {
  if x.rows == 0 { return 0 }
  let (rows, d) = (x.rows, x.columns)
  var mean = columnSums(x)
  mean.scale(by: 1 / Float(rows))
  let (xs, center) = (x.base, mean.base)
  return reduce(rows, grain: 256) { range in
    var sum = 0.0
    for b in range {
      var squares = Lanes.zero
      var i = 0
      while i + 16 <= d {
        let difference = xs.lanes(at: b * d + i) - center.lanes(at: i)
        squares = squares.addingProduct(difference, difference)
        i += 16
      }
      var rest: Float = squares.total
      while i < d {
        let difference = xs[b * d + i] - center[i]
        rest += difference * difference
        i += 1
      }
      sum += Double(rest)
    }
    return sum
  }
}

/// weightsᵀ·coefficients: Σ_j coefficients[j]·weights[j], [1, d]; over pieces of 256 rows, then in order.
package func weightedRowSum(_ coefficients: borrowing Matrix, _ weights: borrowing Matrix) -> Matrix {
  let (n, d) = (weights.rows, weights.columns)
  precondition(coefficients.count == n, "\(coefficients.count) coefficients for [\(n), \(d)]")
  let grain = 256
  let nPieces = (n + grain - 1) / grain
  let partials = Matrix(nPieces, d)
  let (c, w, partial) = (coefficients.base, weights.base, partials.base)
  Threads.forEachRange(n, grain: grain) { range in
    let sum = partial + range.lowerBound / grain * d
    for j in range where c[j] != 0 { accumulate(w + j * d, times: c[j], into: sum, count: d) }
  }
  let total = Matrix(1, d)
  for piece in 0..<nPieces { accumulate(partial + piece * d, times: 1, into: total.base, count: d) }
  return total
}

/// Scales every row to unit Euclidean norm; rows of zeros stay.
package func normalizeRows(_ matrix: inout Matrix) {
  let d = matrix.columns
  let base = matrix.base
  Threads.forEachRange(matrix.rows, grain: 256) { range in
    for j in range { normalize(base + j * d, count: d) }
  }
}

@inline(__always) func normalize(_ row: UnsafeMutablePointer<Float>, count: Int) {
  let norm = dot(row, row, count: count).squareRoot()
  if norm > 0 { multiply(row, by: 1 / norm, count: count) }
}

@inline(__always) func multiply(_ row: UnsafeMutablePointer<Float>, by factor: Float, count: Int) {
  var i = 0
  while i + 16 <= count {
    row.store(row.lanes(at: i) * factor, at: i)
    i += 16
  }
  while i < count {
    row[i] *= factor
    i += 1
  }
}

extension Matrix {
  package mutating func scale(by factor: Float) {
    let base = base
    Threads.forEachRange(count, grain: 1 << 16) { multiply(base + $0.lowerBound, by: factor, count: $0.count) }
  }

  /// self += factor·other, of the same shape.
  package mutating func add(_ other: borrowing Matrix, times factor: Float = 1) {
    precondition(
      rows == other.rows && columns == other.columns, "[\(other.rows), \(other.columns)] to [\(rows), \(columns)]")
    let (source, target) = (other.base, base)
    Threads.forEachRange(count, grain: 1 << 16) {
      accumulate(source + $0.lowerBound, times: factor, into: target + $0.lowerBound, count: $0.count)
    }
  }

  /// A copy of the rows named.
  package func gather(rows selected: [Int32]) -> Matrix {
    let out = Matrix(uninitialized: selected.count, columns)
    for (place, row) in selected.enumerated() {
      precondition(row >= 0 && Int(row) < rows, "row \(row) of \(rows)")
      (out.base + place * columns).update(from: base + Int(row) * columns, count: columns)
    }
    return out
  }

  /// Overwrites the rows named with `factor` times those of `other`, in its order.
  package mutating func scatter(_ other: borrowing Matrix, rows selected: [Int32], times factor: Float = 1) {
    precondition(
      other.rows == selected.count && other.columns == columns,
      "[\(other.rows), \(other.columns)] into \(selected.count) rows of \(columns)")
    for (place, row) in selected.enumerated() {
      precondition(row >= 0 && Int(row) < rows, "row \(row) of \(rows)")
      let target = base + Int(row) * columns
      target.update(from: other.base + place * columns, count: columns)
      if factor != 1 { multiply(target, by: factor, count: columns) }
    }
  }

  package func transposed() -> Matrix {
    let out = Matrix(uninitialized: columns, rows)
    for i in 0..<rows {
      for j in 0..<columns { out.base[j * rows + i] = base[i * columns + j] }
    }
    return out
  }
}
