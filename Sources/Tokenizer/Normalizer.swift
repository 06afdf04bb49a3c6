/// Steps that rewrite the text before it is cut into words.
enum NormalizerStep: Sendable, Equatable {
  /// Canonical composition.
  case nfc
  /// Puts a text before every non-empty piece.
  case prepend([UInt8])
  /// Replaces every occurrence of a text, from left to right.
  case replace(pattern: [UInt8], content: [UInt8])
}

struct Normalizer: Sendable, Equatable {
  var steps: [NormalizerStep] = []

  /// Whether `text[range]`, valid UTF-8, is its own normal form (false may be wrong).
  func isIdentity(_ text: borrowing Span<UInt8>, _ range: Range<Int>) -> Bool {
    if range.isEmpty { return true }
    for step in steps {
      guard step == .nfc, CanonicalComposition.shared.isInert(text, range) else { return false }
    }
    return true
  }

  /// Overwrites `result` with the normal form of `text[range]`, valid UTF-8.
  func normalize(_ text: borrowing Span<UInt8>, _ range: Range<Int>, into result: inout [UInt8]) {
    result.removeAll(keepingCapacity: true)
    guard let first = steps.first, !range.isEmpty else {
      for index in range { result.append(text[index]) }
      return
    }
    Self.apply(first, text, range, to: &result)
    for step in steps.dropFirst() {
      let before = result
      result.removeAll(keepingCapacity: true)
      Self.apply(step, before.span, 0..<before.count, to: &result)
    }
  }

  func normalized(_ text: [UInt8]) -> [UInt8] {
    var result: [UInt8] = []
    normalize(text.span, 0..<text.count, into: &result)
    return result
  }

  private static func apply(
    _ step: NormalizerStep, _ text: borrowing Span<UInt8>, _ range: Range<Int>, to result: inout [UInt8]
  ) {
    switch step {
    case .nfc: CanonicalComposition.shared.append(text, range, to: &result)
    case .prepend(let prefix):
      if !range.isEmpty { result.append(contentsOf: prefix) }
      for index in range { result.append(text[index]) }
    case .replace(let pattern, let content): replace(pattern, by: content, text, range, to: &result)
    }
  }

  static func replace(
    _ pattern: [UInt8], by content: [UInt8], _ text: borrowing Span<UInt8>, _ range: Range<Int>,
    to result: inout [UInt8]
  ) {
    var index = range.lowerBound
    while index < range.upperBound {
      if text[index] == pattern[0] && matches(pattern, text, index, range.upperBound) {
        result.append(contentsOf: content)
        index += pattern.count
      } else {
        result.append(text[index])
        index += 1
      }
    }
  }

  private static func matches(_ pattern: [UInt8], _ text: borrowing Span<UInt8>, _ start: Int, _ end: Int) -> Bool {
    guard pattern.count <= end - start else { return false }
    for offset in 0..<pattern.count where text[start + offset] != pattern[offset] { return false }
    return true
  }
}
