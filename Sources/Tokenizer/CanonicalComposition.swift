/// Normalisation Form C as Hugging Face `tokenizers` does it (Unicode Standard Annex 15, with its own data version).
struct CanonicalComposition: Sendable {
  static let shared = CanonicalComposition()

  /// Combining classes, 0 for starters, paged as in `UnicodeClasses`.
  private let classPageOfBlock: [UInt8]
  private let classPages: [UInt8]
  /// 1 where a code point may change or reorder: it decomposes, is a combining mark, or composes with what is
  /// before it. All others are the start of a stretch that normalises on its own.
  private let activePageOfBlock: [UInt8]
  private let activePages: [UInt8]
  private let decompositions: [UInt32: [UInt32]]
  private let compositions: [UInt64: UInt32]

  private init() {
    var classes = [UInt8](repeating: 0, count: 0x110000)
    var active = classes
    var current: UInt8 = 0
    var words: [Substring] = []
    func markClass() {
      for range in CodePointRanges(words: words) {
        for codePoint in range {
          classes[Int(codePoint)] = current
          active[Int(codePoint)] = 1
        }
      }
    }
    for word in NormalizationData.combiningClasses.split(whereSeparator: \.isWhitespace) {
      if word.first == "=" {
        markClass()
        words = []
        current = UInt8(word.dropFirst(), radix: 16) ?? 0
      } else {
        words.append(word)
      }
    }
    markClass()

    func numbers(_ text: Substring) -> [UInt32] { text.split(separator: "+").map { UInt32($0, radix: 16) ?? 0 } }
    var decompositions: [UInt32: [UInt32]] = [:]
    for word in NormalizationData.decompositions.split(whereSeparator: \.isWhitespace) {
      let sides = word.split(separator: ">")
      let codePoint = numbers(sides[0])[0]
      decompositions[codePoint] = numbers(sides[1])
      active[Int(codePoint)] = 1
    }
    var compositions: [UInt64: UInt32] = [:]
    for word in NormalizationData.compositions.split(whereSeparator: \.isWhitespace) {
      let sides = word.split(separator: ">")
      let pair = numbers(sides[0])
      compositions[Self.key(pair[0], pair[1])] = numbers(sides[1])[0]
      active[Int(pair[1])] = 1
    }
    // Hangul vowels and trailing consonants compose with what is before them.
    for codePoint in 0x1161...0x1175 { active[codePoint] = 1 }
    for codePoint in 0x11A8...0x11C2 { active[codePoint] = 1 }
    self.decompositions = decompositions
    self.compositions = compositions
    (classPageOfBlock, classPages) = pagedTable(classes)
    (activePageOfBlock, activePages) = pagedTable(active)
  }

  private static func key(_ first: UInt32, _ second: UInt32) -> UInt64 { UInt64(first) << 32 | UInt64(second) }

  @inline(__always)
  private func isActive(_ codePoint: UInt32) -> Bool {
    // No code point below U+00C0 is active; this skips Latin-1 punctuation.
    codePoint >= 0xC0
      && activePages[Int(activePageOfBlock[Int(codePoint >> 8)]) << 8 | Int(codePoint & 0xFF)] != 0
  }

  private func combiningClass(_ codePoint: UInt32) -> UInt8 {
    classPages[Int(classPageOfBlock[Int(codePoint >> 8)]) << 8 | Int(codePoint & 0xFF)]
  }

  /// Whether `text[range]`, valid UTF-8, has no code point that could change: then it is its own NFC.
  func isInert(_ text: borrowing Span<UInt8>, _ range: Range<Int>) -> Bool {
    var index = range.lowerBound
    while index < range.upperBound {
      if text[index] < 0x80 {
        index += 1
        continue
      }
      let (codePoint, length) = decodeUTF8(text, at: index)
      if isActive(codePoint) { return false }
      index += length
    }
    return true
  }

  /// Appends the NFC of `text[range]`, valid UTF-8, to `result`. Linear in the text but for the sorting of runs of
  /// combining marks.
  func append(_ text: borrowing Span<UInt8>, _ range: Range<Int>, to result: inout [UInt8]) {
    var index = range.lowerBound
    // Start in `result` of the last code point copied as it is, to which what follows may attach.
    var lastStart = -1
    while index < range.upperBound {
      let (codePoint, length) = decodeUTF8(text, at: index)
      if !isActive(codePoint) {
        lastStart = result.count
        for offset in 0..<length { result.append(text[index + offset]) }
        index += length
        continue
      }
      var stretch: [UInt32] = []
      if lastStart >= 0 {
        let last = decodeUTF8(result.span, at: lastStart).codePoint
        result.removeSubrange(lastStart...)
        stretch.append(last)
        lastStart = -1
      }
      while index < range.upperBound {
        let (codePoint, length) = decodeUTF8(text, at: index)
        if !isActive(codePoint) { break }
        decompose(codePoint, into: &stretch)
        index += length
      }
      reorder(&stretch)
      for codePoint in composed(stretch) { appendUTF8(codePoint, to: &result) }
    }
  }

  private func decompose(_ codePoint: UInt32, into stretch: inout [UInt32]) {
    if codePoint >= 0xAC00 && codePoint < 0xAC00 + 11172 {
      let syllable = codePoint - 0xAC00
      stretch.append(0x1100 + syllable / 588)
      stretch.append(0x1161 + syllable % 588 / 28)
      if syllable % 28 != 0 { stretch.append(0x11A7 + syllable % 28) }
    } else if let parts = decompositions[codePoint] {
      stretch.append(contentsOf: parts)
    } else {
      stretch.append(codePoint)
    }
  }

  /// Sorts each run of marks by combining class, stably.
  private func reorder(_ stretch: inout [UInt32]) {
    var start = 0
    while start < stretch.count {
      guard combiningClass(stretch[start]) != 0 else {
        start += 1
        continue
      }
      var end = start + 1
      while end < stretch.count, combiningClass(stretch[end]) != 0 { end += 1 }
      if end - start > 1 {
        let sorted = stretch[start..<end].enumerated().sorted {
          (combiningClass($0.element), $0.offset) < (combiningClass($1.element), $1.offset)
        }
        for (offset, mark) in sorted.enumerated() { stretch[start + offset] = mark.element }
      }
      start = end
    }
  }

  /// Recomposes from left to right (Unicode 15, section 3.11, D117).
  private func composed(_ stretch: [UInt32]) -> [UInt32] {
    var result: [UInt32] = []
    var starter = -1
    var lastClass: UInt8 = 0
    for codePoint in stretch {
      let ownClass = combiningClass(codePoint)
      if starter >= 0 {
        let adjacent = starter == result.count - 1
        if adjacent || (lastClass != 0 && lastClass < ownClass), let whole = compose(result[starter], codePoint) {
          result[starter] = whole
          continue
        }
      }
      result.append(codePoint)
      lastClass = ownClass
      if ownClass == 0 { starter = result.count - 1 }
    }
    return result
  }

  private func compose(_ first: UInt32, _ second: UInt32) -> UInt32? {
    if first >= 0x1100 && first < 0x1113 && second >= 0x1161 && second < 0x1176 {
      return 0xAC00 + ((first - 0x1100) * 21 + (second - 0x1161)) * 28
    }
    let syllable = first &- 0xAC00
    if syllable < 11172 && syllable % 28 == 0 && second > 0x11A7 && second < 0x11C3 { return first + second - 0x11A7 }
    return compositions[Self.key(first, second)]
  }
}
