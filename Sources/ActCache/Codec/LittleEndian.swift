import Memory

/// Integers at any offset of borrowed bytes, least significant byte first.
extension RawSpan {
  /// nil past the end.
  func u32(at offset: Int) -> UInt32? {
    guard offset >= 0, byteCount >= 4, offset <= byteCount - 4 else { return nil }
    return UInt32(littleEndian: unsafe unsafeLoadUnaligned(fromByteOffset: offset, as: UInt32.self))
  }

  /// nil past the end.
  func u64(at offset: Int) -> UInt64? {
    guard offset >= 0, byteCount >= 8, offset <= byteCount - 8 else { return nil }
    return UInt64(littleEndian: unsafe unsafeLoadUnaligned(fromByteOffset: offset, as: UInt64.self))
  }

  func u8(at offset: Int) -> UInt8? {
    guard offset >= 0, offset < byteCount else { return nil }
    return unsafe unsafeLoad(fromByteOffset: offset, as: UInt8.self)
  }

  /// Lends the bytes as the f32 numbers they are, which must be at their natural alignment.
  func withFloats<R>(_ body: (Span<Float>) throws -> R) rethrows -> R {
    try unsafe withUnsafeBytes { bytes in
      let address = UInt(bitPattern: bytes.baseAddress)
      precondition(byteCount % 4 == 0 && address % 4 == 0, "\(byteCount) bytes at \(address) are no f32")
      return try unsafe body(bytes.bindMemory(to: Float.self).span)
    }
  }

  /// A copy of the bytes.
  func bytes() -> [UInt8] { unsafe withUnsafeBytes { unsafe [UInt8]($0) } }
}

extension Array where Element == UInt8 {
  mutating func append(u32 value: UInt32) { for k in 0..<4 { append(UInt8(truncatingIfNeeded: value >> (8 * k))) } }
  mutating func append(u64 value: UInt64) { for k in 0..<8 { append(UInt8(truncatingIfNeeded: value >> (8 * k))) } }

  /// Lends the bytes as a raw span.
  func withRawSpan<R, E: Error>(_ body: (RawSpan) throws(E) -> R) throws(E) -> R {
    try body(unsafe span.bytes)
  }
}

extension MutableRawSpan {
  /// Overwrites all bytes with those of `source`, which must be as many.
  mutating func copy(from source: RawSpan) {
    precondition(byteCount == source.byteCount, "\(source.byteCount) bytes into \(byteCount)")
    unsafe withUnsafeMutableBytes { target in
      unsafe source.withUnsafeBytes { unsafe target.copyMemory(from: $0) }
    }
  }
}
