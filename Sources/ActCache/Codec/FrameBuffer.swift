import Memory

/// Memory that frames are read or decoded into: begins a page, is not initialised, and is used again and again.
@safe final class FrameBuffer: @unchecked Sendable {
  // Sendable: threads write to ranges that do not overlap, and a range is read by those who waited for its writer.
  let count: Int
  private let base: UnsafeMutableRawPointer

  init(count: Int) {
    self.count = count
    unsafe base = .allocate(byteCount: max(1, count), alignment: FrameSize.page)
  }

  /// No memory.
  static let none = FrameBuffer(count: 0)

  deinit { unsafe base.deallocate() }

  /// Lends bytes that nobody else uses meanwhile.
  func withMutableBytes<R, E: Error>(
    _ range: Range<Int>, _ body: (inout MutableRawSpan) throws(E) -> R
  ) throws(E) -> R {
    precondition(range.lowerBound >= 0 && range.upperBound <= count, "bytes \(range) of \(count)")
    let part = unsafe UnsafeMutableRawBufferPointer(start: base + range.lowerBound, count: range.count)
    var bytes = unsafe part.mutableBytes
    return try body(&bytes)
  }

  /// Lends bytes that have been written.
  func withBytes<R, E: Error>(_ range: Range<Int>, _ body: (RawSpan) throws(E) -> R) throws(E) -> R {
    precondition(range.lowerBound >= 0 && range.upperBound <= count, "bytes \(range) of \(count)")
    return try body(unsafe UnsafeRawBufferPointer(start: base + range.lowerBound, count: range.count).bytes)
  }
}
