import Foundation

// R rows, D width of the final state, V vocabulary. Logits exist only as tiles of tileRows × tileColumns.

private let tileRows = 256
private let tileColumns = 1024

/// Logits of some rows, per worker; keep one and pass it to every call.
package final class UnembeddingScratch {
  private(set) var tiles = Matrix(0, 0)

  package init() {}

  /// One row per worker, of `perWorker` floats or more.
  func reserve(workers: Int, perWorker: Int = tileRows * tileColumns) -> Strip {
    if tiles.rows < workers || tiles.columns < perWorker { tiles = Matrix(uninitialized: workers, perWorker) }
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

func checkTargets(_ targets: [UInt32?], _ v: Int) {
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

/// log Σ eˣ of a row that comes in tiles.
private struct LogSum {
  var maximum: Float = -.infinity
  /// Σ e^(x − maximum)
  var sum = 0.0
  var target: Float = 0

  /// log Σ eˣ
  var value: Double { Double(maximum) + log(sum) }
  var loss: Float { Float(value - Double(target)) }

  @inline(__always)
  mutating func add(_ x: UnsafeMutablePointer<Float>, _ n: Int) {
    let whole = n & ~15
    var m = Lanes(repeating: -.infinity)
    for j in stride(from: 0, to: whole, by: 16) { m = larger(m, x.lanes(at: j)) }
    var top = max(maximum, m.max())
    for j in whole..<n { top = max(top, x[j]) }
    if top > maximum {
      sum *= exp(Double(maximum) - Double(top))
      maximum = top
    }
    let shift = Lanes(repeating: top)
    var s = Lanes.zero
    for j in stride(from: 0, to: whole, by: 16) { s += exp2OfNonPositive((x.lanes(at: j) - shift) * 1.442_695_04) }
    sum += Double(s.total)
    for j in whole..<n { sum += exp(Double(x[j] - top)) }
  }
}
