/// Encodes texts one after the other and remembers the words it has seen.
///
/// Make one per thread; the ids never depend on what was encoded before.
package final class BPEEncoder {
  package let tokenizer: BPETokenizer
  private var scratch = Scratch()

  package init(_ tokenizer: BPETokenizer) { self.tokenizer = tokenizer }

  /// Appends the ids of a text, which must be UTF-8 (`UTF8Text.firstError`).
  package func encode(_ text: borrowing Span<UInt8>, addSpecialTokens: Bool = false, into ids: inout [UInt32]) {
    if addSpecialTokens { ids.append(contentsOf: tokenizer.parts.prefixIDs) }
    scratch.encode(text, tokenizer, into: &ids)
    if addSpecialTokens { ids.append(contentsOf: tokenizer.parts.suffixIDs) }
  }

  /// Appends the ids of a text, which must be UTF-8 (`UTF8Text.firstError`).
  package func encode(_ text: [UInt8], addSpecialTokens: Bool = false, into ids: inout [UInt32]) {
    encode(text.span, addSpecialTokens: addSpecialTokens, into: &ids)
  }

  /// Appends the ids of a part of a text, which must be UTF-8 (`UTF8Text.firstError`).
  package func encode(_ text: ArraySlice<UInt8>, addSpecialTokens: Bool = false, into ids: inout [UInt32]) {
    encode(text.span, addSpecialTokens: addSpecialTokens, into: &ids)
  }
}

/// Buffers that live from text to text.
private struct Scratch {
  private var cache = WordCache()
  private var merger = WordMerger()
  private var normalized: [UInt8] = []
  private var spaced: [UInt8] = []
  private var rawPieces: [AddedTokenMatcher.Piece] = []
  private var normalizedPieces: [AddedTokenMatcher.Piece] = []

  mutating func encode(_ text: borrowing Span<UInt8>, _ tokenizer: BPETokenizer, into ids: inout [UInt32]) {
    let whole = 0..<text.count
    if whole.isEmpty { return }
    if tokenizer.rawMatcher.isEmpty {
      encodePlain(text, whole, tokenizer, into: &ids)
      return
    }
    var pieces = take(&rawPieces)
    pieces.removeAll(keepingCapacity: true)
    tokenizer.rawMatcher.split(text, whole, into: &pieces)
    for piece in pieces {
      if let id = piece.id { ids.append(id) } else { encodePlain(text, piece.range, tokenizer, into: &ids) }
    }
    rawPieces = pieces
  }

  private func take<Element>(_ buffer: inout [Element]) -> [Element] {
    var taken: [Element] = []
    swap(&taken, &buffer)
    return taken
  }

  /// A part of the text without added tokens that match as they are.
  private mutating func encodePlain(
    _ text: borrowing Span<UInt8>, _ range: Range<Int>, _ tokenizer: BPETokenizer, into ids: inout [UInt32]
  ) {
    let isStart = range.lowerBound == 0
    if tokenizer.parts.normalizer.isIdentity(text, range) {
      encodeNormalized(text, range, isStart: isStart, tokenizer, into: &ids)
      return
    }
    var buffer = take(&normalized)
    tokenizer.parts.normalizer.normalize(text, range, into: &buffer)
    encodeNormalized(buffer.span, 0..<buffer.count, isStart: isStart, tokenizer, into: &ids)
    normalized = buffer
  }

  private mutating func encodeNormalized(
    _ text: borrowing Span<UInt8>, _ range: Range<Int>, isStart: Bool, _ tokenizer: BPETokenizer,
    into ids: inout [UInt32]
  ) {
    if range.isEmpty { return }
    if tokenizer.normalizedMatcher.isEmpty {
      encodeWords(text, range, isStart: isStart, tokenizer, into: &ids)
      return
    }
    var pieces = take(&normalizedPieces)
    pieces.removeAll(keepingCapacity: true)
    tokenizer.normalizedMatcher.split(text, range, into: &pieces)
    for piece in pieces {
      if let id = piece.id {
        ids.append(id)
      } else {
        let isStart = isStart && piece.range.lowerBound == range.lowerBound
        encodeWords(text, piece.range, isStart: isStart, tokenizer, into: &ids)
      }
    }
    normalizedPieces = pieces
  }

  /// A non-empty part without added tokens: cut into words, each encoded by itself. `isStart` says that it starts
  /// the whole text.
  private mutating func encodeWords(
    _ text: borrowing Span<UInt8>, _ range: Range<Int>, isStart: Bool, _ tokenizer: BPETokenizer,
    into ids: inout [UInt32]
  ) {
    let preTokenizer = tokenizer.parts.preTokenizer
    if let metaspace = preTokenizer.metaspace {
      encodeMetaspace(text, range, metaspace, isStart: isStart, tokenizer, into: &ids)
    } else if preTokenizer.addsPrefixSpace && text[range.lowerBound] != 0x20 {
      var buffer = take(&spaced)
      buffer.removeAll(keepingCapacity: true)
      buffer.append(0x20)
      for index in range { buffer.append(text[index]) }
      cut(buffer.span, 0, buffer.count, preTokenizer.steps[...], tokenizer.compiled, into: &ids)
      spaced = buffer
    } else {
      cut(text, range.lowerBound, range.upperBound, preTokenizer.steps[...], tokenizer.compiled, into: &ids)
    }
  }

