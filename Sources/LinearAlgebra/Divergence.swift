import Foundation

// R rows, D width of the final state, V vocabulary.

/// What replacing activations did to the predictions, row by row; p is the original's distribution, q the spliced one's.
package struct Divergence: Sendable, Equatable {
  /// KL(p ‖ q), nats.
  package var kl: [Float]
  /// Statistical distance ½ Σ |p − q|, from 0 to 1.
  package var distance: [Float]
  /// Cross-entropy of the original and of the spliced run, nats; 0 where a row has no target.
  package var original: [Float]
  package var spliced: [Float]
  /// The likeliest token of the original and of the spliced run; of equal ones the first.
  package var originalTop: [UInt32]
  package var splicedTop: [UInt32]

  init(rows: Int) {
    kl = [Float](repeating: 0, count: rows)
    (distance, original, spliced) = (kl, kl, kl)
    originalTop = [UInt32](repeating: 0, count: rows)
    splicedTop = originalTop
  }
}

/// Compares the predictions of two final states.
///
/// Each thread makes both logits of some rows, over the whole vocabulary, and goes through each row while it is in the
/// core's cache: for the maxima, for sums and KL, and last, when the sums are known, for the distance.
///
/// KL = Σ p(a − b) − (log Σ eᵃ − log Σ eᵇ) with p = softmax(a); sums are carried as doubles from 1,024 tokens to the next,
/// so the error is that of f32 logits, about 1e-6 nats.
///
/// - Parameters:
///   - original, spliced: [R, D] each.
///   - unembedding: [V, D].
///   - targets: as for `crossEntropy`.
package func divergence(
  original: Strip, spliced: Strip, unembedding: Strip, targets: [UInt32?], scratch: UnembeddingScratch
) -> Divergence {
  let (n, v) = (original.rows, unembedding.rows)
  precondition(spliced.rows == n && targets.count == n, "\(n) and \(spliced.rows) rows, \(targets.count) targets")
  checkTargets(targets, v)
  let perPiece = rowsPerPiece(v)
  let tiles = scratch.reserve(workers: Threads.count, perWorker: 2 * perPiece * v)
  var result = Divergence(rows: n)
  result.withColumns { columns in
    let columns = Shared(columns)
    Threads.forEach((n + perPiece - 1) / perPiece) { worker, piece in
      let range = piece * perPiece..<min(n, (piece + 1) * perPiece)
      let tile = tiles.rows(worker..<worker + 1)
      let x = tile.columns(0..<perPiece * v).shaped(range.count, v)
      let y = tile.columns(perPiece * v..<2 * perPiece * v).shaped(range.count, v)
      gemm(original.rows(range), unembedding, into: x, transposeB: true)
      gemm(spliced.rows(range), unembedding, into: y, transposeB: true)
      for row in range {
        let i = row - range.lowerBound
        columns.value.write(row, x.row(i), y.row(i), v, target: targets[row].map { Int($0) })
      }
    }
  }
  return result
}

/// Rows whose logits are made at once: 96, and for small vocabularies as many as 1 MiB holds. With fewer the product spends
/// its time packing the unembedding; more cost memory and gain little (`docs/design.md`, "Evaluation").
private func rowsPerPiece(_ v: Int) -> Int { max(96, min(256, (1 << 18) / max(1, v))) }

extension Divergence {
  /// Pointers to its arrays, for threads that write rows of their own.
  fileprivate struct Columns {
    let kl, distance, original, spliced: UnsafeMutableBufferPointer<Float>
    let originalTop, splicedTop: UnsafeMutableBufferPointer<UInt32>

    /// - Parameters:
    ///   - a, b: logits [V] of the original and of the spliced run; overwritten.
    func write(
      _ row: Int, _ a: UnsafeMutablePointer<Float>, _ b: UnsafeMutablePointer<Float>, _ v: Int, target: Int?
    ) {
      let (topA, topB) = (largestWithIndex(a, v), largestWithIndex(b, v))
      let (targetA, targetB) = (target.map { Double(a[$0]) }, target.map { Double(b[$0]) })
      let sums = exponentiate(a, minus: topA.value, b, minus: topB.value, v)
      let (logSumA, logSumB) = (Double(topA.value) + log(sums.a), Double(topB.value) + log(sums.b))
      kl[row] = Float(sums.difference / sums.a - (logSumA - logSumB))
      distance[row] = Float(0.5 * sumOfDifferences(a, times: 1 / sums.a, b, times: 1 / sums.b, v))
      originalTop[row] = UInt32(topA.index)
      splicedTop[row] = UInt32(topB.index)
      if let targetA, let targetB {
        original[row] = Float(logSumA - targetA)
        spliced[row] = Float(logSumB - targetB)
      }
    }
  }

