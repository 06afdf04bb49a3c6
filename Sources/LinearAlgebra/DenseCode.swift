// The code of a batch as a full matrix [tokens, latents]: cheaper than a sparse one while most latents are active.

/// acts = max(acts + bias, 0), bias [1, n] added to every row. Returns the sum and the number of positive values.
package func rectify(_ acts: inout Matrix, bias: borrowing Matrix) -> (sum: Double, nActive: Int) {
  forEachRow(of: &acts, bias: bias) { rectify($0, bias: $1, count: $2) }
}

/// acts = the k largest of each row of acts + bias, if positive, else 0; of equal ones those of lower columns. Returns
/// the sum and the number of positive values.
package func keepLargest(_ k: Int, of acts: inout Matrix, bias: borrowing Matrix) -> (sum: Double, nActive: Int) {
  precondition(k > 0 && k <= acts.columns, "k is \(k), latents \(acts.columns)")
  return forEachRow(of: &acts, bias: bias) { row, bias, n in
    let all = rectify(row, bias: bias, count: n)
    if all.nActive <= k { return all }
    let (bound, ties) = boundOfLargest(k, of: row, count: n, from: Float.leastNonzeroMagnitude)
    clearBelow(bound, row, count: n)
    var left = ties
    if ties > 0 {
      for i in 0..<n where row[i] == bound {
        if left == 0 { row[i] = 0 } else { left -= 1 }
      }
    }
    var lanes = Lanes.zero
    for i in stride(from: 0, to: n & ~15, by: 16) { lanes += row.lanes(at: i) }
    return ((n & ~15..<n).reduce(Double(lanes.total)) { $0 + Double(row[$1]) }, k)
  }
}

/// Adds up what `body` returns for each row: its sum and how many elements are positive. 32 rows are a piece of work.
@inline(__always) private func forEachRow(
  of acts: inout Matrix, bias: borrowing Matrix,
  _ body: @Sendable (UnsafeMutablePointer<Float>, _ bias: UnsafePointer<Float>, _ n: Int) -> (sum: Double, nActive: Int)
) -> (sum: Double, nActive: Int) {
  let n = acts.columns
  precondition(bias.count == n, "\(bias.count) biases for \(n) latents")
  let (base, bias) = (acts.base, UnsafePointer(bias.base))
  let grain = 32
  let nPieces = (acts.rows + grain - 1) / grain
  var sums = [(sum: Double, nActive: Int)](repeating: (0, 0), count: nPieces)
  sums.withUnsafeMutableBufferPointer { sums in
    let shared = Shared((sums, bias))
    Threads.forEachRange(acts.rows, grain: grain) { range in
      let (sums, bias) = shared.value
      for row in range {
        let (sum, nActive) = body(base + row * n, bias, n)
        sums[range.lowerBound / grain].sum += sum
        sums[range.lowerBound / grain].nActive += nActive
      }
    }
  }
  return sums.reduce((0, 0)) { ($0.0 + $1.sum, $0.1 + $1.nActive) }
}

@inline(__always) private func rectify(
  _ row: UnsafeMutablePointer<Float>, bias: UnsafePointer<Float>, count n: Int
) -> (sum: Double, nActive: Int) {
  var sum = Lanes.zero
  var count = SIMD16<Int32>.zero
  var i = 0
  while i + 16 <= n {
    let value = row.lanes(at: i) + bias.lanes(at: i)
    let mask = value .> 0
    let kept = Lanes.zero.replacing(with: value, where: mask)
    count = count &- unsafeBitCast(mask, to: SIMD16<Int32>.self)
    sum += kept
    row.store(kept, at: i)
    i += 16
  }
  var rest: Float = 0
  var nActive = Int(count.total)
  while i < n {
    let value = row[i] + bias[i]
    row[i] = value > 0 ? value : 0
    rest += row[i]
    nActive += value > 0 ? 1 : 0
    i += 1
  }
  return (Double(rest + sum.total), nActive)
}

@inline(__always) private func clearBelow(_ bound: Float, _ row: UnsafeMutablePointer<Float>, count: Int) {
  var i = 0
  while i + 16 <= count {
    row.store(row.lanes(at: i).replacing(with: 0, where: row.lanes(at: i) .< bound), at: i)
    i += 16
  }
  while i < count {
    if row[i] < bound { row[i] = 0 }
    i += 1
  }
}

/// gradient = acts > 0 ? gradient + offset : 0, element by element: back through the ReLU, with an L1 penalty.
package func maskGradient(_ gradient: inout Matrix, where acts: borrowing Matrix, offset: Float) {
  precondition(gradient.rows == acts.rows && gradient.columns == acts.columns, "shapes differ")
  let (g, a) = (gradient.base, acts.base)
  Threads.forEachRange(gradient.count, grain: 1 << 16) { range in
    var i = range.lowerBound
    while i + 16 <= range.upperBound {
      g.store(Lanes.zero.replacing(with: g.lanes(at: i) + offset, where: a.lanes(at: i) .> 0), at: i)
      i += 16
    }
    while i < range.upperBound {
      g[i] = a[i] > 0 ? g[i] + offset : 0
      i += 1
    }
  }
}

/// How many elements of each column are positive. [n]
package func positiveCounts(_ acts: borrowing Matrix) -> [Int32] {
  let (rows, n) = (acts.rows, acts.columns)
  var counts = [Int32](repeating: 0, count: n)
  let base = acts.base
  counts.withUnsafeMutableBufferPointer { counts in
    let counts = Shared(counts)
    Threads.forEachRange(n, grain: 64) { range in
      var i = range.lowerBound
      while i + 16 <= range.upperBound {
        var count = SIMD16<Int32>.zero
        for row in 0..<rows {
          count = count &- unsafeBitCast(base.lanes(at: row * n + i) .> 0, to: SIMD16<Int32>.self)
        }
        for lane in 0..<16 { counts.value[i + lane] = count[lane] }
        i += 16
      }
      while i < range.upperBound {
        for row in 0..<rows where base[row * n + i] > 0 { counts.value[i] += 1 }
        i += 1
      }
    }
  }
  return counts
}
