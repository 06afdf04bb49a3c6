/// How a text is cut into words before the merges, which never cross from one word to the next.
struct PreTokenizer: Sendable, Equatable {
  /// One step; each cuts the pieces of the step before and drops nothing.
  enum Step: Sendable, Equatable {
    /// GPT-2's pattern, that of `ByteLevel` (openai/gpt-2, encoder.py).
    case gpt2
    /// Llama 3's pattern, with numbers cut after this many digits: 3 for Llama 3, 1 for Qwen 2.
    case llama3(digits: Int)
    /// Each numeric character by itself, or (not individual) runs of them.
    case digits(individual: Bool)
  }

  /// Replaces spaces, prefixes the text, and may cut before each replacement (SentencePiece's white space).
  struct Metaspace: Sendable, Equatable {
    enum Prepend: String, Sendable { case first, never, always }
    var replacement: UInt32
    var prepend: Prepend
    var split: Bool
  }

  var steps: [Step] = []
  /// Whether the vocabulary spells bytes with `ByteAlphabet`.
  var isByteLevel = false
  /// Puts a space before text that does not start with one.
  var addsPrefixSpace = false
  var metaspace: Metaspace?

  /// The regular expressions that `Split` may name, and what they mean.
  static let splitPatterns: [(pattern: String, step: Step)] = [
    (
      #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#,
      .llama3(digits: 3)
    ),
    (
      #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#,
      .llama3(digits: 1)
    ),
    (#"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#, .gpt2),
    (#"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#, .gpt2),
  ]

  /// End of the word that starts at `start`, for texts cut by one step. `start < end`.
  @inline(__always)
  static func wordEnd(
    _ step: Step, _ text: borrowing Span<UInt8>, _ start: Int, _ end: Int, _ classes: borrowing UnicodeClasses
  ) -> Int {
    switch step {
    case .gpt2: gpt2WordEnd(text, start, end, classes)
    case .llama3(let digits): llama3WordEnd(text, start, end, digits: digits, classes)
    case .digits(let individual): digitsWordEnd(text, start, end, individual: individual, classes)
    }
  }

  /// `Digits`: a numeric character, or a run of them, or a run of all others.
  static func digitsWordEnd(
    _ text: borrowing Span<UInt8>, _ start: Int, _ end: Int, individual: Bool, _ classes: borrowing UnicodeClasses
  ) -> Int {
    let first = classes.flags(text, at: start)
    let kind = first.flags & UnicodeClasses.digit
    var index = start + first.length
    if individual && kind != 0 { return index }
    while index < end {
      let (flags, length) = classes.flags(text, at: index)
      if flags & UnicodeClasses.digit != kind { break }
      index += length
    }
    return index
  }
}
