/// Keeps, for each of some rows, the k largest positive numbers of a stream of tiles, in one pass.
///
/// A row keeps up to 2k + 16 candidates above its threshold; when they are full, the k-th largest becomes the new
/// threshold and the rest is dropped, so after the first tiles nearly every vector is skipped by one comparison.
/// The first tile starts from a lower bound of the k-th largest of all, taken from the maxima of 128 groups.
///
/// A candidate is one integer, `value bits << 32 | ~index`: positive floats order as their bits, and of equal
/// values the lower index wins.
final class TopKSelector {
  private let k: Int
  private let capacity: Int
  private let candidates: UnsafeMutablePointer<UInt64>
  private let counts: UnsafeMutablePointer<Int>
  private let thresholds: UnsafeMutablePointer<Float>

  init(rows: Int, k: Int) {
    self.k = k
    capacity = 2 * k + 16
    candidates = .allocate(capacity: rows * capacity)
    counts = .allocate(capacity: rows)
    counts.initialize(repeating: 0, count: rows)
    thresholds = .allocate(capacity: rows)
    thresholds.initialize(repeating: 0, count: rows)
  }

  deinit {
    candidates.deallocate()
    counts.deallocate()
    thresholds.deallocate()
  }

  /// Adds the numbers `values[i] + bias[i]`, whose indices are `first + i`. Tiles come in ascending order.
  func add(_ values: UnsafePointer<Float>, bias: UnsafePointer<Float>, count: Int, first: Int, row: Int) {
    let mine = candidates + row * capacity
    var kept = counts[row]
    var threshold = thresholds[row]
    if first == 0, k <= 128, count >= 2 * k { threshold = max(threshold, groupBound(values, bias: bias, count: count)) }
    // Equal to the threshold is kept on the first tile (it is the bound itself); later ones have a higher index than those
    // that set the threshold and lose the tie.
    var least = first == 0 ? max(threshold, Float.leastNonzeroMagnitude) : threshold.nextUp
    func raiseThreshold() {
      keepLargest(mine, count: kept)
      kept = k
      threshold = value(mine[k - 1])
      least = first == 0 ? threshold : threshold.nextUp
    }
    var i = 0
    while i &+ 16 <= count {
      // Later tiles have few that are large enough: four vectors are looked at together.
      if first > 0, i &+ 64 <= count {
        var best = values.lanes(at: i) + bias.lanes(at: i)
        for vector in 1..<4 {
          let sum = values.lanes(at: i &+ 16 &* vector) + bias.lanes(at: i &+ 16 &* vector)
          best.replace(with: sum, where: sum .> best)
        }
        if bitMask(best .>= least) == 0 {
          i &+= 64
          continue
        }
      }
      let sum = values.lanes(at: i) + bias.lanes(at: i)
      var bits = bitMask(sum .>= least)
      while bits != 0 {
        let lane = bits.trailingZeroBitCount
        mine[kept] = candidateKey(values[i &+ lane] + bias[i &+ lane], first &+ i &+ lane)
        kept &+= 1
        bits &= bits &- 1
      }
      if kept > capacity &- 16 { raiseThreshold() }
      i &+= 16
    }
    while i < count {
      let sum = values[i] + bias[i]
      if sum >= least {
        mine[kept] = candidateKey(sum, first + i)
        kept += 1
        if kept > capacity - 16 { raiseThreshold() }
      }
      i += 1
    }
    counts[row] = kept
    thresholds[row] = threshold
  }

  /// Writes the row's latents, ascending, and their values; returns how many (at most k).
  func finish(row: Int, latents: UnsafeMutablePointer<Int32>, values: UnsafeMutablePointer<Float>) -> Int {
    let mine = candidates + row * capacity
    var kept = counts[row]
    if kept > k {
      keepLargest(mine, count: kept)
      kept = k
    }
    // By index: the low half is its complement. Insertion sort: k is small and the candidates nearly sorted.
    for i in 0..<kept {
      let candidate = mine[i]
      var j = i
      while j > 0 && index(mine[j - 1]) > index(candidate) {
        mine[j] = mine[j - 1]
        j -= 1
      }
      mine[j] = candidate
    }
    for i in 0..<kept {
      latents[i] = Int32(index(mine[i]))
      values[i] = value(mine[i])
    }
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
        let n = Int(tally.wrappedSum())
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

  /// Moves the k largest to the front, the smallest of them to place k - 1.
  private func keepLargest(_ keys: UnsafeMutablePointer<UInt64>, count: Int) {
    selectLargest(keys, count: count, k: k)
    var place = 0
    for i in 1..<max(k, 1) where keys[i] < keys[place] { place = i }
    (keys[place], keys[k - 1]) = (keys[k - 1], keys[place])
  }
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
@inline(__always) private func value(_ key: UInt64) -> Float { Float(bitPattern: UInt32(key >> 32)) }
@inline(__always) private func index(_ key: UInt64) -> UInt32 { ~UInt32(truncatingIfNeeded: key) }
