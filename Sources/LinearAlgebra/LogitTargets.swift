import Foundation

// V vocabulary, Z = Σ e^(x − maximum) of a row of logits x.

/// Which probabilities of a row are kept.
package enum TargetSelection: Sendable, Equatable {
  /// The k largest.
  case topK(Int)
  /// The fewest that leave at most this much of the mass, but no more than `cap`.
  case mass(Double, cap: Int)

  fileprivate var most: Int {
    switch self {
    case .topK(let k): k
    case .mass(_, let cap): cap
    }
  }
}

/// The largest next-token probabilities of some rows, with what is left of each distribution.
///
/// Row i is entries `range(of: i)` of `tokens` and `logProbabilities`, by descending logit, of equal ones the lower
/// token first. A row whose logits are not finite has no entries and NaN as tail mass and entropy.
package struct TargetRows: Sendable {
  /// Entries there is room for in each row.
  package let capacity: Int
  package fileprivate(set) var counts: [Int32]
  package fileprivate(set) var tokens: [UInt32]
  package fileprivate(set) var logProbabilities: [Float]
  /// Probability of all tokens that are not listed, summed over them (not 1 − the rest: tiny tails keep their digits).
  package fileprivate(set) var tailMasses: [Float]
  /// −Σ p log p over the whole vocabulary, nats.
  package fileprivate(set) var entropies: [Float]

  package var rows: Int { counts.count }
  package func range(of row: Int) -> Range<Int> { row * capacity..<row * capacity + Int(counts[row]) }
}

/// Memory of `selectTargets`, per worker; keep one and pass it to every call.
package final class TargetScratch {
  fileprivate var maxima: [UnsafeMutablePointer<Float>] = []
  fileprivate var keys: [UnsafeMutablePointer<UInt64>] = []
  private var columns = 0

  package init() {}
  deinit { free() }

  private func free() {
    for pointer in maxima { pointer.deallocate() }
    for pointer in keys { pointer.deallocate() }
  }

  fileprivate func reserve(workers: Int, columns: Int) {
    if maxima.count >= workers && self.columns >= columns { return }
    free()
    self.columns = columns
    maxima = (0..<workers).map { _ in .allocate(capacity: columns + 16) }
    // One key per logit, in case all are equal.
    keys = (0..<workers).map { _ in .allocate(capacity: columns + 16) }
  }
}

/// Selects what a logit policy keeps of each row.
///
/// Per row: maxima of groups of logits, of which the k-th largest is a lower bound of the k-th largest logit; one pass
/// that sums all below the bound and lists the rest, a few more than k; quickselect on the list.
///
/// - Parameter logits: [R, V], finite.
package func selectTargets(_ logits: Strip, _ selection: TargetSelection, scratch: TargetScratch) -> TargetRows {
  let (n, v) = (logits.rows, logits.columns)
  let capacity = min(selection.most, v)
  precondition(capacity > 0, "selecting \(selection) of \(v)")
  scratch.reserve(workers: Threads.count, columns: v)
  let (maxima, keys) = (Shared(scratch.maxima), Shared(scratch.keys))
  var result = TargetRows(
    capacity: capacity, counts: [Int32](repeating: 0, count: n), tokens: [UInt32](repeating: 0, count: n * capacity),
    logProbabilities: [Float](repeating: 0, count: n * capacity), tailMasses: [Float](repeating: .nan, count: n),
    entropies: [Float](repeating: .nan, count: n))
  result.counts.withUnsafeMutableBufferPointer { counts in
    result.tokens.withUnsafeMutableBufferPointer { tokens in
      result.logProbabilities.withUnsafeMutableBufferPointer { logProbabilities in
        result.tailMasses.withUnsafeMutableBufferPointer { tails in
          result.entropies.withUnsafeMutableBufferPointer { entropies in
            let out = Shared((counts, tokens, logProbabilities, tails, entropies))
            Threads.forEach(n) { worker, i in
              let (counts, tokens, logProbabilities, tails, entropies) = out.value
              let list = keys.value[worker]
              let row = UnsafePointer(logits.row(i))
              guard let found = select(row, v, selection, capacity, maxima.value[worker], list) else { return }
              counts[i] = Int32(found.count)
              tails[i] = Float(found.tail)
              entropies[i] = Float(found.entropy)
              for place in 0..<found.count {
                let token = UInt32(truncatingIfNeeded: ~list[place])
                tokens[i * capacity + place] = token
                logProbabilities[i * capacity + place] = Float(Double(row[Int(token)]) - found.logSumExp)
              }
            }
          }
        }
      }
    }
  }
  return result
}

