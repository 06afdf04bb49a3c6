import LinearAlgebra

/// c = max(pre, 0), with the penalty λ · mean over tokens of ‖c‖_p / dIn (Bricken et al. 2023 with p = 1; e2e_sae, whose
/// λ is ours).
final class ReLU: DenseLatentRule {
  private let l1: Float
  private let p: Float
  private let width: Int

  /// - Parameter width: of what is reconstructed, dIn but for transcoders.
  init(l1: Float, p: Float, width: Int) {
    (self.l1, self.p, self.width) = (l1, p, width)
  }

  /// Gradient of the penalty with respect to an active latent where p is 1.
  private func slope(_ batchRows: Int) -> Float { l1 / Float(width * batchRows) }

  func selection(rows: Int, isTraining: Bool) -> CodeSelection { .positive }

  func backward(_ code: inout SparseCode, batchRows: Int, losses: inout StepLosses) {
    let sum = addNormGradients(&code, p: p, times: slope(batchRows))
    addLosses(sum: sum, batchRows: batchRows, to: &losses)
  }

  /// The dense step knows no other norm.
  var isDenseCapable: Bool { p == 1 }

  func activate(dense acts: inout Matrix, bias: borrowing Matrix) -> (sum: Double, nActive: Int) {
    rectify(&acts, bias: bias)
  }

  func backward(dense dActs: inout Matrix, acts: borrowing Matrix, batchRows: Int) {
    maskGradient(&dActs, where: acts, offset: slope(batchRows))
  }

  func addLosses(sum: Double, batchRows: Int, to losses: inout StepLosses) {
    let penalty = sum / Double(width * batchRows)
    losses.sparsity += penalty
    losses.total += Double(l1) * penalty
  }
}
