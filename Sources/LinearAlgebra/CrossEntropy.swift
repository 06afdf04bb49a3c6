import Foundation

// R rows, D width of the final state, V vocabulary. Logits exist only as tiles of tileRows × tileColumns.

private let tileRows = 256
private let tileColumns = 1024

/// Tiles of logits, two per worker; keep one and pass it to every call.
package final class UnembeddingScratch {
  private(set) var tiles = Matrix(0, 0)

  package init() {}

  /// One row per worker.
  func reserve(workers: Int) -> Strip {
    if tiles.rows < workers { tiles = Matrix(uninitialized: workers, 2 * tileRows * tileColumns) }
    return tiles.strip
  }
}

/// −log softmax(states·unembeddingᵀ)[target] for every row, in nats.
///
/// - Parameters:
///   - states: [R, D], the final normalised states.
///   - unembedding: [V, D].
///   - targets: R token ids below V (checked); nil where a row has no target, its loss is then 0.
package func crossEntropy(
  _ states: Strip, unembedding: Strip, targets: [UInt32?], scratch: UnembeddingScratch
) -> [Float] {
  precondition(targets.count == states.rows, "\(targets.count) targets for \(states.rows) rows")
  checkTargets(targets, unembedding.rows)
  let tiles = scratch.reserve(workers: Threads.count)
  return [Float](unsafeUninitializedCapacity: states.rows) { losses, count in
    let losses = Shared(losses)
    Threads.forEach((states.rows + tileRows - 1) / tileRows) { worker, piece in
      let range = piece * tileRows..<min(states.rows, (piece + 1) * tileRows)
      var sums = [LogSum](repeating: LogSum(), count: range.count)
      forEachTile(states.rows(range), unembedding, tiles.rows(worker..<worker + 1)) { logits, columns in
        for i in 0..<range.count {
          let row = logits.row(i)
          sums[i].add(row, columns.count)
          if let target = targets[range.lowerBound + i], columns.contains(Int(target)) {
            sums[i].target = row[Int(target) - columns.lowerBound]
          }
        }
      }
      for i in range {
        losses.value.initializeElement(at: i, to: targets[i] == nil ? 0 : sums[i - range.lowerBound].loss)
      }
    }
    count = states.rows
  }
}

/// What replacing activations did to the predictions, row by row, in nats.
package struct Divergence: Sendable, Equatable {
  /// KL(original ‖ spliced) of the next-token distributions.
  package var kl: [Float]
  /// Cross-entropy of the original and of the spliced run; 0 where a row has no target.
  package var original: [Float]
  package var spliced: [Float]
}

