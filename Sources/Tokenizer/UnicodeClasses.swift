/// What the pre-tokenizers and the added tokens ask about a code point, in two table look-ups.
///
/// The sets are those of Hugging Face `tokenizers`, whose parts follow different Unicode versions (see
/// scripts/fixtures/unicode_tables.py).
struct UnicodeClasses: Sendable {
  static let shared = UnicodeClasses()

  /// The regex classes exclude each other, so the low two bits name one of four kinds.
  static let other: UInt8 = 0
  static let letter: UInt8 = 1
  static let number: UInt8 = 2
  static let space: UInt8 = 3
  static let kindMask: UInt8 = 3
  /// Isolated by the `Digits` pre-tokenizer.
  static let digit: UInt8 = 4
  /// A word character beside an added token with `single_word`.
  static let word: UInt8 = 8
  /// White space taken by an added token with `lstrip` or `rstrip`.
  static let stripped: UInt8 = 16

  /// Page of each block of 256 code points; equal blocks share a page.
  private let pageOfBlock: [UInt8]
  /// Flags; 256 per page. The first page is Latin-1.
  let pages: [UInt8]

  private init() {
    var flags = [UInt8](repeating: 0, count: 0x110000)
    func mark(_ text: String, _ flag: UInt8) {
      for range in CodePointRanges(text) {
        for codePoint in range { flags[Int(codePoint)] |= flag }
      }
    }
    mark(UnicodeClassData.letters, Self.letter)
    mark(UnicodeClassData.numbers, Self.number)
    mark(UnicodeClassData.spaces, Self.space)
    mark(UnicodeClassData.digits, Self.digit)
    mark(UnicodeClassData.words, Self.word)
    mark(UnicodeClassData.stripped, Self.stripped)
    (pageOfBlock, pages) = pagedTable(flags)
  }

  @inline(__always)
  func flags(_ codePoint: UInt32) -> UInt8 {
    pages[Int(pageOfBlock[Int(codePoint >> 8)]) << 8 | Int(codePoint & 0xFF)]
  }

  /// Flags and length of the code point at `index` of valid UTF-8.
  @inline(__always)
  func flags(_ text: borrowing Span<UInt8>, at index: Int) -> (flags: UInt8, length: Int) {
    let byte = text[index]
    if byte < 0x80 { return (pages[Int(byte)], 1) }
    let (codePoint, length) = decodeUTF8(text, at: index)
    return (flags(codePoint), length)
  }
}

/// Splits a table over all code points into blocks of 256 and keeps one copy of equal blocks. At most 256 blocks
/// may differ.
func pagedTable(_ values: [UInt8]) -> (pageOfBlock: [UInt8], pages: [UInt8]) {
  var pageOfBlock: [UInt8] = []
  var pages: [UInt8] = []
  var known: [ArraySlice<UInt8>: UInt8] = [:]
  for start in stride(from: 0, to: values.count, by: 256) {
    let block = values[start..<start + 256]
    if let page = known[block] {
      pageOfBlock.append(page)
    } else {
      precondition(known.count < 256, "more than 256 different blocks of code points")
      let page = UInt8(known.count)
      known[block] = page
      pageOfBlock.append(page)
      pages.append(contentsOf: block)
    }
  }
  return (pageOfBlock, pages)
}

/// Code point ranges written as hexadecimal words `gap:length`, or `gap` for a single one: the distance from the
/// end of the range before, and one less than the number of code points.
struct CodePointRanges: Sequence, IteratorProtocol {
  private let words: [Substring]
  private var position = 0
  private var end: UInt32 = 0

  init(_ text: String) { self.init(words: text.split(whereSeparator: \.isWhitespace)) }

  init(words: [Substring]) { self.words = words }

  mutating func next() -> ClosedRange<UInt32>? {
    guard position < words.count else { return nil }
    let parts = words[position].split(separator: ":")
    position += 1
    guard let gap = UInt32(parts[0], radix: 16), let length = parts.count > 1 ? UInt32(parts[1], radix: 16) : 0 else {
      preconditionFailure("bad word \(words[position - 1]) in a generated table")
    }
    let start = end + gap
    end = start + length
    return start...end
  }
}