  private mutating func encodeMetaspace(
    _ text: borrowing Span<UInt8>, _ range: Range<Int>, _ metaspace: PreTokenizer.Metaspace, isStart: Bool,
    _ tokenizer: BPETokenizer, into ids: inout [UInt32]
  ) {
    var mark: [UInt8] = []
    appendUTF8(metaspace.replacement, to: &mark)
    var buffer = take(&spaced)
    buffer.removeAll(keepingCapacity: true)
    Normalizer.replace([0x20], by: mark, text, range, to: &buffer)
    let prepends =
      switch metaspace.prepend {
      case .always: true
      case .first: isStart
      case .never: false
      }
    if prepends && !buffer.starts(with: mark) { buffer.insert(contentsOf: mark, at: 0) }
    let span = buffer.span
    var start = 0
    var index = 0
    while index < buffer.count {
      let (codePoint, length) = decodeUTF8(span, at: index)
      if metaspace.split && codePoint == metaspace.replacement && index > start {
        encodeWord(span, start, index, tokenizer.compiled, into: &ids)
        start = index
      }
      index += length
    }
    if start < buffer.count { encodeWord(span, start, buffer.count, tokenizer.compiled, into: &ids) }
    spaced = buffer
  }

  /// Cuts `text[start..<end]` by the first of `steps`, the parts by the next, and encodes the words of the last.
  private mutating func cut(
    _ text: borrowing Span<UInt8>, _ start: Int, _ end: Int, _ steps: ArraySlice<PreTokenizer.Step>,
    _ model: CompiledModel, into ids: inout [UInt32]
  ) {
    let classes = UnicodeClasses.shared
    guard let step = steps.first else {
      encodeWord(text, start, end, model, into: &ids)
      return
    }
    var index = start
    if steps.count > 1 {
      let rest = steps.dropFirst()
      while index < end {
        let next = PreTokenizer.wordEnd(step, text, index, end, classes)
        cut(text, index, next, rest, model, into: &ids)
        index = next
      }
      return
    }
    switch step {
    case .gpt2:
      while index < end {
        let next = gpt2WordEnd(text, index, end, classes)
        encodeSegment(text, index, next, model, into: &ids)
        index = next
      }
    case .llama3(let digits):
      while index < end {
        let next = llama3WordEnd(text, index, end, digits: digits, classes)
        encodeSegment(text, index, next, model, into: &ids)
        index = next
      }
    case .digits:
      while index < end {
        let next = PreTokenizer.wordEnd(step, text, index, end, classes)
        encodeWord(text, index, next, model, into: &ids)
        index = next
      }
    }
  }

  /// A word of any length, which may be the whole text.
  private mutating func encodeWord(
    _ text: borrowing Span<UInt8>, _ start: Int, _ end: Int, _ model: CompiledModel, into ids: inout [UInt32]
  ) {
    if !model.cutsSegments {
      encodeSegment(text, start, end, model, into: &ids)
      return
    }
    var index = start
    while index < end {
      let next = model.segmentEnd(text, index, end)
      encodeSegment(text, index, next, model, into: &ids)
      index = next
    }
  }

  /// A word, or a part of one that no merge leaves: from the cache, or merged and kept.
  @inline(__always)
  private mutating func encodeSegment(
    _ text: borrowing Span<UInt8>, _ start: Int, _ end: Int, _ model: CompiledModel, into ids: inout [UInt32]
  ) {
    if end - start <= WordCache.longestPacked {
      let word = WordCache.PackedWord(text, start, end)
      if cache.append(word, to: &ids) { return }
      let first = ids.count
      encodeLong(text, start, end, model, into: &ids)
      cache.insert(word, ids: ids[first...])
    } else {
      encodeLong(text, start, end, model, into: &ids)
    }
  }

  /// A word that is not in the cache of short words.
  @inline(never)
  private mutating func encodeLong(
    _ text: borrowing Span<UInt8>, _ start: Int, _ end: Int, _ model: CompiledModel, into ids: inout [UInt32]
  ) {
    if end - start > WordCache.longestKept {
      merge(text, start, end, model, into: &ids)
      return
    }
    let hash = TokenTable.hash(text, start..<end)
    if cache.append(text, start, end, hash: hash, to: &ids) { return }
    let first = ids.count
    merge(text, start, end, model, into: &ids)
    if end - start > WordCache.longestPacked || ids.count - first > 4 || ids.count == first {
      cache.insert(text, start, end, hash: hash, ids: ids[first...])
    }
  }

  private mutating func merge(
    _ text: borrowing Span<UInt8>, _ start: Int, _ end: Int, _ model: CompiledModel, into ids: inout [UInt32]
  ) {
    if let words = model.wholeWords, let id = words.id(of: text, start..<end) {
      ids.append(id)
      return
    }
    model.symbolize(text, start, end, into: &merger.symbols)
    merger.merge(model.model.merges)
    ids.append(contentsOf: merger.symbols)
  }
}
