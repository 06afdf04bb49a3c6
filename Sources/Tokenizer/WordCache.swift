/// Remembers the ids of words seen before; words repeat, so most of a text is answered from here.
///
/// Words of at most 15 bytes and 4 ids lie whole in one 32-byte slot; longer ones, up to 256 bytes, in an arena.
/// Words are compared byte by byte, never by hash alone. Full tables forget: ids never depend on the cache.
struct WordCache {
  static let longestPacked = 15
  static let longestKept = 256
  private static let mostSlots = 1 << 18
  private static let mostLong = 1 << 15

  /// A word of at most 15 bytes: the bytes in order, low byte first, and the length in the highest byte.
  struct PackedWord: Equatable {
    var low: UInt64 = 0
    var high: UInt64 = 0

    @inline(__always)
    init(_ text: borrowing Span<UInt8>, _ start: Int, _ end: Int) {
      var index = start
      var shift: UInt64 = 0
      let middle = Swift.min(end, start + 8)
      while index < middle {
        low |= UInt64(text[index]) &<< shift
        shift &+= 8
        index &+= 1
      }
      shift = 0
      while index < end {
        high |= UInt64(text[index]) &<< shift
        shift &+= 8
        index &+= 1
      }
      high |= UInt64(truncatingIfNeeded: end &- start) &<< 56
    }

    @inline(__always)
    var hash: UInt64 { Self.hash(low, high) }

    @inline(__always)
    static func hash(_ low: UInt64, _ high: UInt64) -> UInt64 {
      let mixed = (low ^ high &* 0x9E37_79B9_7F4A_7C15) &* 0xD6E8_FEB8_6659_FD93
      return mixed ^ mixed &>> 32
    }
  }

  private struct Slot {
    /// A length of 0 marks a free slot.
    var low: UInt64 = 0
    var high: UInt64 = 0
    /// Unused ids are `noID`.
    var id0 = noID
    var id1 = noID
    var id2 = noID
    var id3 = noID
  }

  private static let noID = UInt32.max

  private struct LongEntry {
    var hash: UInt64
    var key: Range<Int32>
    var ids: Range<Int32>
  }

  private var slots = [Slot](repeating: Slot(), count: 1 << 8)
  private var used = 0
  /// Entry + 1 by hash, open addressing, at most half full; 0 where free.
  private var longSlots = [UInt32](repeating: 0, count: 1 << 8)
  private var longEntries: [LongEntry] = []
  private var longKeys: [UInt8] = []
  private var longIDs: [UInt32] = []

  /// Appends the ids of `word` and returns true, if they are known.
  @inline(__always)
  func append(_ word: PackedWord, to ids: inout [UInt32]) -> Bool {
    let mask = slots.count - 1
    var slot = Int(truncatingIfNeeded: word.hash) & mask
    while true {
      let found = slots[slot]
      if found.low == word.low && found.high == word.high {
        ids.append(found.id0)
        if found.id1 != Self.noID {
          ids.append(found.id1)
          if found.id2 != Self.noID {
            ids.append(found.id2)
            if found.id3 != Self.noID { ids.append(found.id3) }
          }
        }
        return true
      }
      if found.high == 0 { return false }
      slot = (slot + 1) & mask
    }
  }

  /// Remembers 1 to 4 ids of a word that `append` did not know.
  mutating func insert(_ word: PackedWord, ids: ArraySlice<UInt32>) {
    guard !ids.isEmpty && ids.count <= 4 else { return }
    if used * 2 >= slots.count {
      if slots.count < Self.mostSlots {
        let old = slots
        slots = [Slot](repeating: Slot(), count: old.count * 4)
        for entry in old where entry.high != 0 { place(entry) }
      } else {
        slots = [Slot](repeating: Slot(), count: slots.count)
        used = 0
      }
    }
    var entry = Slot(low: word.low, high: word.high)
    let first = ids.startIndex
    entry.id0 = ids[first]
    if ids.count > 1 { entry.id1 = ids[first + 1] }
    if ids.count > 2 { entry.id2 = ids[first + 2] }
    if ids.count > 3 { entry.id3 = ids[first + 3] }
    place(entry)
    used += 1
  }

  private mutating func place(_ entry: Slot) {
    let mask = slots.count - 1
    var slot = Int(truncatingIfNeeded: PackedWord.hash(entry.low, entry.high)) & mask
    while slots[slot].high != 0 { slot = (slot + 1) & mask }
    slots[slot] = entry
  }

  /// Appends the ids of the word `text[start..<end]` and returns true, if they are known.
  func append(_ text: borrowing Span<UInt8>, _ start: Int, _ end: Int, hash: UInt64, to ids: inout [UInt32]) -> Bool {
    let mask = longSlots.count - 1
    var slot = Int(truncatingIfNeeded: hash) & mask
    while longSlots[slot] != 0 {
      let entry = longEntries[Int(longSlots[slot]) - 1]
      if entry.hash == hash && isKey(entry.key, text, start, end) {
        for index in entry.ids { ids.append(longIDs[Int(index)]) }
        return true
      }
      slot = (slot + 1) & mask
    }
    return false
  }

  private func isKey(_ key: Range<Int32>, _ text: borrowing Span<UInt8>, _ start: Int, _ end: Int) -> Bool {
    guard key.count == end - start else { return false }
    for offset in 0..<key.count where longKeys[Int(key.lowerBound) + offset] != text[start + offset] { return false }
    return true
  }

  /// Remembers the ids of a word that `append` did not know.
  mutating func insert(_ text: borrowing Span<UInt8>, _ start: Int, _ end: Int, hash: UInt64, ids: ArraySlice<UInt32>) {
    if longEntries.count >= Self.mostLong {
      longEntries.removeAll(keepingCapacity: true)
      longKeys.removeAll(keepingCapacity: true)
      longIDs.removeAll(keepingCapacity: true)
      longSlots = [UInt32](repeating: 0, count: longSlots.count)
    } else if longEntries.count * 2 >= longSlots.count {
      longSlots = [UInt32](repeating: 0, count: longSlots.count * 4)
      for index in longEntries.indices { placeLong(index) }
    }
    let keyStart = Int32(longKeys.count)
    for index in start..<end { longKeys.append(text[index]) }
    let idStart = Int32(longIDs.count)
    longIDs.append(contentsOf: ids)
    let entry = LongEntry(
      hash: hash, key: keyStart..<Int32(longKeys.count), ids: idStart..<Int32(longIDs.count))
    longEntries.append(entry)
    placeLong(longEntries.count - 1)
  }

  private mutating func placeLong(_ index: Int) {
    let mask = longSlots.count - 1
    var slot = Int(truncatingIfNeeded: longEntries[index].hash) & mask
    while longSlots[slot] != 0 { slot = (slot + 1) & mask }
    longSlots[slot] = UInt32(index + 1)
  }
}
