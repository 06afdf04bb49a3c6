import LinearAlgebra

/// The k largest positive pre-activations of a token (Gao et al. 2024, §2.3).
final class TopK: LatentRule {
  private var k: AnnealedK
  private let isMulti: Bool
  private let nLatents: Int

  /// - Parameter isMulti: Multi-TopK, see `SparseAutoencoder.addMultiTopKGradients`.
  init(k: AnnealedK, nLatents: Int, isMulti: Bool) {
    (self.k, self.nLatents, self.isMulti) = (k, nLatents, isMulti)
  }

  func begin(step: Int, of nSteps: Int) { k.begin(step: step, of: nSteps) }

  func selection(rows: Int, isTraining: Bool) -> CodeSelection { .topK(isTraining ? k.current : k.k) }

  var widerK: Int? { isMulti ? min(4 * k.current, nLatents) : nil }
}
