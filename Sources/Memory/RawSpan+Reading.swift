extension RawSpan {
  /// The byte at `offset`; checked.
  public func byte(at offset: Int) -> UInt8 { unsafe unsafeLoad(fromByteOffset: offset, as: UInt8.self) }

  /// A little-endian integer at `offset`, of any alignment; checked.
  public func integer<I: FixedWidthInteger & BitwiseCopyable>(at offset: Int, as type: I.Type) -> I {
    I(littleEndian: unsafe unsafeLoadUnaligned(fromByteOffset: offset, as: I.self))
  }

  /// A copy of some bytes; checked.
  public func bytes(_ range: Range<Int>) -> [UInt8] {
    unsafe extracting(range).withUnsafeBytes { unsafe [UInt8]($0) }
  }
}
