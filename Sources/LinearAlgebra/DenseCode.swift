// The code of a batch as a full matrix [tokens, latents]: cheaper than a sparse one while most latents are active.

/// acts = max(acts + bias, 0), bias [1, n] added to every row. Returns the sum and the number of positive values.
package func rectify(_ acts: inout Matrix, bias: borrowing Matrix) -> (sum: Double, nActive: Int) {
  let n = acts.columns
  precondition(bias.count == n, "\(bias.count) biases for \(n) latents")
  let (base, b) = (acts.base, bias.base)
  let grain = 32
  let nPieces = (acts.rows + grain - 1) / grain
  var sums = [Double](repeating: 0, count: nPieces)
  var counts = [Int](repeating: 0, count: nPieces)
  sums.withUnsafeMutableBufferPointer { sums in
    counts.withUnsafeMutableBufferPointer { counts in
      let shared = Shared((sums, counts))
      Threads.forEachRange(acts.rows, grain: grain) { range in
        var (total, active) = (0.0, 0)
        for row in range {
          let p = base + row * n
          var sum = Lanes.zero
          var count = SIMD16<Int32>.zero
          var rowSum: Float = 0
          var i = 0
          while i + 16 <= n {
            let value = p.lanes(at: i) + b.lanes(at: i)
            let mask = value .> 0
            let kept = Lanes.zero.replacing(with: value, where: mask)
            count = count &- unsafeBitCast(mask, to: SIMD16<Int32>.self)
            sum += kept
            p.store(kept, at: i)
            i += 16
          }
          while i < n {
            let value = p[i] + b[i]
            p[i] = value > 0 ? value : 0
            rowSum += p[i]
            active += value > 0 ? 1 : 0
            i += 1
          }
          total += Double(rowSum + sum.total)
          active += Int(count.wrappedSum())
        }
        shared.value.0[range.lowerBound / grain] = total
        shared.value.1[range.lowerBound / grain] = active
      }
    }
  }
  return (sums.reduce(0, +), counts.reduce(0, +))
}

/// acts = the k largest of each row of acts + bias, if positive, else 0; of equal ones those of lower columns. Returns
/// the sum and the number of positive values.
package func keepLargest(_ k: Int, of acts: inout Matrix, bias: borrowing Matrix) -> (sum: Double, nActive: Int) {
  let n = acts.columns
  precondition(k > 0 && k <= n, "k is \(k), latents \(n)")
  let (_, nPositive) = rectify(&acts, bias: bias)
  let base = acts.base
  var counts = [Int](repeating: 0, count: (acts.rows + 63) / 64)
  let sum = counts.withUnsafeMutableBufferPointer { counts in
    let counts = Shared(counts)
    return reduce(nPositive > 0 ? acts.rows : 0, grain: 64) { range in
      var total = 0.0
      for row in range {
        let p = base + row * n
        var tally = SIMD16<Int32>.zero
        for i in stride(from: 0, to: n & ~15, by: 16) {
          tally &-= unsafeBitCast(p.lanes(at: i) .> 0, to: SIMD16<Int32>.self)
        }
        var positive = Int(tally.wrappedSum())
        for i in n & ~15..<n where p[i] > 0 { positive += 1 }
        if positive > k {
          let (bound, ties) = boundOfLargest(k, of: p, count: n, from: Float.leastNonzeroMagnitude)
          positive = k
          clearBelow(bound, p, count: n)
          if ties > 0 {
            var left = ties
            for i in 0..<n where p[i] == bound {
              if left == 0 { p[i] = 0 } else { left -= 1 }
            }
          }
        }
        counts.value[range.lowerBound / 64] += positive
        var lanes = Lanes.zero
        for i in stride(from: 0, to: n & ~15, by: 16) { lanes += p.lanes(at: i) }
        total += (n & ~15..<n).reduce(Double(lanes.total)) { $0 + Double(p[$1]) }
      }
      return total
    }
  }
  return (sum, counts.reduce(0, +))
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
