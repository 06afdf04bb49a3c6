/// Token ids of several sequences of one length. Shorter texts may be padded on the right with any token: attention
/// is causal, so positions before the padding do not see it.
package struct TokenBatch: Sendable, Equatable {
  /// nSequences × nPositions, sequence after sequence.
  package let ids: [UInt32]
  package let nSequences: Int
  package let nPositions: Int

  package init(ids: [UInt32], nSequences: Int, nPositions: Int) {
    precondition(
      nSequences >= 0 && nPositions >= 0 && ids.count == nSequences * nPositions,
      "\(ids.count) ids for \(nSequences) sequences of \(nPositions)")
    (self.ids, self.nSequences, self.nPositions) = (ids, nSequences, nPositions)
  }

  /// For every position the token that follows it in its sequence; nil at the last. The targets of
  /// `TransformerModel.crossEntropy`.
  package var nextTokens: [UInt32?] {
    ids.indices.map { ($0 + 1) % nPositions == 0 ? nil : ids[$0 + 1] }
  }
}
