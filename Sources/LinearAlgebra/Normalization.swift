/// How a row is brought to unit scale.
package enum Normalization: String, Codable, Sendable {
  /// x ← (x − mean x) / √(mean (x − mean x)² + ε)
  case layer
  /// x ← x / √(mean x² + ε)
  case rms
}

/// Normalises every row of `x`, then scales and shifts it: out = norm(x)·weight + bias.
///
/// - Parameters:
///   - x: [rows, D].
///   - weight: [1, D]; nil leaves the normalised row as it is.
///   - bias: [1, D] or none.
///   - out: [rows, D], overwritten; may be `x`.
package func normalize(
  _ x: Strip, _ kind: Normalization, epsilon: Float, weight: Strip? = nil, bias: Strip? = nil, into out: Strip
) {
  let d = x.columns
  precondition(out.rows == x.rows && out.columns == d, "[\(x.rows), \(d)] into [\(out.rows), \(out.columns)]")
  precondition(
    weight.map { $0.columns == d } ?? true && bias.map { $0.columns == d } ?? true, "weights of another width")
  if d == 0 { return }
  let w = weight.map { UnsafePointer($0.base) }
  let b = bias.map { UnsafePointer($0.base) }
  let whole = d & ~15
  for i in 0..<x.rows {
    let row = UnsafePointer(x.row(i))
    let result = out.row(i)
    let (mean, inverse) = centerAndScale(row, d, kind, epsilon)
    let center = Lanes(repeating: mean)
    let scale = Lanes(repeating: inverse)
    for j in stride(from: 0, to: whole, by: 16) {
      var y = (row.lanes(at: j) - center) * scale
      if let w { y *= w.lanes(at: j) }
      if let b { y += b.lanes(at: j) }
      result.store(y, at: j)
    }
    for j in whole..<d {
      var y = (row[j] - mean) * inverse
      if let w { y *= w[j] }
      if let b { y += b[j] }
      result[j] = y
    }
  }
}

/// out = x·weight + bias, row by row: what is left of `normalize` without weights.
package func scaleAndShift(_ x: Strip, weight: Strip, bias: Strip?, into out: Strip) {
  let d = x.columns
  precondition(out.rows == x.rows && out.columns == d, "[\(x.rows), \(d)] into [\(out.rows), \(out.columns)]")
  precondition(weight.columns == d && bias.map { $0.columns == d } ?? true, "weights of another width")
  for i in 0..<x.rows {
    let (row, result) = (x.row(i), out.row(i))
    for j in 0..<d {
      var y = row[j] * weight.base[j]
      if let bias { y += bias.base[j] }
      result[j] = y
    }
  }
}

/// What is subtracted from a row (0 for RMS) and what it is multiplied with.
@inline(__always)
func centerAndScale(
  _ row: UnsafePointer<Float>, _ d: Int, _ kind: Normalization, _ epsilon: Float
) -> (mean: Float, inverse: Float) {
  let whole = d & ~15
  var mean: Float = 0
  if kind == .layer {
    var sum = Lanes.zero
    for j in stride(from: 0, to: whole, by: 16) { sum += row.lanes(at: j) }
    var total = sum.total
    for j in whole..<d { total += row[j] }
    mean = total / Float(d)
  }
  let center = Lanes(repeating: mean)
  var squares = Lanes.zero
  for j in stride(from: 0, to: whole, by: 16) {
    let e = row.lanes(at: j) - center
    squares.addProduct(e, e)
  }
  var total = squares.total
  for j in whole..<d { total += (row[j] - mean) * (row[j] - mean) }
  return (mean, 1 / (total / Float(d) + epsilon).squareRoot())
}
