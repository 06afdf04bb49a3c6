/// Token texts by id and ids by text, as bytes.
struct TokenTable: Sendable {
  /// All texts, one after the other.
  private var arena: [UInt8] = []
  /// Where the text of each id starts in `arena`; -1 for an id without a token.
  private var starts: [Int32] = []
  private var lengths: [Int32] = []
  /// Open addressing by the hash of the text: id + 1, or 0 where free. A power of two, at most half full.
  private var slots: [UInt32] = []
  private(set) var count = 0

  /// One more than the largest id.
  var idLimit: Int { starts.count }

  init(minimumCapacity: Int = 0) {
    var capacity = 16
    while capacity < minimumCapacity * 2 { capacity *= 2 }
    slots = [UInt32](repeating: 0, count: capacity)
  }

  static func hash(_ bytes: borrowing Span<UInt8>, _ range: Range<Int>) -> UInt64 {
    var value: UInt64 = 0xCBF2_9CE4_8422_2325
    for index in range { value = (value ^ UInt64(bytes[index])) &* 0x100_0000_01B3 }
    return value ^ value >> 29
  }

  func contains(_ id: UInt32) -> Bool { id < UInt32(starts.count) && starts[Int(id)] >= 0 }

  func text(_ id: UInt32) -> ArraySlice<UInt8>? {
    guard contains(id) else { return nil }
    let start = Int(starts[Int(id)])
    return arena[start..<start + Int(lengths[Int(id)])]
  }

  func id(of text: borrowing Span<UInt8>, _ range: Range<Int>) -> UInt32? {
    let mask = slots.count - 1
    var slot = Int(truncatingIfNeeded: Self.hash(text, range)) & mask
    while slots[slot] != 0 {
      let id = slots[slot] - 1
      if isText(of: id, text, range) { return id }
      slot = (slot + 1) & mask
    }
    return nil
  }

  func id(of text: [UInt8]) -> UInt32? { id(of: text.span, 0..<text.count) }

  func id(of text: String) -> UInt32? { id(of: Array(text.utf8)) }

  private func isText(of id: UInt32, _ text: borrowing Span<UInt8>, _ range: Range<Int>) -> Bool {
    guard Int(lengths[Int(id)]) == range.count else { return false }
    let start = Int(starts[Int(id)])
    for offset in 0..<range.count where arena[start + offset] != text[range.lowerBound + offset] { return false }
    return true
  }

  /// What stood in the way of `insert`.
  enum Conflict: Error, Equatable {
    /// The text already has this id.
    case text(UInt32)
    /// The id already has a text.
    case id
  }

  /// Adds a token. `id` must be below 2²⁸, checked by the caller.
  mutating func insert(_ text: [UInt8], id: UInt32) throws(Conflict) {
    if let other = self.id(of: text) { throw .text(other) }
    if contains(id) { throw .id }
    while starts.count <= Int(id) {
      starts.append(-1)
      lengths.append(0)
    }
    starts[Int(id)] = Int32(arena.count)
    lengths[Int(id)] = Int32(text.count)
    arena.append(contentsOf: text)
    count += 1
    if count * 2 > slots.count { grow() }
    place(id)
  }

  private mutating func grow() {
    slots = [UInt32](repeating: 0, count: slots.count * 2)
    for id in 0..<UInt32(starts.count) where starts[Int(id)] >= 0 { place(id) }
  }

  private mutating func place(_ id: UInt32) {
    let mask = slots.count - 1
    let start = Int(starts[Int(id)])
    var slot = Int(truncatingIfNeeded: Self.hash(arena.span, start..<start + Int(lengths[Int(id)]))) & mask
    while slots[slot] != 0 {
      // The last `place` of a growing table has already put the newest id in.
      if slots[slot] == id + 1 { return }
      slot = (slot + 1) & mask
    }
    slots[slot] = id + 1
  }
}
