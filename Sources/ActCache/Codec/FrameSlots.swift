/// The frames of one stream in a window: each in a slot of memory of its own, or lent by a mapping.
@safe final class FrameSlots: @unchecked Sendable {
  // Sendable: each slot is written by one thread, and read by those who waited for it.
  let count: Int
  private let slotByteCount: Int
  private let memory: FrameBuffer
  /// Where the content of each slot's frame begins.
  private let bases: UnsafeMutablePointer<UnsafeRawPointer?>

  /// - Parameter isLent: all frames will be lent, no memory is needed.
  init(count: Int, slotByteCount: Int, isLent: Bool) {
    self.count = count
    self.slotByteCount = slotByteCount
    memory = FrameBuffer(count: isLent ? 0 : count * slotByteCount)
    unsafe bases = .allocate(capacity: max(1, count))
    unsafe bases.initialize(repeating: nil, count: max(1, count))
  }

  deinit { unsafe bases.deallocate() }

  /// Lends the memory of a slot, `byteCount` bytes, to be filled.
  func fill<E: Error>(_ slot: Int, byteCount: Int, _ body: (inout MutableRawSpan) throws(E) -> Void) throws(E) {
    precondition(slot >= 0 && slot < count && byteCount <= slotByteCount, "\(byteCount) bytes in slot \(slot)")
    let start = slot * slotByteCount
    try memory.withMutableBytes(start..<(start + byteCount)) { bytes throws(E) in
      try body(&bytes)
      unsafe bytes.withUnsafeMutableBytes { content in unsafe bases[slot] = UnsafeRawPointer(content.baseAddress) }
    }
  }

  /// Puts bytes that lie elsewhere into a slot. They must stay until the slot is filled again or not read any more: the
  /// loader of windows keeps every shard open that it has read from.
  func lend(_ content: RawSpan, to slot: Int) {
    precondition(slot >= 0 && slot < count && content.byteCount <= slotByteCount, "slot \(slot) of \(count)")
    unsafe content.withUnsafeBytes { content in unsafe bases[slot] = content.baseAddress }
  }

  /// Where slot `slot` begins. For `ValueCoding`.
  @inline(__always) func base(_ slot: Int) -> UnsafeRawPointer? {
    precondition(slot >= 0 && slot < count, "slot \(slot) of \(count)")
    return unsafe bases[slot]
  }
}
