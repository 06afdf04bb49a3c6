/// The gradient of `normalize` with respect to its input, added to `dX`:
///
///     g = dY·weight;  dX += (g − mean g − x̂·mean(g·x̂)) / σ        (RMS: without mean g)
///
/// with x̂ the normalised row and σ what it was divided by, both computed again from `x`.
///
/// - Parameters:
///   - x: [rows, D], the input of the norm.
///   - weight: [1, D].
///   - dY: [rows, D], gradient of the norm's output.
///   - dX: [rows, D], added to.
package func normalizeBackward(
  _ x: Strip, _ kind: Normalization, epsilon: Float, weight: Strip, dY: Strip, accumulatingInto dX: Strip
) {
  let d = x.columns
  precondition(
    dY.rows == x.rows && dY.columns == d && dX.rows == x.rows && dX.columns == d && weight.columns == d,
    "[\(dY.rows), \(dY.columns)] through a norm of [\(x.rows), \(d)] into [\(dX.rows), \(dX.columns)]")
  if d == 0 { return }
  let w = UnsafePointer(weight.base)
  let whole = d & ~15
  let perElement = 1 / Float(d)
  for i in 0..<x.rows {
    let (row, dy, dx) = (UnsafePointer(x.row(i)), UnsafePointer(dY.row(i)), dX.row(i))
    let (mean, inverse) = centerAndScale(row, d, kind, epsilon)
    var (sums, products) = (Lanes.zero, Lanes.zero)
    for j in stride(from: 0, to: whole, by: 16) {
      let g = dy.lanes(at: j) * w.lanes(at: j)
      sums += g
      products.addProduct(g, row.lanes(at: j) - mean)
    }
    var (sum, product) = (sums.total, products.total)
    for j in whole..<d {
      let g = dy[j] * w[j]
      sum += g
      product += g * (row[j] - mean)
    }
    // dX += inverse·g − shift − slope·(x − mean)
    let shift = kind == .layer ? inverse * sum * perElement : 0
    let slope = inverse * inverse * inverse * product * perElement
    for j in stride(from: 0, to: whole, by: 16) {
      let g = dy.lanes(at: j) * w.lanes(at: j)
      dx.store(dx.lanes(at: j) + (g * inverse - shift - (row.lanes(at: j) - mean) * slope), at: j)
    }
    for j in whole..<d { dx[j] += dy[j] * w[j] * inverse - shift - (row[j] - mean) * slope }
  }
}

/// x ← x·y, elementwise, of one shape.
package func multiply(_ x: Strip, by y: Strip) {
  precondition(y.rows == x.rows && y.columns == x.columns, "[\(y.rows), \(y.columns)] and [\(x.rows), \(x.columns)]")
  let whole = x.columns & ~15
  for i in 0..<x.rows {
    let (row, factors) = (x.row(i), y.row(i))
    for j in stride(from: 0, to: whole, by: 16) { row.store(row.lanes(at: j) * factors.lanes(at: j), at: j) }
    for j in whole..<x.columns { row[j] *= factors[j] }
  }
}
