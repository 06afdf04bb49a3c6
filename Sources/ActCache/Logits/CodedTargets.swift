/// Targets of `full` as they are stored: log p of token i is −step·code up to a constant per row.
package struct CodedTargets: Sendable, Equatable {
  package let nVocabulary: Int
  /// [tokens, vocabulary]; the likeliest has code 0.
  package let codes: [UInt16]
  /// The largest log-probability of each row, nats.
  package let tops: [Float]
  /// Nats, at least 0.
  package let steps: [Float]
  /// −Σ p log p, nats.
  package let entropies: [Float]

  /// Positions without text; a loss must leave them out.
  package func isPadding(_ token: Int) -> Bool { tops[token] == 0 && steps[token] == 0 }

  var nTokens: Int { tops.count }

  /// Some of the tokens, for instance those of one sequence of a frame.
  func tokens(_ range: Range<Int>) -> CodedTargets {
    if range == 0..<nTokens { return self }
    return CodedTargets(
      nVocabulary: nVocabulary, codes: Array(codes[range.lowerBound * nVocabulary..<range.upperBound * nVocabulary]),
      tops: Array(tops[range]), steps: Array(steps[range]), entropies: Array(entropies[range]))
  }
}
