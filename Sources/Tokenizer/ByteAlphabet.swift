/// The 256 printable characters that stand for bytes in a byte-level vocabulary.
///
/// Printable Latin-1 bytes stand for themselves; the other 68 are U+0100, U+0101, … in the order of the bytes
/// (`bytes_to_unicode` of GPT-2's encoder.py).
enum ByteAlphabet {
  /// Code point of each byte.
  static let codePoints: [UInt32] = {
    var next: UInt32 = 0x100
    return (0..<256).map { byte -> UInt32 in
      if (0x21...0x7E).contains(byte) || (0xA1...0xAC).contains(byte) || (0xAE...0xFF).contains(byte) {
        return UInt32(byte)
      }
      defer { next += 1 }
      return next
    }
  }()

  /// Byte of each code point below 0x144, or -1.
  private static let bytes: [Int16] = {
    var table = [Int16](repeating: -1, count: 0x144)
    for byte in 0..<256 { table[Int(codePoints[byte])] = Int16(byte) }
    return table
  }()

  /// The bytes that a token's text stands for, or nil if it has a character outside the alphabet.
  static func bytes(ofToken text: ArraySlice<UInt8>) -> [UInt8]? {
    var result: [UInt8] = []
    result.reserveCapacity(text.count)
    let text = Array(text)
    let span = text.span
    var index = 0
    while index < text.count {
      let (codePoint, length) = decodeUTF8(span, at: index)
      guard codePoint < bytes.count, bytes[Int(codePoint)] >= 0 else { return nil }
      result.append(UInt8(truncatingIfNeeded: bytes[Int(codePoint)]))
      index += length
    }
    return result
  }
}
