import Foundation

// log cosh, a smooth |y|, and its derivative tanh.

/// Σ log cosh y of all elements, and Σ |y|.
package func sumOfLogCosh(_ y: borrowing Matrix) -> (sum: Double, sizes: Double) {
  let base = y.base
  let grain = 1 << 16
  var sizes = [Double](repeating: 0, count: (y.count + grain - 1) / grain)
  let sum = sizes.withUnsafeMutableBufferPointer { sizes in
    let sizes = Shared(sizes)
    return reduce(y.count, grain: grain) { range in
      let (sum, size) = logCosh(base + range.lowerBound, count: range.count)
      sizes.value[range.lowerBound / grain] = size
      return sum
    }
  }
  return (sum, sizes.reduce(0, +))
}

/// gradient += factor · tanh y, element by element.
package func addLogCoshGradient(_ gradient: inout Matrix, of y: borrowing Matrix, times factor: Float) {
  precondition(gradient.rows == y.rows && gradient.columns == y.columns, "shapes differ")
  let (g, base) = (gradient.base, y.base)
  Threads.forEachRange(gradient.count, grain: 1 << 16) { range in
    addTanh(base + range.lowerBound, times: factor, into: g + range.lowerBound, count: range.count)
  }
}

/// Adds to `code.gradients` those of factor · Σ log cosh c. Returns Σ log cosh c.
package func addLogCoshGradients(_ code: inout SparseCode, times factor: Float) -> Double {
  let (starts, counts) = (code.starts, code.counts)
  return code.values.withUnsafeBufferPointer { values in
    code.gradients.withUnsafeMutableBufferPointer { gradients in
      let shared = Shared((values, gradients))
      return reduce(counts.count, grain: 256) { range in
        var sum = 0.0
        for b in range where counts[b] > 0 {
          let (values, gradients) = shared.value
          let (y, g) = (values.baseAddress! + Int(starts[b]), gradients.baseAddress! + Int(starts[b]))
          sum += logCosh(y, count: Int(counts[b])).sum
          addTanh(y, times: factor, into: g, count: Int(counts[b]))
        }
        return sum
      }
    }
  }
}

/// By log cosh y = |y| + log(1 + e^(−2|y|)) − log 2. Logarithms are taken of products of up to 64 terms, each at most 2.
private func logCosh(_ y: UnsafePointer<Float>, count: Int) -> (sum: Double, sizes: Double) {
  var (sum, sizes) = (0.0, 0.0)
  let whole = count & ~15
  for start in stride(from: 0, to: whole, by: 1024) {
    var (product, size) = (Lanes(repeating: 1), Lanes.zero)
    for i in stride(from: start, to: min(start + 1024, whole), by: 16) {
      let a = abs(y.lanes(at: i))
      product *= 1 + exp(a * -2)
      size += a
    }
    for lane in 0..<16 { sum += Double(log(product[lane])) }
    sizes += Double(size.total)
  }
  for i in whole..<count {
    sum += log1p(Foundation.exp(-2 * Double(abs(y[i]))))
    sizes += Double(abs(y[i]))
  }
  return (sum + sizes - Double(count) * log(2), sizes)
}

private func addTanh(
  _ y: UnsafePointer<Float>, times factor: Float, into g: UnsafeMutablePointer<Float>, count: Int
) {
  var i = 0
  while i + 16 <= count {
    g.store(g.lanes(at: i) + factor * tanh(y.lanes(at: i)), at: i)
    i += 16
  }
  while i < count {
    g[i] += factor * Foundation.tanh(y[i])
    i += 1
  }
}
