/// The merges of a byte-pair encoding: which pairs of neighbouring tokens join, in what order, and into what.
struct MergeTable: Sendable {
  struct Merge: Equatable {
    /// Lower ranks merge first; `noRank` where the pair does not merge.
    var rank: UInt32
    var id: UInt32
  }

  static let noRank = UInt32.max
  static let none = Merge(rank: noRank, id: 0)

  private struct Slot {
    var pair: UInt64
    var merge: Merge
  }

  /// Open addressing by the hash of the pair. A power of two, at most half full.
  private var slots: [Slot]
  private var shift: UInt64
  private(set) var count = 0
  /// Ids are below 2²⁸, so no pair has this key.
  private static let free = UInt64.max

  init(minimumCapacity: Int = 0) {
    var bits: UInt64 = 4
    while 1 << bits < minimumCapacity * 2 { bits += 1 }
    slots = [Slot](repeating: Slot(pair: Self.free, merge: Self.none), count: 1 << bits)
    shift = 64 - bits
  }

  @inline(__always)
  private func home(_ pair: UInt64) -> Int { Int(truncatingIfNeeded: (pair &* 0x9E37_79B9_7F4A_7C15) &>> shift) }

  @inline(__always)
  func lookUp(_ left: UInt32, _ right: UInt32) -> Merge {
    let pair = UInt64(left) << 32 | UInt64(right)
    let mask = slots.count - 1
    var slot = home(pair)
    while true {
      let found = slots[slot]
      if found.pair == pair { return found.merge }
      if found.pair == Self.free { return Self.none }
      slot = (slot + 1) & mask
    }
  }

  /// Adds a merge, or replaces that of the same pair.
  mutating func insert(_ left: UInt32, _ right: UInt32, rank: UInt32, id: UInt32) {
    if (count + 1) * 2 > slots.count { grow() }
    place(Slot(pair: UInt64(left) << 32 | UInt64(right), merge: Merge(rank: rank, id: id)))
  }

  private mutating func place(_ entry: Slot) {
    let mask = slots.count - 1
    var slot = home(entry.pair)
    while slots[slot].pair != Self.free && slots[slot].pair != entry.pair { slot = (slot + 1) & mask }
    if slots[slot].pair == Self.free { count += 1 }
    slots[slot] = entry
  }

  private mutating func grow() {
    let old = slots
    slots = [Slot](repeating: Slot(pair: Self.free, merge: Self.none), count: old.count * 2)
    shift -= 1
    count = 0
    for entry in old where entry.pair != Self.free { place(entry) }
  }

  /// All merges by rank, then pair: a canonical order.
  func sorted() -> [(left: UInt32, right: UInt32, merge: Merge)] {
    slots.filter { $0.pair != Self.free }
      .sorted { ($0.merge.rank, $0.pair) < ($1.merge.rank, $1.pair) }
      .map { (UInt32($0.pair >> 32), UInt32(truncatingIfNeeded: $0.pair), $0.merge) }
  }
}
