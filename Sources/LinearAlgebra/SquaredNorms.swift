/// ‖row‖² of every row.
package func squaredNorms(_ x: borrowing Matrix) -> [Double] {
  let (rows, d) = (x.rows, x.columns)
  let norms = Matrix(1, rows)
  let (xs, out) = (x.base, norms.base)
  Threads.forEachRange(rows, grain: 256) { range in
    for b in range { out[b] = dot(xs + b * d, xs + b * d, count: d) }
  }
  return norms.values.map { Double($0) }
}

/// ‖x − y‖² of every row; x and y are of one shape.
package func squaredDistances(_ x: borrowing Matrix, _ y: borrowing Matrix) -> [Double] {
  let (rows, d) = (x.rows, x.columns)
  precondition(y.rows == rows && y.columns == d, "[\(rows), \(d)] and [\(y.rows), \(y.columns)]")
  let out = Matrix(1, rows)
  let (xs, ys, outs) = (x.base, y.base, out.base)
  let whole = d & ~15
  Threads.forEachRange(rows, grain: 256) { range in
    for b in range {
      let (first, second) = (xs + b * d, ys + b * d)
      var squares = Lanes.zero
      for i in stride(from: 0, to: whole, by: 16) {
        let difference = first.lanes(at: i) - second.lanes(at: i)
        squares.addProduct(difference, difference)
      }
      var sum = squares.total
      for i in whole..<d { sum += (first[i] - second[i]) * (first[i] - second[i]) }
      outs[b] = sum
    }
  }
  return out.values.map { Double($0) }
}
