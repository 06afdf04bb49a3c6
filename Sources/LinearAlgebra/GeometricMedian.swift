/// The point with the least sum of distances to the rows of `x`, [1, d], by Weiszfeld's iteration from the mean.
///
/// Stops when the sum of distances changes by less than `tolerance` of itself, or after `maxIterations`.
package func geometricMedian(_ x: borrowing Matrix, tolerance: Double = 1e-6, maxIterations: Int = 100) -> Matrix {
  let (rows, d) = (x.rows, x.columns)
  var median = columnSums(x)
  if rows == 0 { return median }
  median.scale(by: 1 / Float(rows))
  let weights = Matrix(1, rows)
  var last = Double.infinity
  for _ in 0..<maxIterations {
    let (xs, center, weight) = (x.base, median.base, weights.base)
    let total = reduce(rows, grain: 256) { range in
      var sum = 0.0
      for b in range {
        var squares: Float = 0
        for i in 0..<d {
          let difference = xs[b * d + i] - center[i]
          squares += difference * difference
        }
        let distance = squares.squareRoot()
        weight[b] = 1 / max(distance, 1e-6)
        sum += Double(distance)
      }
      return sum
    }
    if abs(last - total) <= tolerance * total { break }
    last = total
    var weightSum = 0.0
    for b in 0..<rows { weightSum += Double(weight[b]) }
    median = weightedRowSum(weights, x)
    median.scale(by: Float(1 / weightSum))
  }
  return median
}