/// KL divergence and both cross-entropies from two final states, in one pass over the vocabulary.
///
/// KL = Σ p(a − b) − (log Σ eᵃ − log Σ eᵇ) with p = softmax(a); the sums are carried as doubles between tiles, so
/// the error is that of f32 logits, about 1e-6 nats.
///
/// - Parameters:
///   - original, spliced: [R, D] each.
///   - targets: as for `crossEntropy`.
package func divergence(
  original: Strip, spliced: Strip, unembedding: Strip, targets: [UInt32?], scratch: UnembeddingScratch
) -> Divergence {
  let n = original.rows
  precondition(spliced.rows == n && targets.count == n, "\(n) and \(spliced.rows) rows, \(targets.count) targets")
  checkTargets(targets, unembedding.rows)
  let tiles = scratch.reserve(workers: Threads.count)
  var result = Divergence(
    kl: [Float](repeating: 0, count: n), original: [Float](repeating: 0, count: n),
    spliced: [Float](repeating: 0, count: n))
  result.kl.withUnsafeMutableBufferPointer { kl in
    result.original.withUnsafeMutableBufferPointer { first in
      result.spliced.withUnsafeMutableBufferPointer { second in
        let out = Shared((kl: kl, first: first, second: second))
        Threads.forEach((n + tileRows - 1) / tileRows) { worker, piece in
          let range = piece * tileRows..<min(n, (piece + 1) * tileRows)
          var a = [LogSum](repeating: LogSum(), count: range.count)
          var b = a
          let tile = tiles.rows(worker..<worker + 1)
          let half = tileRows * tileColumns
          for columns in columnTiles(unembedding.rows) {
            let x = tile.columns(0..<half).shaped(range.count, columns.count)
            let y = tile.columns(half..<2 * half).shaped(range.count, columns.count)
            gemm(original.rows(range), unembedding.rows(columns), into: x, transposeB: true)
            gemm(spliced.rows(range), unembedding.rows(columns), into: y, transposeB: true)
            for i in 0..<range.count {
              a[i].add(x.row(i), columns.count, minus: y.row(i))
              b[i].add(y.row(i), columns.count)
              if let target = targets[range.lowerBound + i], columns.contains(Int(target)) {
                a[i].target = x.row(i)[Int(target) - columns.lowerBound]
                b[i].target = y.row(i)[Int(target) - columns.lowerBound]
              }
            }
          }
          for i in 0..<range.count {
            let row = range.lowerBound + i
            out.value.kl[row] = Float(a[i].difference / a[i].sum - (a[i].value - b[i].value))
            if targets[row] != nil {
              out.value.first[row] = a[i].loss
              out.value.second[row] = b[i].loss
            }
          }
        }
      }
    }
  }
  return result
}

private func checkTargets(_ targets: [UInt32?], _ v: Int) {
  for target in targets {
    if let target { precondition(Int(target) < v, "target \(target), vocabulary of \(v)") }
  }
}

private func columnTiles(_ v: Int) -> [Range<Int>] {
  stride(from: 0, to: v, by: tileColumns).map { $0..<min(v, $0 + tileColumns) }
}

private func forEachTile(
  _ states: Strip, _ unembedding: Strip, _ tile: Strip, _ body: (_ logits: Strip, _ columns: Range<Int>) -> Void
) {
  for columns in columnTiles(unembedding.rows) {
    let logits = tile.columns(0..<tileRows * tileColumns).shaped(states.rows, columns.count)
    gemm(states, unembedding.rows(columns), into: logits, transposeB: true)
    body(logits, columns)
  }
}

/// log Σ eˣ of a row that comes in tiles, and on the way Σ eˣ(x − y).
private struct LogSum {
  var maximum: Float = -.infinity
  /// Σ e^(x − maximum)
  var sum = 0.0
  /// Σ e^(x − maximum)·(x − y)
  var difference = 0.0
  var target: Float = 0

  /// log Σ eˣ
  var value: Double { Double(maximum) + log(sum) }
  var loss: Float { Float(value - Double(target)) }

  @inline(__always)
  mutating func add(_ x: UnsafeMutablePointer<Float>, _ n: Int, minus y: UnsafeMutablePointer<Float>? = nil) {
    let whole = n & ~15
    var m = Lanes(repeating: -.infinity)
    for j in stride(from: 0, to: whole, by: 16) { m = larger(m, x.lanes(at: j)) }
    var top = max(maximum, m.max())
    for j in whole..<n { top = max(top, x[j]) }
    if top > maximum {
      let factor = exp(Double(maximum) - Double(top))
      sum *= factor
      difference *= factor
      maximum = top
    }
    let shift = Lanes(repeating: top)
    var (s, t) = (Lanes.zero, Lanes.zero)
    for j in stride(from: 0, to: whole, by: 16) {
      let v = x.lanes(at: j)
      let p = exp2OfNonPositive((v - shift) * 1.442_695_04)
      s += p
      if let y { t.addProduct(p, v - y.lanes(at: j)) }
    }
    sum += Double(s.total)
    difference += Double(t.total)
    for j in whole..<n {
      let p = exp(Double(x[j] - top))
      sum += p
      if let y { difference += p * Double(x[j] - y[j]) }
    }
  }
}