  fileprivate mutating func withColumns(_ body: (Columns) -> Void) {
    kl.withUnsafeMutableBufferPointer { kl in
      distance.withUnsafeMutableBufferPointer { distance in
        original.withUnsafeMutableBufferPointer { original in
          spliced.withUnsafeMutableBufferPointer { spliced in
            originalTop.withUnsafeMutableBufferPointer { originalTop in
              splicedTop.withUnsafeMutableBufferPointer { splicedTop in
                body(
                  Columns(
                    kl: kl, distance: distance, original: original, spliced: spliced, originalTop: originalTop,
                    splicedTop: splicedTop))
              }
            }
          }
        }
      }
    }
  }
}

/// Replaces a and b by e^(a − topA) and e^(b − topB), and sums them; `difference` is Σ e^(a − topA)·(a − b).
private func exponentiate(
  _ a: UnsafeMutablePointer<Float>, minus topA: Float, _ b: UnsafeMutablePointer<Float>, minus topB: Float, _ v: Int
) -> (a: Double, b: Double, difference: Double) {
  let (shiftA, shiftB) = (Lanes(repeating: topA), Lanes(repeating: topB))
  let whole = v & ~15
  var (sumA, sumB, difference) = (0.0, 0.0, 0.0)
  for block in stride(from: 0, to: whole, by: 1024) {
    var (s, t, d) = (Lanes.zero, Lanes.zero, Lanes.zero)
    for j in stride(from: block, to: min(whole, block + 1024), by: 16) {
      let (x, y) = (a.lanes(at: j), b.lanes(at: j))
      let p = exp2OfNonPositive((x - shiftA) * 1.442_695_04)
      let q = exp2OfNonPositive((y - shiftB) * 1.442_695_04)
      s += p
      t += q
      d.addProduct(p, x - y)
      a.store(p, at: j)
      b.store(q, at: j)
    }
    sumA += Double(s.total)
    sumB += Double(t.total)
    difference += Double(d.total)
  }
  for j in whole..<v {
    let (x, y) = (a[j], b[j])
    (a[j], b[j]) = (exp(x - topA), exp(y - topB))
    sumA += Double(a[j])
    sumB += Double(b[j])
    difference += Double(a[j] * (x - y))
  }
  return (sumA, sumB, difference)
}

/// Σ |a·factorA − b·factorB|.
private func sumOfDifferences(
  _ a: UnsafeMutablePointer<Float>, times factorA: Double, _ b: UnsafeMutablePointer<Float>, times factorB: Double,
  _ v: Int
) -> Double {
  let (p, q) = (Float(factorA), Float(factorB))
  let whole = v & ~15
  var sum = 0.0
  for block in stride(from: 0, to: whole, by: 1024) {
    var s = Lanes.zero
    for j in stride(from: block, to: min(whole, block + 1024), by: 16) {
      s += abs(a.lanes(at: j) * p - b.lanes(at: j) * q)
    }
    sum += Double(s.total)
  }
  for j in whole..<v { sum += Double(Swift.abs(a[j] * p - b[j] * q)) }
  return sum
}

/// The largest of n ≥ 1 values and where it is first; index 0 if there is none, as with values that are not numbers.
private func largestWithIndex(_ x: UnsafeMutablePointer<Float>, _ n: Int) -> (value: Float, index: Int) {
  let whole = n & ~15
  var (top, start) = (-Float.infinity, 0)
  for block in stride(from: 0, to: whole, by: 1024) {
    var m = Lanes(repeating: -.infinity)
    for j in stride(from: block, to: min(whole, block + 1024), by: 16) { m = larger(m, x.lanes(at: j)) }
    let largest = m.max()
    if largest > top { (top, start) = (largest, block) }
  }
  for j in whole..<n where x[j] > top { (top, start) = (x[j], j) }
  for j in start..<min(n, start + 1024) where x[j] == top { return (top, j) }
  return (top, 0)
}
