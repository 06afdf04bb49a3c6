/// Consecutive sequences with the activations of all hooks, on their way into a cache.
package struct SequenceBlock: Sendable {
  /// Number of the first sequence in the cache.
  package let first: Int
  package let nSequences: Int
  /// [nSequences · context]
  package let tokens: [UInt32]
  /// [nSequences]: how many positions of each are text.
  package let lengths: [UInt32]
  /// For each stream that is written, in its order: [nSequences · context, width], row-major.
  package let activations: [[Float]]

  package init(first: Int, tokens: [UInt32], lengths: [UInt32], activations: [[Float]]) {
    self.first = first
    nSequences = lengths.count
    self.tokens = tokens
    self.lengths = lengths
    self.activations = activations
  }
}
