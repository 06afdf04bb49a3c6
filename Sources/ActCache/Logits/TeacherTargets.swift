/// The teacher's next-token distributions at some tokens, as a policy keeps them: the probabilities of some tokens of
/// the vocabulary, the mass of all others, and the entropy of the whole distribution.
///
/// Token t has entries `starts[t]..<starts[t + 1]` of `indices` and `probabilities`; with `tailMasses[t]` they sum to
/// 1, to the rounding of f32. `topk` and `mass` list by descending probability; `full` lists the vocabulary in its
/// order and leaves no tail. Padding has no entries, tail mass 1 and entropy 0, so that its divergence from anything
/// is 0.
public struct TeacherTargets: Sendable, Equatable {
  public let nVocabulary: Int
  /// tokens + 1 numbers.
  public let starts: [Int]
  public let indices: [UInt32]
  public let probabilities: [Float]
  /// r: the teacher's probability of all tokens that are not listed.
  public let tailMasses: [Float]
  /// −Σ p log p over the whole vocabulary, in nats, also over what is not listed.
  public let entropies: [Float]

  package init(
    nVocabulary: Int, starts: [Int], indices: [UInt32], probabilities: [Float], tailMasses: [Float],
    entropies: [Float]
  ) {
    precondition(
      starts.count == tailMasses.count + 1 && starts.first == 0 && starts.last == indices.count
        && indices.count == probabilities.count && tailMasses.count == entropies.count,
      "\(starts.count) starts, \(indices.count) indices, \(probabilities.count) probabilities, "
        + "\(tailMasses.count) tails, \(entropies.count) entropies")
    self.nVocabulary = nVocabulary
    (self.starts, self.indices, self.probabilities) = (starts, indices, probabilities)
    (self.tailMasses, self.entropies) = (tailMasses, entropies)
  }

  /// Those of all parts, in their order; all of one vocabulary.
  package init(joining parts: [TeacherTargets]) {
    var starts = [0]
    for part in parts {
      precondition(
        part.nVocabulary == parts[0].nVocabulary, "vocabularies \(part.nVocabulary), \(parts[0].nVocabulary)")
      let offset = starts[starts.count - 1]
      starts += part.starts.dropFirst().map { $0 + offset }
    }
    self.init(
      nVocabulary: parts.first?.nVocabulary ?? 0, starts: starts, indices: parts.flatMap(\.indices),
      probabilities: parts.flatMap(\.probabilities), tailMasses: parts.flatMap(\.tailMasses),
      entropies: parts.flatMap(\.entropies))
  }

  public var nTokens: Int { tailMasses.count }

  /// Some of the tokens, for instance those of one sequence of a frame.
  public func tokens(_ range: Range<Int>) -> TeacherTargets {
    let entries = starts[range.lowerBound]..<starts[range.upperBound]
    return TeacherTargets(
      nVocabulary: nVocabulary, starts: starts[range.lowerBound...range.upperBound].map { $0 - entries.lowerBound },
      indices: Array(indices[entries]), probabilities: Array(probabilities[entries]),
      tailMasses: Array(tailMasses[range]), entropies: Array(entropies[range]))
  }
}
