/// Merges the symbols of one word by rank, lowest first, leftmost first among equals: the inner loop of a
/// byte-pair encoding (Sennrich et al. 2016, algorithm 1).
///
/// Short words search the lowest rank again after each merge; long ones keep a heap of candidates over a linked
/// list, O(n log n) in the number of symbols. Both give the same ids.
struct WordMerger {
  /// Symbols of the word before `merge`, tokens after it.
  var symbols: [UInt32] = []
  /// Merge of symbols `i` and `i + 1`, for short words.
  private var candidates: [MergeTable.Merge] = []
  private var next: [Int32] = []
  private var previous: [Int32] = []
  private var heap = CandidateHeap()

  /// Above this, the heap is faster.
  static let longestScan = 48

  mutating func merge(_ merges: borrowing MergeTable, longestScan: Int = WordMerger.longestScan) {
    if symbols.count < 2 { return }
    if symbols.count <= longestScan { mergeByScan(merges) } else { mergeByHeap(merges) }
  }

  private mutating func mergeByScan(_ merges: borrowing MergeTable) {
    var count = symbols.count
    while candidates.count < count { candidates.append(MergeTable.none) }
    for index in 0..<count - 1 { candidates[index] = merges.lookUp(symbols[index], symbols[index + 1]) }
    while count > 1 {
      var best = 0
      var bestRank = candidates[0].rank
      var index = 1
      while index < count - 1 {
        if candidates[index].rank < bestRank {
          bestRank = candidates[index].rank
          best = index
        }
        index += 1
      }
      if bestRank == MergeTable.noRank { break }
      symbols[best] = candidates[best].id
      count -= 1
      index = best
      while index < count - 1 {
        symbols[index + 1] = symbols[index + 2]
        candidates[index] = candidates[index + 1]
        index += 1
      }
      if best > 0 { candidates[best - 1] = merges.lookUp(symbols[best - 1], symbols[best]) }
      if best < count - 1 { candidates[best] = merges.lookUp(symbols[best], symbols[best + 1]) }
    }
    symbols.removeLast(symbols.count - count)
  }

  private mutating func mergeByHeap(_ merges: borrowing MergeTable) {
    let count = symbols.count
    precondition(count < Int(Int32.max), "a word of \(count) symbols; at most \(Int32.max - 1) can be merged")
    next.removeAll(keepingCapacity: true)
    previous.removeAll(keepingCapacity: true)
    heap.removeAll()
    for index in 0..<count {
      next.append(index + 1 < count ? Int32(index + 1) : -1)
      previous.append(Int32(index) - 1)
      if index + 1 < count {
        let merge = merges.lookUp(symbols[index], symbols[index + 1])
        if merge.rank != MergeTable.noRank { heap.append(rank: merge.rank, position: index) }
      }
    }
    heap.order()
    let dead = UInt32.max
    while let (rank, position) = heap.removeFirst() {
      let left = symbols[position]
      if left == dead || next[position] < 0 { continue }
      let right = Int(next[position])
      let merge = merges.lookUp(left, symbols[right])
      // The pair at this position changed since the candidate was noted.
      if merge.rank != rank { continue }
      symbols[position] = merge.id
      symbols[right] = dead
      let after = Int(next[right])
      next[position] = Int32(after)
      if after >= 0 {
        previous[after] = Int32(position)
        let merge = merges.lookUp(merge.id, symbols[after])
        if merge.rank != MergeTable.noRank { heap.insert(rank: merge.rank, position: position) }
      }
      let before = Int(previous[position])
      if before >= 0 {
        let merge = merges.lookUp(symbols[before], merge.id)
        if merge.rank != MergeTable.noRank { heap.insert(rank: merge.rank, position: before) }
      }
    }
    symbols.removeAll { $0 == dead }
  }
}

/// A binary min-heap of merge candidates, ordered by rank, then position.
private struct CandidateHeap {
  /// Rank in the high half, position in the low half.
  private var keys: [UInt64] = []

  mutating func removeAll() { keys.removeAll(keepingCapacity: true) }

  /// Adds a candidate without keeping the order; `order` must follow.
  mutating func append(rank: UInt32, position: Int) {
    keys.append(UInt64(rank) << 32 | UInt64(truncatingIfNeeded: position))
  }

  mutating func order() {
    var index = keys.count / 2
    while index > 0 {
      index -= 1
      siftDown(index)
    }
  }

  mutating func insert(rank: UInt32, position: Int) {
    let key = UInt64(rank) << 32 | UInt64(truncatingIfNeeded: position)
    keys.append(key)
    var child = keys.count - 1
    while child > 0 {
      let parent = (child - 1) / 2
      if keys[parent] <= key { break }
      keys[child] = keys[parent]
      child = parent
    }
    keys[child] = key
  }

  mutating func removeFirst() -> (rank: UInt32, position: Int)? {
    guard let first = keys.first, let last = keys.popLast() else { return nil }
    if !keys.isEmpty {
      keys[0] = last
      siftDown(0)
    }
    return (UInt32(first >> 32), Int(first & 0xFFFF_FFFF))
  }

  private mutating func siftDown(_ start: Int) {
    let key = keys[start]
    var parent = start
    while true {
      var child = parent * 2 + 1
      if child >= keys.count { break }
      if child + 1 < keys.count && keys[child + 1] < keys[child] { child += 1 }
      if key <= keys[child] { break }
      keys[parent] = keys[child]
      parent = child
    }
    keys[parent] = key
  }
}
