/// Appends the UTF-8 encoding of a code point.
@inline(__always)
func appendUTF8(_ codePoint: UInt32, to bytes: inout [UInt8]) {
  if codePoint < 0x80 {
    bytes.append(UInt8(truncatingIfNeeded: codePoint))
  } else if codePoint < 0x800 {
    bytes.append(UInt8(truncatingIfNeeded: 0xC0 | codePoint >> 6))
    bytes.append(UInt8(truncatingIfNeeded: 0x80 | codePoint & 0x3F))
  } else if codePoint < 0x10000 {
    bytes.append(UInt8(truncatingIfNeeded: 0xE0 | codePoint >> 12))
    bytes.append(UInt8(truncatingIfNeeded: 0x80 | codePoint >> 6 & 0x3F))
    bytes.append(UInt8(truncatingIfNeeded: 0x80 | codePoint & 0x3F))
  } else {
    bytes.append(UInt8(truncatingIfNeeded: 0xF0 | codePoint >> 18))
    bytes.append(UInt8(truncatingIfNeeded: 0x80 | codePoint >> 12 & 0x3F))
    bytes.append(UInt8(truncatingIfNeeded: 0x80 | codePoint >> 6 & 0x3F))
    bytes.append(UInt8(truncatingIfNeeded: 0x80 | codePoint & 0x3F))
  }
}

/// The code point that starts at `index` of valid UTF-8, and its length in bytes.
@inline(__always)
func decodeUTF8(_ text: borrowing Span<UInt8>, at index: Int) -> (codePoint: UInt32, length: Int) {
  let first = UInt32(text[index])
  if first < 0x80 { return (first, 1) }
  if first < 0xE0 { return ((first & 0x1F) << 6 | UInt32(text[index + 1]) & 0x3F, 2) }
  if first < 0xF0 {
    return ((first & 0x0F) << 12 | (UInt32(text[index + 1]) & 0x3F) << 6 | UInt32(text[index + 2]) & 0x3F, 3)
  }
  let high = (first & 0x07) << 18 | (UInt32(text[index + 1]) & 0x3F) << 12
  return (high | (UInt32(text[index + 2]) & 0x3F) << 6 | UInt32(text[index + 3]) & 0x3F, 4)
}

/// Checks of text before it is encoded.
package enum UTF8Text {
  /// Offset of the first byte that starts no whole, valid code point (Unicode 15, table 3-7), or nil if all of
  /// `text` is UTF-8. A sequence cut at the end counts as an error at its first byte.
  package static func firstError(in text: borrowing Span<UInt8>) -> Int? {
    let count = text.count
    var index = 0
    while index < count {
      let byte = text[index]
      if byte < 0x80 {
        index += 1
        continue
      }
      let length = validLength(text, at: index, first: byte)
      if length == 0 { return index }
      index += length
    }
    return nil
  }

  /// Offset of the first byte that starts no whole, valid code point, or nil.
  package static func firstError(in text: [UInt8]) -> Int? { firstError(in: text.span) }

  /// Length of the valid sequence at `index`, which starts with the non-ASCII byte `first`; 0 if there is none.
  static func validLength(_ text: borrowing Span<UInt8>, at index: Int, first: UInt8) -> Int {
    let length: Int
    var low: UInt8 = 0x80
    var high: UInt8 = 0xBF
    switch first {
    case 0xC2...0xDF: length = 2
    case 0xE0...0xEF:
      length = 3
      if first == 0xE0 { low = 0xA0 }
      if first == 0xED { high = 0x9F }
    case 0xF0...0xF4:
      length = 4
      if first == 0xF0 { low = 0x90 }
      if first == 0xF4 { high = 0x8F }
    default: return 0
    }
    guard length <= text.count - index else { return 0 }
    let second = text[index + 1]
    guard second >= low && second <= high else { return 0 }
    var next = index + 2
    while next < index + length {
      guard text[next] & 0xC0 == 0x80 else { return 0 }
      next += 1
    }
    return length
  }
}
