/// Consecutive sequences with the activations of all hooks, on their way into a cache.
package struct SequenceBlock: Sendable {
  /// Number of the first sequence in the cache.
  package let first: Int
  package let nSequences: Int
  /// [nSequences · context]
  package let tokens: [UInt32]
  /// [nSequences]: how many positions of each are text.
  package let lengths: [UInt32]
  /// For each stream of activations that is written, in its order: [nSequences · context, width], row-major.
  package let activations: [[Float]]
  /// For each stream of teacher targets that is written, in its order: its frames.
  package let targets: [[TargetFrameContent]]
  /// What the streams of `logits/` lose, by their names, measured on a sample.
  package let policyErrors: [String: PolicyError]

  package init(
    first: Int, tokens: [UInt32], lengths: [UInt32], activations: [[Float]], targets: [[TargetFrameContent]] = [],
    policyErrors: [String: PolicyError] = [:]
  ) {
    self.first = first
    nSequences = lengths.count
    self.tokens = tokens
    self.lengths = lengths
    self.activations = activations
    self.targets = targets
    self.policyErrors = policyErrors
  }
}
