/// Keeps, for each of some rows, the k largest positive numbers of a stream of tiles, in one pass.
///
/// A row keeps up to 2k + 16 candidates above its threshold; when they are full, the k-th largest becomes the new
/// threshold and the rest is dropped, so after the first tiles nearly every vector is skipped by one comparison.
/// The first tile starts from the k-th largest of 128 group maxima, a lower bound of the k-th largest of all.
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
    var i = 0
    while i + 16 <= count {
      let sum = values.lanes(at: i) + bias.lanes(at: i)
      // Equal to the threshold is kept on the first tile (it is the bound itself); later ones have a higher index
      // than those that set the threshold and lose the tie.
      let mask = first == 0 ? (sum .>= threshold) .& (sum .> 0) : sum .> threshold
      if any(mask) {
        var bits = bitMask(mask)
        while bits != 0 {
          let lane = bits.trailingZeroBitCount
          mine[kept] = key(values[i + lane] + bias[i + lane], first + i + lane)
          kept += 1
          bits &= bits &- 1
        }
        if kept > capacity - 16 {
          keepLargest(mine, count: kept)
          kept = k
          threshold = value(mine[k - 1])
        }
      }
      i += 16
    }
    while i < count {
      let sum = values[i] + bias[i]
      if sum > 0 && (sum > threshold || (first == 0 && sum == threshold)) {
        mine[kept] = key(sum, first + i)
        kept += 1
        if kept > capacity - 16 {
          keepLargest(mine, count: kept)
          kept = k
          threshold = value(mine[k - 1])
        }
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

  /// The k-th largest of the maxima of 128 disjoint groups: at least k numbers are as large.
  private func groupBound(_ values: UnsafePointer<Float>, bias: UnsafePointer<Float>, count: Int) -> Float {
    withUnsafeTemporaryAllocation(of: UInt64.self, capacity: 128) { keys in
      let base = keys.baseAddress!
      var used = 0
      let vectors = count / 16
      let groups = min(8, vectors)
      for group in 0..<groups {
        var best = Lanes(repeating: 0)
        var vector = group
        while vector < vectors {
          let sum = values.lanes(at: vector * 16) + bias.lanes(at: vector * 16)
          best.replace(with: sum, where: sum .> best)
          vector += groups
        }
        for lane in 0..<16 {
          base[used] = key(best[lane], 0)
          used += 1
        }
      }
      if used < k { return 0 }
      selectLargest(base, count: used, k: k)
      var smallest = base[0]
      for i in 1..<max(k, 1) where base[i] < smallest { smallest = base[i] }
      return value(smallest)
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

@inline(__always) private func key(_ value: Float, _ index: Int) -> UInt64 {
  UInt64(value.bitPattern) << 32 | UInt64(~UInt32(truncatingIfNeeded: index))
}
@inline(__always) private func value(_ key: UInt64) -> Float { Float(bitPattern: UInt32(key >> 32)) }
@inline(__always) private func index(_ key: UInt64) -> UInt32 { ~UInt32(truncatingIfNeeded: key) }