/// log Σ eˣ and entropy (nats) of every row of [R, V] logits; NaN for a row that is not finite.
package func logSumExps(_ logits: Strip) -> (logSumExps: [Double], entropies: [Float]) {
  let (n, v) = (logits.rows, logits.columns)
  var sums = [Double](repeating: .nan, count: n)
  var entropies = [Float](repeating: .nan, count: n)
  sums.withUnsafeMutableBufferPointer { sums in
    entropies.withUnsafeMutableBufferPointer { entropies in
      let out = Shared((sums, entropies))
      Threads.forEach(n) { i in
        let row = UnsafePointer(logits.row(i))
        var unused = 0
        let top = largest(row, v)
        let (z, weighted) = scan(row, v, top: top, from: .infinity, nil, &unused)
        guard top.isFinite, weighted.isFinite else { return }
        out.value.0[i] = Double(top) + log(z)
        out.value.1[i] = Float(max(0, log(z) - weighted / z))
      }
    }
  }
  return (sums, entropies)
}

private struct Selected {
  var count: Int
  var tail: Double
  var entropy: Double
  var logSumExp: Double
}

/// Leaves the keys of the selected logits at the front of `keys`, in descending order. nil if a logit is not finite.
private func select(
  _ row: UnsafePointer<Float>, _ v: Int, _ selection: TargetSelection, _ most: Int,
  _ maxima: UnsafeMutablePointer<Float>, _ keys: UnsafeMutablePointer<UInt64>
) -> Selected? {
  if case .mass(let r, _) = selection, most > 256 {
    // Most rows need few: the longer way is for those that these do not satisfy.
    guard let few = select(row, v, selection, 128, maxima, keys) else { return nil }
    if few.tail <= r { return few }
  }
  let (top, bound) = bounds(row, v, k: most, maxima, keys)
  guard top.isFinite else { return nil }
  var n = 0
  let (below, weighted) = scan(row, v, top: top, from: bound, keys, &n)
  guard weighted.isFinite else { return nil }
  var z = below
  for i in 0..<n { z += weight(keys[i], top) }
  var result = Selected(count: most, tail: 0, entropy: max(0, log(z) - weighted / z), logSumExp: Double(top) + log(z))
  switch selection {
  case .topK:
    if n > most { selectLargest(keys, count: n, k: most) }
    result.tail = rest(keys, most..<n, top, below) / z
  case .mass(let r, _):
    // Ever more of the largest, until the rest is small enough.
    var (taken, left) = (0, n)
    repeat {
      let next = min(most, max(32, 4 * taken))
      if left > next - taken { selectLargest(keys + taken, count: left, k: next - taken) }
      (taken, left) = (next, n - next)
      result.tail = rest(keys, taken..<n, top, below) / z
    } while taken < most && result.tail > r
    result.count = taken
  }
  sortDescending(keys, count: result.count)
  if case .mass(let r, _) = selection {
    while result.count > 1 {
      let more = result.tail + weight(keys[result.count - 1], top) / z
      if more > r { break }
      (result.tail, result.count) = (more, result.count - 1)
    }
  }
  return result
}

private func rest(_ keys: UnsafePointer<UInt64>, _ range: Range<Int>, _ top: Float, _ below: Double) -> Double {
  range.reduce(below) { $0 + weight(keys[$1], top) }
}

