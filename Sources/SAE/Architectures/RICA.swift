import LinearAlgebra

/// c = W·(x − bDec), all of it, with the penalty λ · mean over tokens of Σ log cosh c / dIn and x̂ = Wᵀ·c + bDec: independent
/// components whose orthonormality is left to the reconstruction (Le, Karpenko, Ngiam & Ng 2011, "ICA with reconstruction
/// cost"). Theirs is λ'/m · Σ_i ‖WᵀW x_i − x_i‖² + Σ_i Σ_j log cosh W_j x_i over m tokens: with our means, λ = m/λ'. They
/// whiten the input and have no bDec. Rows of W are free: it is the reconstruction that keeps them from vanishing.
///
/// Every latent of every token is active, with either sign, so training works on full matrices.
final class RICA: DenseLatentRule {
  private let l1: Float
  private let width: Int
  private let nLatents: Int
  /// Σ log cosh c since losses were last added.
  private var sum = 0.0

  /// - Parameter width: dIn.
  init(l1: Float, width: Int, nLatents: Int) {
    (self.l1, self.width, self.nLatents) = (l1, width, nLatents)
  }

  private func slope(_ batchRows: Int) -> Float { l1 / Float(width * batchRows) }

  func selection(rows: Int, isTraining: Bool) -> CodeSelection {
    .above([Float](repeating: -.infinity, count: nLatents))
  }

  func backward(_ code: inout SparseCode, batchRows: Int, losses: inout StepLosses) {
    sum += addLogCoshGradients(&code, times: slope(batchRows))
    addLosses(sum: 0, batchRows: batchRows, to: &losses)
  }

  var isDenseCapable: Bool { true }

  func activate(dense acts: inout Matrix, bias: borrowing Matrix) -> (sum: Double, nActive: Int) {
    let (sum, sizes) = sumOfLogCosh(acts)
    self.sum += sum
    return (sizes, acts.count)
  }

  func uses(dense acts: borrowing Matrix) -> [Int32] {
    [Int32](repeating: Int32(acts.rows), count: acts.columns)
  }

  func backward(dense dActs: inout Matrix, acts: borrowing Matrix, batchRows: Int) {
    addLogCoshGradient(&dActs, of: acts, times: slope(batchRows))
  }

  func addLosses(sum: Double, batchRows: Int, to losses: inout StepLosses) {
    let penalty = self.sum / Double(width * batchRows)
    losses.sparsity += penalty
    losses.total += Double(l1) * penalty
    self.sum = 0
  }
}
