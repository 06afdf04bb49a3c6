/// The vocabulary and merges of a byte-pair encoding, with the tables that turn the text of a word into symbols.
struct BPEModel: Sendable {
  /// Texts as in the tokenizer's file: spelled with `ByteAlphabet` in byte-level models.
  var tokens: TokenTable
  var merges: MergeTable
  /// Stands for code points outside the vocabulary; nil drops them.
  var unknownID: UInt32?
  /// Joins neighbouring unknown code points into one unknown token.
  var fusesUnknown = false
  /// Spells code points outside the vocabulary as `<0x…>` byte tokens, if it has them all.
  var byteFallback = false
  /// Takes a whole word that is in the vocabulary without merging.
  var ignoresMerges = false
}

/// A `BPEModel` made ready for encoding.
struct CompiledModel: Sendable {
  let model: BPEModel
  let isByteLevel: Bool
  /// Byte-level: the token of each byte. Otherwise: the token `<0x…>` of each byte. -1 where there is none.
  let byteSymbols: [Int32]
  /// Words that are whole tokens, as raw bytes; only if the model ignores merges.
  let wholeWords: TokenTable?
  /// Not byte-level: what is known of each code point, 256 per page.
  private var pageOfBlock = [Int16](repeating: 0, count: 0x1100)
  private var symbolPages = [Int32](repeating: -1, count: 256)
  private var boundaryPages = [UInt8](repeating: 0, count: 256)
  /// Whether `segmentEnd` may cut words where no merge can cross.
  let cutsSegments: Bool

  /// The white space mark of SentencePiece, U+2581.
  static let spaceMark: UInt32 = 0x2581
  private static let canBeFollowed: UInt8 = 1
  private static let canFollow: UInt8 = 2
  private static let precedesSpaceMark: UInt8 = 4

  init(_ model: BPEModel, isByteLevel: Bool) {
    self.model = model
    self.isByteLevel = isByteLevel
    let ids = (0..<UInt32(model.tokens.idLimit)).filter { model.tokens.contains($0) }

    byteSymbols = (0..<256).map { byte in
      var text: [UInt8] = []
      if isByteLevel { appendUTF8(ByteAlphabet.codePoints[byte], to: &text) } else { text = Self.byteTokenText(byte) }
      return model.tokens.id(of: text).map { Int32($0) } ?? -1
    }

    if model.ignoresMerges {
      var words = TokenTable(minimumCapacity: ids.count)
      for id in ids {
        guard let text = model.tokens.text(id),
          let bytes = isByteLevel ? ByteAlphabet.bytes(ofToken: text) : Array(text)
        else { continue }
        // Texts are unique, and so are their bytes.
        do { try words.insert(bytes, id: id) } catch { continue }
      }
      wholeWords = words
    } else {
      wholeWords = nil
    }

    var spellsAllBytes = !isByteLevel && model.byteFallback && !model.ignoresMerges
    let byteTokens = Set(byteSymbols.map { UInt32(bitPattern: $0) })
    if byteSymbols.contains(-1) { spellsAllBytes = false }
    let merges = isByteLevel ? [] : model.merges.sorted()
    for merge in merges {
      for id in [merge.left, merge.right] where id == model.unknownID || byteTokens.contains(id) {
        spellsAllBytes = false
      }
    }
    cutsSegments = spellsAllBytes
    if isByteLevel { return }

    for id in ids {
      guard let text = model.tokens.text(id), let codePoint = Self.onlyCodePoint(text) else { continue }
      symbolPages[page(codePoint)] = Int32(id)
    }
    for merge in merges {
      guard let left = model.tokens.text(merge.left), let right = model.tokens.text(merge.right),
        let last = Self.lastCodePoint(left), let first = Self.firstCodePoint(right)
      else { continue }
      boundaryPages[page(last)] |= Self.canBeFollowed | (first == Self.spaceMark ? Self.precedesSpaceMark : 0)
      boundaryPages[page(first)] |= Self.canFollow
    }
  }

  static func byteTokenText(_ byte: Int) -> [UInt8] {
    let digits = Array("0123456789ABCDEF".utf8)
    return Array("<0x".utf8) + [digits[byte >> 4], digits[byte & 15], UInt8(ascii: ">")]
  }