/// The largest logit, and a bound that at least k of the logits reach.
private func bounds(
  _ row: UnsafePointer<Float>, _ v: Int, k: Int, _ maxima: UnsafeMutablePointer<Float>,
  _ keys: UnsafeMutablePointer<UInt64>
) -> (top: Float, bound: Float) {
  let vectors = v / 16
  // With four groups per wanted logit the list is about 15 % longer than it must be, with two 39 %.
  let groups = min(vectors, ((k > 256 ? 2 : 4) * k + 15) / 16)
  guard groups * 16 >= k else { return (largest(row, v), -.infinity) }
  for group in 0..<groups { maxima.store(row.lanes(at: group * 16), at: group * 16) }
  for start in stride(from: groups, to: vectors, by: groups) {
    for vector in start..<min(vectors, start + groups) {
      let place = (vector - start) * 16
      maxima.store(larger(maxima.lanes(at: place), row.lanes(at: vector * 16)), at: place)
    }
  }
  var top = maxima[0]
  for i in 0..<groups * 16 {
    top = max(top, maxima[i])
    keys[i] = key(maxima[i], 0)
  }
  for i in vectors * 16..<v { top = max(top, row[i]) }
  selectLargest(keys, count: groups * 16, k: k)
  var smallest = keys[0]
  for i in 1..<k { smallest = min(smallest, keys[i]) }
  return (top, value(smallest))
}

func largest(_ row: UnsafePointer<Float>, _ v: Int) -> Float {
  let whole = v & ~15
  // Four at a time: one would wait for each comparison.
  let blocks = v & ~63
  var best = Lanes(repeating: -.infinity)
  var (second, third, fourth) = (best, best, best)
  for i in stride(from: 0, to: blocks, by: 64) {
    best = larger(best, row.lanes(at: i))
    second = larger(second, row.lanes(at: i + 16))
    third = larger(third, row.lanes(at: i + 32))
    fourth = larger(fourth, row.lanes(at: i + 48))
  }
  best = larger(larger(best, second), larger(third, fourth))
  for i in stride(from: blocks, to: whole, by: 16) { best = larger(best, row.lanes(at: i)) }
  var top = best.max()
  for i in whole..<v { top = max(top, row[i]) }
  return top
}

/// Lists the logits from `bound` on as keys; returns Σ e^(x − top) over the others and Σ e^(x − top)·(x − top) over all,
/// the latter not finite if a logit is not.
@inline(__always)
private func scan(
  _ row: UnsafePointer<Float>, _ v: Int, top: Float, from bound: Float, _ keys: UnsafeMutablePointer<UInt64>?,
  _ n: inout Int
) -> (below: Double, weighted: Double) {
  let whole = v & ~15
  let shift = Lanes(repeating: top)
  var (below, weighted) = (0.0, 0.0)
  // Sums of 64 vectors in f32, these in f64.
  for block in stride(from: 0, to: whole, by: 1024) {
    var (s, t) = (Lanes.zero, Lanes.zero)
    for i in stride(from: block, to: min(whole, block + 1024), by: 16) {
      let x = row.lanes(at: i)
      let d = x - shift
      let e = exp(d)
      t.addProduct(e, d)
      let mask = x .>= bound
      s += e.replacing(with: 0, where: mask)
      if let keys, any(mask) {
        var bits = bitMask(mask)
        while bits != 0 {
          let lane = bits.trailingZeroBitCount
          keys[n] = key(row[i + lane], i + lane)
          n += 1
          bits &= bits &- 1
        }
      }
    }
    below += Double(s.total)
    weighted += Double(t.total)
  }
  for i in whole..<v {
    let d = Double(row[i]) - Double(top)
    let e = exp(d)
    weighted += e * d
    if let keys, row[i] >= bound {
      keys[n] = key(row[i], i)
      n += 1
    } else {
      below += e
    }
  }
  return (below, weighted)
}

/// A logit and its token as one integer that orders by logit, of equal logits the lower token above.
@inline(__always) private func key(_ value: Float, _ index: Int) -> UInt64 {
  // Adding zero makes -0 into +0, which it must equal.
  let bits = (value + 0).bitPattern
  let ordered = bits >> 31 == 0 ? bits | 0x8000_0000 : ~bits
  return UInt64(ordered) << 32 | UInt64(~UInt32(truncatingIfNeeded: index))
}
@inline(__always) private func value(_ key: UInt64) -> Float {
  let ordered = UInt32(key >> 32)
  return Float(bitPattern: ordered >> 31 == 1 ? ordered & 0x7FFF_FFFF : ~ordered)
}
/// e^(x − top)
@inline(__always) private func weight(_ key: UInt64, _ top: Float) -> Double {
  exp(Double(value(key)) - Double(top))
}
