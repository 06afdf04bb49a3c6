/// Keeps, for each of some rows, the k largest positive numbers of a stream of tiles, in one pass.
///
/// A row keeps up to 2k candidates above its threshold, in the order in which they came; when they are full, the k-th
/// largest becomes the new threshold and the rest is dropped, so after the first tiles nearly all numbers are skipped, 64
/// at a time. The first tile starts from a lower bound of the k-th largest of all, taken from the maxima of 128 groups.
///
/// Of equal values the lower index wins: it came earlier.
final class TopKSelector {
  private let k: Int
  private let capacity: Int
  private let values: UnsafeMutablePointer<Float>
  private let latents: UnsafeMutablePointer<Int32>
  private let counts: UnsafeMutablePointer<Int>
  private let thresholds: UnsafeMutablePointer<Float>

  /// - Parameter n: how many numbers a row will be shown.
  init(rows: Int, k: Int, of n: Int) {
    self.k = k
    // More than n there cannot be; 64 may be added at a time, with three places behind them.
    capacity = min(2 * k, n) + 68
    values = .allocate(capacity: rows * capacity)
    latents = .allocate(capacity: rows * capacity)
    counts = .allocate(capacity: rows)
    counts.initialize(repeating: 0, count: rows)
    thresholds = .allocate(capacity: rows)
    thresholds.initialize(repeating: 0, count: rows)
  }

  deinit {
    values.deallocate()
    latents.deallocate()
    counts.deallocate()
    thresholds.deallocate()
  }

  /// Adds the numbers `preActs[i] + bias[i]`, whose indices are `first + i`. Tiles come in ascending order.
  func add(_ preActs: UnsafePointer<Float>, bias: UnsafePointer<Float>, count: Int, first: Int, row: Int) {
    let (values, latents) = (values + row * capacity, latents + row * capacity)
    var kept = counts[row]
    var threshold = thresholds[row]
    if first == 0, k <= 64, count >= 2 * k {
      threshold = max(threshold, groupBound(preActs, bias: bias, count: count))
    }
    // Equal to the threshold is kept on the first tile (it is the bound itself); later ones have a higher index than those
    // that set the threshold and lose the tie.
    var least = first == 0 ? max(threshold, Float.leastNonzeroMagnitude) : threshold.nextUp
    for i in stride(from: 0, to: count, by: 64) {
      let found = bits(at: i, count: min(64, count - i), areFew: first > 0) {
        preActs.lanes(at: $0) + bias.lanes(at: $0) .>= least
      } isOneWanted: {
        preActs[$0] + bias[$0] >= least
      }
      if found == 0 { continue }
      kept = append(found, first: first &+ i, { preActs[i &+ $0] + bias[i &+ $0] }, to: latents, values, at: kept)
      if kept > capacity &- 68 {
        threshold = keepLargest(values, latents, count: kept, from: threshold)
        kept = k
        least = first == 0 ? threshold : threshold.nextUp
      }
    }
    counts[row] = kept
    thresholds[row] = threshold
  }

  /// Writes the row's latents, ascending, and their values; returns how many (at most k). The row is free for another one.
  func finish(row: Int, latents: UnsafeMutablePointer<Int32>, values: UnsafeMutablePointer<Float>) -> Int {
    let (mine, myLatents) = (self.values + row * capacity, self.latents + row * capacity)
    var kept = counts[row]
    if kept > k {
      _ = keepLargest(mine, myLatents, count: kept, from: thresholds[row])
      kept = k
    }
    latents.update(from: myLatents, count: kept)
    values.update(from: mine, count: kept)
    (counts[row], thresholds[row]) = (0, 0)
    return kept
  }

  /// A lower bound of the k-th largest of all: at least k of the maxima of 128 disjoint groups are as large. Found by
  /// halving the interval of values, a few vector comparisons at a time: a selection by exchanges took a third of the
  /// step at d 64, n 512.
  private func groupBound(_ values: UnsafePointer<Float>, bias: UnsafePointer<Float>, count: Int) -> Float {
    withUnsafeTemporaryAllocation(of: Lanes.self, capacity: 8) { maxima in
      let maxima = maxima.baseAddress!
      let vectors = count / 16
      let groups = min(8, vectors)
      var all = Lanes.zero
      for group in 0..<groups {
        var best = Lanes.zero
        var vector = group
        while vector < vectors {
          let sum = values.lanes(at: vector * 16) + bias.lanes(at: vector * 16)
          best.replace(with: sum, where: sum .> best)
          vector += groups
        }
        maxima[group] = best
        all.replace(with: best, where: best .> all)
      }
      var (low, high): (Float, Float) = (0, all.max())
      for _ in 0..<12 {
        let middle = low + (high - low) / 2
        var tally = SIMD16<Int32>.zero
        for group in 0..<groups { tally &-= unsafeBitCast(maxima[group] .>= middle, to: SIMD16<Int32>.self) }
        let n = Int(tally.total)
        if n < k {
          high = middle
        } else {
          low = middle
          if n == k { break }
        }
      }
      return low
    }
  }

