import LinearAlgebra

/// The k largest positive pre-activations of a token (Gao et al. 2024, §2.3).
final class TopK: DenseLatentRule {
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

  var isDenseCapable: Bool { !isMulti }

  // The selection bounds the number of entries, which then cost less than those of other kinds.
  var denseShare: Double { 1 / 8 }

  var mostActive: Double { Double(k.current) / Double(nLatents) }

  func activate(dense acts: inout Matrix, bias: borrowing Matrix) -> (sum: Double, nActive: Int) {
    keepLargest(k.current, of: &acts, bias: bias)
  }

  func backward(dense dActs: inout Matrix, acts: borrowing Matrix, batchRows: Int) {
    maskGradient(&dActs, where: acts, offset: 0)
  }

  func addLosses(sum: Double, batchRows: Int, to losses: inout StepLosses) {}
}
