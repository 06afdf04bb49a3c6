import ActCache
import LinearAlgebra
import Transformer

/// Some held-out sequences as the model takes them.
struct HeldOutBatch {
  let tokens: TokenBatch
  /// Rows that hold text rather than padding.
  let textRows: [Int32]
  /// Per row the next token of the text, nil at its end and in padding.
  let targets: [UInt32?]
  let context: Int

  init(_ sequences: [CachedSequence], context: Int) {
    tokens = TokenBatch(ids: sequences.flatMap(\.tokens), nSequences: sequences.count, nPositions: context)
    self.context = context
    var rows: [Int32] = []
    var targets: [UInt32?] = []
    for (s, sequence) in sequences.enumerated() {
      for position in 0..<context {
        if position < sequence.length { rows.append(Int32(s * context + position)) }
        targets.append(position + 1 < sequence.length ? sequence.tokens[position + 1] : nil)
      }
    }
    textRows = rows
    self.targets = targets
  }

  /// Per sequence the sum of `value` over the rows of text.
  func sumsOverText(_ value: (Int) -> Double) -> [Double] {
    var sums = [Double](repeating: 0, count: tokens.nSequences)
    for row in textRows { sums[Int(row) / context] += value(Int(row)) }
    return sums
  }

  /// Per sequence the sum of `value` over the rows that predict a next token, which it is given.
  func sumsOverScored(_ value: (Int, UInt32) -> Double) -> [Double] {
    var sums = [Double](repeating: 0, count: tokens.nSequences)
    for (row, target) in targets.enumerated() {
      if let target { sums[row / context] += value(row, target) }
    }
    return sums
  }
}

/// Σ‖x − mean‖² over rows that come batch by batch, with sums taken around a guess of the mean so that no digits are
/// lost when the mean is large.
struct RunningVariance {
  private let center: [Double]
  private var sums: [Double]
  private var squares = 0.0
  private var count = 0

  init(around center: [Double]) {
    self.center = center
    sums = [Double](repeating: 0, count: center.count)
  }

  /// Adds the rows named.
  mutating func add(_ values: borrowing Matrix, rows: [Int32]) {
    let width = center.count
    values.withSpan { values in
      for row in rows {
        let first = Int(row) * width
        for i in 0..<width {
          let difference = Double(values[first + i]) - center[i]
          sums[i] += difference
          squares += difference * difference
        }
      }
    }
    count += rows.count
  }

  private var total: Double { squares - sums.reduce(0) { $0 + $1 * $1 } / Double(max(1, count)) }

  /// Σ‖x − mean‖² / rows.
  var perRow: Double { total / Double(max(1, count)) }
}
