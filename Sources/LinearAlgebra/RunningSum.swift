import Foundation

/// What stands in a tile of logits where there is no token: below all logits, and finite, so that differences are.
let noToken: Float = -1e30

/// Σ e^x over a row of logits that comes in tiles, relative to the largest so far.
struct RunningSum {
  private(set) var top: Float = -.infinity
  /// Σ e^(x − top)
  var sum = 0.0

  /// log Σ e^x; −∞ of nothing.
  var logSum: Double { Double(top) + log(sum) }

  /// Makes `newTop` the reference if it is larger, and returns by what sums relative to the old one must be multiplied.
  @inline(__always) mutating func raise(to newTop: Float) -> Double? {
    guard newTop > top else { return nil }
    let factor = Foundation.exp(Double(top) - Double(newTop))
    top = newTop
    sum *= factor
    return factor
  }

  /// Replaces the logits of a tile by e^(x − top) and adds them.
  ///
  /// - Parameters:
  ///   - row: a multiple of 16 logits.
  ///   - weighted: Σ e^(x − top)·w over the tiles so far, `width` numbers, nil if it is not kept; follows `top`.
  @inline(__always)
  mutating func exponentiate(
    _ row: UnsafeMutablePointer<Float>, _ count: Int, weighted: UnsafeMutablePointer<Float>?, width: Int
  ) {
    let largestOfTile = largest(row, count)
    if largestOfTile == noToken {
      row.update(repeating: 0, count: count)
      return
    }
    if let factor = raise(to: largestOfTile), let weighted { multiply(weighted, by: Float(factor), count: width) }
    add(row, count)
  }

  /// The same for a row whose largest is not above `top`.
  @inline(__always) mutating func add(_ row: UnsafeMutablePointer<Float>, _ count: Int) {
    let shift = Lanes(repeating: top)
    var total = Lanes.zero
    for i in stride(from: 0, to: count, by: 16) {
      let e = expOfNonPositive(row.lanes(at: i) - shift)
      row.store(e, at: i)
      total += e
    }
    sum += Double(total.total)
  }
}
