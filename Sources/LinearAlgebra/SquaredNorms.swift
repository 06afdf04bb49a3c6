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
