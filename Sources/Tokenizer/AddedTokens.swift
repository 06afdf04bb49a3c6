/// A token that is cut out of the text before anything else looks at it.
package struct AddedToken: Sendable, Equatable {
  package var id: UInt32
  /// UTF-8.
  package var content: [UInt8]
  /// Matches only where no word character touches it.
  package var singleWord = false
  /// Takes the white space before it.
  package var stripsLeft = false
  /// Takes the white space after it.
  package var stripsRight = false
  /// Is looked for after the normalizer, and is itself normalized.
  package var isNormalized = false
  /// Is left out when decoding without special tokens.
  package var isSpecial = false
}

/// Finds added tokens in a text: the leftmost match, the longest there, then on from its end.
struct AddedTokenMatcher: Sendable {
  /// A part of a text: plain (id nil) or an added token.
  struct Piece: Equatable {
    var id: UInt32?
    var range: Range<Int>
  }

  private let tokens: [AddedToken]
  /// Children of node `n` are the entries `firstEdge[n]..<firstEdge[n + 1]`, by byte.
  private var firstEdge: [Int32] = []
  private var edgeBytes: [UInt8] = []
  private var edgeTargets: [Int32] = []
  /// Index into `tokens` of the pattern that ends at each node, or -1.
  private var tokenAtNode: [Int32] = []
  /// 1 for the first bytes of patterns.
  private var isFirst = [UInt8](repeating: 0, count: 256)

  var isEmpty: Bool { tokens.isEmpty }

  /// `patterns[i]` is what is looked for to find `tokens[i]`. Of equal patterns the first counts.
  init(tokens: [AddedToken], patterns: [[UInt8]]) {
    self.tokens = tokens
    var children: [[(byte: UInt8, node: Int)]] = [[]]
    var ends: [Int32] = [-1]
    for (index, pattern) in patterns.enumerated() {
      var node = 0
      for byte in pattern {
        if let child = children[node].first(where: { $0.byte == byte }) {
          node = child.node
        } else {
          children[node].append((byte, children.count))
          node = children.count
          children.append([])
          ends.append(-1)
        }
      }
      if node != 0 && ends[node] < 0 { ends[node] = Int32(index) }
      if let first = pattern.first { isFirst[Int(first)] = 1 }
    }
    for edges in children {
      firstEdge.append(Int32(edgeBytes.count))
      for edge in edges {
        edgeBytes.append(edge.byte)
        edgeTargets.append(Int32(edge.node))
      }
    }
    firstEdge.append(Int32(edgeBytes.count))
    tokenAtNode = ends
  }

  /// The next match at or after `start`: its place and its index in `tokens`.
  private func nextMatch(_ text: borrowing Span<UInt8>, _ start: Int, _ end: Int) -> (range: Range<Int>, token: Int)? {
    let isFirst = isFirst.span
    var start = start
    while start < end {
      if isFirst[Int(text[start])] == 0 {
        start += 1
        continue
      }
      var node = 0
      var index = start
      var found: (range: Range<Int>, token: Int)?
      walk: while index < end {
        let byte = text[index]
        var edge = Int(firstEdge[node])
        let lastEdge = Int(firstEdge[node + 1])
        while edge < lastEdge && edgeBytes[edge] != byte { edge += 1 }
        if edge == lastEdge { break walk }
        node = Int(edgeTargets[edge])
        index += 1
        if tokenAtNode[node] >= 0 { found = (start..<index, Int(tokenAtNode[node])) }
      }
      if let found { return found }
      start += 1
    }
    return nil
  }

  /// Appends the parts of `text[range]`, valid UTF-8, in order; plain parts are not empty.
  func split(_ text: borrowing Span<UInt8>, _ range: Range<Int>, into pieces: inout [Piece]) {
    let classes = UnicodeClasses.shared
    var plainStart = range.lowerBound
    var next = range.lowerBound
    while let match = nextMatch(text, next, range.upperBound) {
      next = match.range.upperBound
      let token = tokens[match.token]
      var start = match.range.lowerBound
      var end = match.range.upperBound
      if token.singleWord && touchesWord(text, range, match.range, classes) { continue }
      if token.stripsLeft {
        while start > plainStart {
          let before = codePointStart(text, before: start)
          if classes.flags(text, at: before).flags & UnicodeClasses.stripped == 0 { break }
          start = before
        }
      }
      if token.stripsRight {
        while end < range.upperBound {
          let (flags, length) = classes.flags(text, at: end)
          if flags & UnicodeClasses.stripped == 0 { break }
          end += length
        }
      }
      if plainStart < start { pieces.append(Piece(id: nil, range: plainStart..<start)) }
      // A token of white space may lie inside what the token before it took; it still counts.
      pieces.append(Piece(id: token.id, range: Swift.min(start, end)..<end))
      plainStart = end
    }
    if plainStart < range.upperBound { pieces.append(Piece(id: nil, range: plainStart..<range.upperBound)) }
  }

  private func touchesWord(
    _ text: borrowing Span<UInt8>, _ range: Range<Int>, _ match: Range<Int>, _ classes: UnicodeClasses
  ) -> Bool {
    if match.lowerBound > range.lowerBound {
      let before = codePointStart(text, before: match.lowerBound)
      if classes.flags(text, at: before).flags & UnicodeClasses.word != 0 { return true }
    }
    return match.upperBound < range.upperBound
      && classes.flags(text, at: match.upperBound).flags & UnicodeClasses.word != 0
  }

  private func codePointStart(_ text: borrowing Span<UInt8>, before index: Int) -> Int {
    var index = index - 1
    while index > 0 && text[index] & 0xC0 == 0x80 { index -= 1 }
    return index
  }
}