  private static func firstCodePoint(_ text: ArraySlice<UInt8>) -> UInt32? {
    text.isEmpty ? nil : decodeUTF8(text.span, at: 0).codePoint
  }

  private static func lastCodePoint(_ text: ArraySlice<UInt8>) -> UInt32? {
    guard let start = text.lastIndex(where: { $0 & 0xC0 != 0x80 }) else { return nil }
    return decodeUTF8(text.span, at: start - text.startIndex).codePoint
  }

  private static func onlyCodePoint(_ text: ArraySlice<UInt8>) -> UInt32? {
    guard !text.isEmpty else { return nil }
    let (codePoint, length) = decodeUTF8(text.span, at: 0)
    return length == text.count ? codePoint : nil
  }

  /// Index of a code point in the pages; makes its page if there is none.
  private mutating func page(_ codePoint: UInt32) -> Int {
    let block = Int(codePoint >> 8)
    if pageOfBlock[block] == 0 {
      pageOfBlock[block] = Int16(symbolPages.count >> 8)
      symbolPages.append(contentsOf: repeatElement(-1, count: 256))
      boundaryPages.append(contentsOf: repeatElement(0, count: 256))
    }
    return Int(pageOfBlock[block]) << 8 | Int(codePoint & 0xFF)
  }

  @inline(__always)
  private func pageIndex(_ codePoint: UInt32) -> Int {
    Int(pageOfBlock[Int(codePoint >> 8)]) << 8 | Int(codePoint & 0xFF)
  }

  /// End of the first part of the word `text[start..<end]` that merges independently of the rest. Between its last
  /// code point and the next, no token has a join, so cutting there changes no id.
  @inline(__always)
  func segmentEnd(_ text: borrowing Span<UInt8>, _ start: Int, _ end: Int) -> Int {
    var (codePoint, length) = decodeUTF8(text, at: start)
    var index = start + length
    var left = boundaryPages[pageIndex(codePoint)]
    while index < end {
      if left & Self.canBeFollowed == 0 { return index }
      (codePoint, length) = decodeUTF8(text, at: index)
      let right = boundaryPages[pageIndex(codePoint)]
      if right & Self.canFollow == 0 { return index }
      if codePoint == Self.spaceMark && left & Self.precedesSpaceMark == 0 { return index }
      left = right
      index += length
    }
    return end
  }

  /// Overwrites `symbols` with those of the word `text[start..<end]` before any merge.
  func symbolize(_ text: borrowing Span<UInt8>, _ start: Int, _ end: Int, into symbols: inout [UInt32]) {
    symbols.removeAll(keepingCapacity: true)
    var hasUnknown = false
    func unknown(_ symbols: inout [UInt32]) {
      guard let id = model.unknownID else { return }
      if hasUnknown && !model.fusesUnknown { symbols.append(id) }
      hasUnknown = true
    }
    func known(_ id: UInt32, _ symbols: inout [UInt32]) {
      if hasUnknown, let unknownID = model.unknownID { symbols.append(unknownID) }
      hasUnknown = false
      symbols.append(id)
    }
    if isByteLevel {
      for index in start..<end {
        let id = byteSymbols[Int(text[index])]
        if id >= 0 { known(UInt32(bitPattern: id), &symbols) } else { unknown(&symbols) }
      }
    } else {
      var index = start
      while index < end {
        let (codePoint, length) = decodeUTF8(text, at: index)
        let id = symbolPages[pageIndex(codePoint)]
        if id >= 0 {
          known(UInt32(bitPattern: id), &symbols)
        } else if model.byteFallback && hasByteTokens(text, index, length) {
          // As in Hugging Face's model, an unknown token that is still pending comes after these.
          for offset in 0..<length { symbols.append(UInt32(bitPattern: byteSymbols[Int(text[index + offset])])) }
        } else {
          unknown(&symbols)
        }
        index += length
      }
    }
    if hasUnknown, let unknownID = model.unknownID { symbols.append(unknownID) }
  }

  private func hasByteTokens(_ text: borrowing Span<UInt8>, _ start: Int, _ length: Int) -> Bool {
    for offset in 0..<length where byteSymbols[Int(text[start + offset])] < 0 { return false }
    return true
  }
}
