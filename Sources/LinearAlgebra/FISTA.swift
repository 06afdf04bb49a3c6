// B tokens, n latents

/// Where FISTA stands for some tokens, each a problem of its own.
package struct FISTAState: ~Copyable {
  /// [B, n]: the solution so far, at least 0.
  package var code: Matrix
  /// [B, n]: where the next gradient is taken, `code` and some of its last change.
  package var point: Matrix
  private var momentum: [Float]
  /// Tokens that are solved; they stay as they are.
  private var isSolved: [Bool]

  /// From 0.
  package init(rows: Int, nLatents: Int) {
    code = Matrix(rows, nLatents)
    point = Matrix(rows, nLatents)
    momentum = [Float](repeating: 1, count: rows)
    isSolved = [Bool](repeating: false, count: rows)
  }

  package var nUnsolved: Int { isSolved.count { !$0 } }

  /// One step for f(c) + λ·Σ c with c ≥ 0 (Beck & Teboulle 2009), whose momentum starts again where it leads uphill
  /// (O'Donoghue & Candès 2015, their gradient scheme). A token is solved when no element of a step without momentum would be
  /// longer than `tolerance`.
  ///
  /// - Parameters:
  ///   - gradient: [B, n], of f at `point`; used up.
  ///   - step: 1 / L, with L a Lipschitz constant of f's gradient.
  package mutating func advance(
    gradient: inout Matrix, step: Float, l1: Float, tolerance: Float
  ) {
    let n = code.columns
    precondition(gradient.rows == code.rows && gradient.columns == n, "[\(gradient.rows), \(gradient.columns)]")
    let (c, y, g) = (code.base, point.base, gradient.base)
    momentum.withUnsafeMutableBufferPointer { momentum in
      isSolved.withUnsafeMutableBufferPointer { isSolved in
        let shared = Shared((momentum, isSolved))
        Threads.forEachRange(code.rows, grain: 16) { range in
          let (momentum, isSolved) = shared.value
          for b in range where !isSolved[b] {
            let (code, point, slope) = (c + b * n, y + b * n, g + b * n)
            // `slope` is not needed again: it keeps the new code.
            let (length, uphill) = project(code, point, slope, step: step, l1: l1, count: n)
            let t = uphill > 0 ? 1 : momentum[b]
            momentum[b] = (1 + (1 + 4 * t * t).squareRoot()) / 2
            extrapolate(code, point, slope, by: (t - 1) / momentum[b], count: n)
            isSolved[b] = length <= tolerance
          }
        }
      }
    }
  }
}

/// slope ← max(point − step·(slope + l1), 0), the new code. Returns the largest |new − point|, and
/// ⟨point − new, new − code⟩, which is positive where the momentum leads uphill.
@inline(__always) private func project(
  _ code: UnsafeMutablePointer<Float>, _ point: UnsafeMutablePointer<Float>, _ slope: UnsafeMutablePointer<Float>,
  step: Float, l1: Float, count: Int
) -> (length: Float, uphill: Float) {
  var (lengths, sum) = (Lanes.zero, Lanes.zero)
  var i = 0
  while i + 16 <= count {
    let y = point.lanes(at: i)
    let moved = y - step * (slope.lanes(at: i) + l1)
    let new = Lanes.zero.replacing(with: moved, where: moved .> 0)
    let change = abs(new - y)
    lengths = lengths.replacing(with: change, where: change .> lengths)
    sum = sum.addingProduct(y - new, new - code.lanes(at: i))
    slope.store(new, at: i)
    i += 16
  }
  var (length, uphill) = (lengths.max(), sum.total)
  while i < count {
    let new = max(point[i] - step * (slope[i] + l1), 0)
    length = max(length, abs(new - point[i]))
    uphill += (point[i] - new) * (new - code[i])
    slope[i] = new
    i += 1
  }
  return (length, uphill)
}

/// point ← new + factor·(new − code), code ← new.
@inline(__always) private func extrapolate(
  _ code: UnsafeMutablePointer<Float>, _ point: UnsafeMutablePointer<Float>, _ new: UnsafeMutablePointer<Float>,
  by factor: Float, count: Int
) {
  var i = 0
  while i + 16 <= count {
    let c = new.lanes(at: i)
    point.store(c + factor * (c - code.lanes(at: i)), at: i)
    code.store(c, at: i)
    i += 16
  }
  while i < count {
    point[i] = new[i] + factor * (new[i] - code[i])
    code[i] = new[i]
    i += 1
  }
}

/// The largest eigenvalue of rowsᵀ·rows, the square of the largest singular value: by 100 steps of power iteration, from below.
package func largestSquaredSingularValue(_ rows: borrowing Matrix) -> Float {
  let d = rows.columns
  var gram = Matrix(d, d)
  gemm(rows, rows, into: &gram, transposeA: true)
  // All ones may be orthogonal to the vector looked for; these are not by chance.
  var vector = Matrix(1, d, (0..<d).map { 1 + Float($0 * 7919 % 101) / 101 })
  normalizeRows(&vector)
  var value: Float = 0
  for _ in 0..<100 {
    var next = Matrix(1, d)
    gemm(vector, gram, into: &next)
    value = Float(sumOfSquares(next).squareRoot())
    normalizeRows(&next)
    vector = next.copy()
  }
  return value
}
