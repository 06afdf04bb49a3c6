/// How tokens become text again.
enum TokenDecoder: Sendable, Equatable {
  /// No decoder: token texts joined by single spaces.
  case joined
  /// Token texts are spelled with `ByteAlphabet`.
  case byteLevel
  /// Replacements in each token, `<0x…>` tokens as bytes, and at most `strip.count` of one character taken from the
  /// start of the text.
  case pieces(replacements: [Replacement], byteFallback: Bool, strip: Strip)
  /// The replacement character is a space, but nothing in the first token if `dropsFirst`.
  case metaspace(replacement: UInt32, dropsFirst: Bool)

  struct Replacement: Sendable, Equatable {
    var pattern: [UInt8]
    var content: [UInt8]
  }

  struct Strip: Sendable, Equatable {
    var content: UInt32 = 0x20
    var count = 0
  }

  /// The byte that a `<0x…>` token stands for.
  static func byte(ofToken text: ArraySlice<UInt8>) -> UInt8? {
    guard text.count == 6, text.starts(with: "<0x".utf8), text.last == UInt8(ascii: ">") else { return nil }
    let digits = text[text.startIndex + 3..<text.startIndex + 5]
    guard digits.first != UInt8(ascii: "+") else {
      // Rust's parser takes one leading plus sign.
      return digits.last.flatMap(hexDigit)
    }
    guard let high = digits.first.flatMap(hexDigit), let low = digits.last.flatMap(hexDigit) else { return nil }
    return high << 4 | low
  }

  private static func hexDigit(_ byte: UInt8) -> UInt8? {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
    case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
    case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
    default: nil
    }
  }
}

/// Decodes one token after the other into bytes.
struct TokenByteDecoder {
  private let decoder: TokenDecoder
  private var isFirst = true
  /// Bytes at the start that may still be stripped.
  private var toStrip = 0

  /// `strips` is false for a caller who strips the whole text later.
  init(_ decoder: TokenDecoder, strips: Bool = true) {
    self.decoder = decoder
    if case .pieces(_, _, let strip) = decoder, strips { toStrip = strip.count }
  }

  /// Whether the last appended token was a `<0x…>` byte.
  private(set) var lastWasByte = false

  /// Appends what the token with this text adds.
  mutating func append(_ text: ArraySlice<UInt8>, to bytes: inout [UInt8]) {
    defer { isFirst = false }
    lastWasByte = false
    switch decoder {
    case .joined:
      if !isFirst { bytes.append(0x20) }
      bytes.append(contentsOf: text)
    case .byteLevel:
      if let raw = ByteAlphabet.bytes(ofToken: text) {
        bytes.append(contentsOf: raw)
      } else {
        bytes.append(contentsOf: text)
      }
    case .pieces(let replacements, let byteFallback, let strip):
      var piece = Array(text)
      for replacement in replacements {
        var replaced: [UInt8] = []
        Normalizer.replace(
          replacement.pattern, by: replacement.content, piece.span, 0..<piece.count, to: &replaced)
        piece = replaced
      }
      if byteFallback, let byte = TokenDecoder.byte(ofToken: piece[...]) {
        lastWasByte = true
        piece = [byte]
      }
      bytes.append(contentsOf: toStrip > 0 ? stripped(piece, strip) : piece[...])
    case .metaspace(let replacement, let dropsFirst):
      var mark: [UInt8] = []
      appendUTF8(replacement, to: &mark)
      let text = Array(text)
      Normalizer.replace(
        mark, by: isFirst && dropsFirst ? [] : [0x20], text.span, 0..<text.count, to: &bytes)
    }
  }

  private mutating func stripped(_ piece: [UInt8], _ strip: TokenDecoder.Strip) -> ArraySlice<UInt8> {
    let rest = strip.rest(of: piece[...], atMost: &toStrip)
    if !rest.isEmpty { toStrip = 0 }
    return rest
  }
}

extension TokenDecoder.Strip {
  /// `text` without up to `left` of the character at its start; `left` goes down by the number taken.
  func rest(of text: ArraySlice<UInt8>, atMost left: inout Int) -> ArraySlice<UInt8> {
    var mark: [UInt8] = []
    appendUTF8(content, to: &mark)
    var rest = text
    while left > 0 && rest.starts(with: mark) {
      rest = rest.dropFirst(mark.count)
      left -= 1
    }
    return rest
  }
}
