extension BPETokenizer {
  /// The text of some ids. Bytes that are not UTF-8 become U+FFFD, as in Hugging Face `tokenizers`; ids without a
  /// token add nothing.
  package func decode(_ ids: [UInt32], skipSpecialTokens: Bool = true) -> String {
    guard case .pieces(_, true, let strip) = parts.decoder else {
      return String(decoding: decodeBytes(ids, skipSpecialTokens: skipSpecialTokens), as: UTF8.self)
    }
    // Here a run of `<0x…>` tokens is taken whole: if it is not UTF-8, each byte becomes one U+FFFD.
    var decoder = TokenByteDecoder(parts.decoder, strips: false)
    var bytes: [UInt8] = []
    var run: [UInt8] = []
    func endRun() {
      if UTF8Text.firstError(in: run) == nil {
        bytes += run
      } else {
        for _ in run { bytes += [0xEF, 0xBF, 0xBD] }
      }
      run.removeAll()
    }
    for id in ids {
      guard let text = decodableText(id), !(skipSpecialTokens && isSpecial(id)) else { continue }
      var piece: [UInt8] = []
      decoder.append(text, to: &piece)
      if decoder.lastWasByte {
        run += piece
      } else {
        endRun()
        bytes += piece
      }
    }
    endRun()
    var left = strip.count
    return String(decoding: strip.rest(of: bytes[...], atMost: &left), as: UTF8.self)
  }

  /// The bytes of some ids, whether or not they are UTF-8.
  package func decodeBytes(_ ids: [UInt32], skipSpecialTokens: Bool = true) -> [UInt8] {
    var decoder = TokenByteDecoder(parts.decoder)
    var bytes: [UInt8] = []
    for id in ids {
      guard let text = decodableText(id), !(skipSpecialTokens && isSpecial(id)) else { continue }
      decoder.append(text, to: &bytes)
    }
    return bytes
  }
}

/// Decodes ids one by one and hands out text as soon as its code points are whole.
///
/// All text handed out is the UTF-8 reading of `decodeBytes`, with U+FFFD for what can be no code point.
package struct StreamingDecoder {
  private let tokenizer: BPETokenizer
  private let skipSpecialTokens: Bool
  private var decoder: TokenByteDecoder
  /// The start of a code point that is not yet whole: at most 3 bytes.
  private var pending: [UInt8] = []

  package init(_ tokenizer: BPETokenizer, skipSpecialTokens: Bool = true) {
    self.tokenizer = tokenizer
    self.skipSpecialTokens = skipSpecialTokens
    decoder = TokenByteDecoder(tokenizer.parts.decoder)
  }

  /// The text that is whole now that `id` has come; often empty.
  package mutating func append(_ id: UInt32) -> String {
    guard let text = tokenizer.decodableText(id), !(skipSpecialTokens && tokenizer.isSpecial(id)) else { return "" }
    decoder.append(text, to: &pending)
    let whole = pending.count - Self.unfinishedCount(pending)
    let result = String(decoding: pending[..<whole], as: UTF8.self)
    pending.removeFirst(whole)
    return result
  }

  /// What is left at the end: nothing, or U+FFFD for a code point that never became whole.
  package mutating func finish() -> String {
    defer { pending.removeAll() }
    return String(decoding: pending, as: UTF8.self)
  }

  /// Length of the end of `bytes` that may become a code point with more bytes.
  private static func unfinishedCount(_ bytes: [UInt8]) -> Int {
    for length in 1...3 where length <= bytes.count {
      let start = bytes.count - length
      let first = bytes[start]
      if first & 0xC0 == 0x80 { continue }
      let needed = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : first >= 0xC0 ? 2 : 1
      guard needed > length else { return 0 }
      // It is unfinished if some continuation makes it valid.
      for second: UInt8 in length == 1 ? [0x80, 0x90, 0xA0] : [bytes[start + 1]] {
        var candidate = [first, second]
        if length == 3 { candidate.append(bytes[start + 2]) }
        while candidate.count < needed { candidate.append(0x80) }
        if UTF8Text.firstError(in: candidate) == nil { return length }
      }
      return 0
    }
    return 0
  }
}