  /// Keeps the k largest of more than k candidates, all of which reach `bound`, in their order. Returns a number that
  /// exactly they reach, or, among equal ones, their least.
  private func keepLargest(
    _ values: UnsafeMutablePointer<Float>, _ latents: UnsafeMutablePointer<Int32>, count: Int, from bound: Float
  ) -> Float {
    let (bound, ties) = boundOfLargest(k, of: values, count: count, from: bound)
    let low = bound.bitPattern
    var tiesLeft = ties
    var place = 0
    for i in 0..<count {
      let (value, latent) = (values[i], latents[i])
      (values[place], latents[place]) = (value, latent)
      if ties == 0 {
        // 1 where the difference is not negative: as a comparison this is a branch that nobody can foresee.
        place &+= Int(~(value.bitPattern &- low) >> 31)
      } else if value >= bound {
        let isTie = value == bound
        place += isTie && tiesLeft == 0 ? 0 : 1
        if isTie && tiesLeft > 0 { tiesLeft -= 1 }
      }
    }
    return bound
  }
}

/// A bound that exactly the k largest of more than k positive numbers reach, and 0; or, where equal ones make that
/// impossible, the k-th largest, and how many of its equals belong to the k.
///
/// - Parameter low: what at least k of the numbers are known to reach, not negative. Smaller numbers may be among them.
func boundOfLargest(
  _ k: Int, of values: UnsafePointer<Float>, count: Int, from low: Float
) -> (bound: Float, ties: Int) {
  let whole = count & ~15
  // What a vector past the last whole one would see: zeros, which count nowhere.
  var last = Lanes.zero
  for i in whole..<count { last[i - whole] = values[i] }
  func reaching(_ bound: Float) -> Int {
    var tally = SIMD16<Int32>.zero
    var i = 0
    while i < whole {
      tally &-= unsafeBitCast(values.lanes(at: i) .>= bound, to: SIMD16<Int32>.self)
      i &+= 16
    }
    tally &-= unsafeBitCast(last .>= bound, to: SIMD16<Int32>.self)
    return Int(tally.total)
  }
  var best = last
  for i in stride(from: 0, to: whole, by: 16) {
    let value = values.lanes(at: i)
    best.replace(with: value, where: value .> best)
  }
  // Halving the interval of bits, in which positive floats are in order: at least k reach `low`, fewer reach `high`.
  var (low, high) = (low.bitPattern, best.max().bitPattern + 1)
  while high - low > 1 {
    let middle = low + (high - low) / 2
    let n = reaching(Float(bitPattern: middle))
    if n == k { return (Float(bitPattern: middle), 0) }
    if n > k { low = middle } else { high = middle }
  }
  return (Float(bitPattern: low), k - reaching(Float(bitPattern: high)))
}

/// Quickselect: afterwards the k largest of `keys` are the first k. Keys are distinct, or it does not matter.
func selectLargest(_ keys: UnsafeMutablePointer<UInt64>, count: Int, k: Int) {
  var low = 0
  var high = count - 1
  while low < high {
    let (a, b, c) = (keys[low], keys[(low + high) / 2], keys[high])
    let pivot = max(min(a, b), min(max(a, b), c))
    var i = low
    var j = high
    while i <= j {
      while keys[i] > pivot { i += 1 }
      while keys[j] < pivot { j -= 1 }
      if i <= j {
        (keys[i], keys[j]) = (keys[j], keys[i])
        i += 1
        j -= 1
      }
    }
    if k - 1 <= j { high = j } else if k - 1 >= i { low = i } else { return }
  }
}

/// Quicksort: `sort(by:)` would call a closure per comparison.
func sortDescending(_ keys: UnsafeMutablePointer<UInt64>, count: Int) {
  var (low, high) = (0, count - 1)
  while high - low > 24 {
    let (a, b, c) = (keys[low], keys[(low + high) / 2], keys[high])
    let pivot = max(min(a, b), min(max(a, b), c))
    var (i, j) = (low, high)
    while i <= j {
      while keys[i] > pivot { i += 1 }
      while keys[j] < pivot { j -= 1 }
      if i <= j {
        (keys[i], keys[j]) = (keys[j], keys[i])
        i += 1
        j -= 1
      }
    }
    sortDescending(keys + low, count: j - low + 1)
    low = i
  }
  if high <= low { return }
  for i in low + 1...high {
    let moving = keys[i]
    var j = i
    while j > low && keys[j - 1] < moving {
      keys[j] = keys[j - 1]
      j -= 1
    }
    keys[j] = moving
  }
}

/// Orders by value, of equal ones the lower index first; for positive values.
@inline(__always) func candidateKey(_ value: Float, _ index: Int) -> UInt64 {
  UInt64(value.bitPattern) << 32 | UInt64(~UInt32(truncatingIfNeeded: index))
}
