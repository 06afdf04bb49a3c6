import LinearAlgebra

/// What evaluation needs: activations to a sparse code, and back.
package protocol SparseCoder: AnyObject {
  var configuration: SAEConfiguration { get }
  /// What it is, for tables.
  var kind: String { get }
  /// The active latents of `x` [tokens, dIn], as inference has them.
  func encode(_ x: borrowing Matrix) -> SparseCode
  /// The reconstruction of a code, [tokens, width of what is reconstructed].
  func decode(_ code: SparseCode) -> Matrix
  /// The same with what does not go through the code of `x`: a transcoder's skip.
  func decode(_ code: SparseCode, of x: borrowing Matrix) -> Matrix
}

extension SparseCoder {
  package var kind: String { configuration.architecture.rawValue }
  package func decode(_ code: SparseCode, of x: borrowing Matrix) -> Matrix { decode(code) }
}

/// What training, evaluation and files need of any autoencoder with sparse latents.
package protocol Autoencoder: SparseCoder {
  /// Trained tensors, and the gradients of the last step.
  var parameters: [Parameter] { get }
  var activity: LatentActivity { get set }
  /// Called at the end of each phase of `computeGradients`, by whoever times them; nil costs nothing.
  var onPhase: ((StepPhase) -> Void)? { get set }
  /// Numbers that steps change besides parameters and activity, for checkpoints.
  var state: [Double] { get set }
  /// Whether `state` may be set to numbers that come from a file.
  func canHold(_ state: [Double]) -> Bool
  /// Whether `encode` standardizes each token first, and `decode` gives it its mean and deviation back. Of training, whose
  /// batches come standardized, false; a file for raw activations says it (`InputNormalization.perToken`).
  var standardizesTokens: Bool { get set }

  /// Called once before the first step with a batch of what is reconstructed, for starting values that depend on it.
  func prepare(from sample: borrowing Matrix)
  /// Shifts the encoder's biases, all alike, so that about `l0` pre-activations per token of `sample` are positive.
  func lowerBias(toL0 l0: Double, on sample: borrowing Matrix)
  /// Called before step `step` of `nSteps`, from 0: what depends on the progress of training is set.
  func begin(step: Int, of nSteps: Int)
  /// Losses of the local objective on the batch `x` [B, dIn] and their exact gradients; records the latents' activity.
  func computeGradients(_ x: borrowing Matrix) -> StepLosses
  /// The same for a transcoder, which reconstructs `target` [B, dOut].
  func computeGradients(_ x: borrowing Matrix, target: borrowing Matrix) -> StepLosses
  /// x̂ of `x` [B, dIn] as training sees it; keeps what `backward` needs.
  func forward(_ x: borrowing Matrix, into recon: inout Matrix)
  /// Gradients for dLoss/dx̂ = `dRecon` [B, dIn] of the batch that `forward` was called with, and the SAE's own losses
  /// but AuxK, which needs a target; records the latents' activity.
  ///
  /// - Parameter dInput: overwritten by dLoss/dx [B, dIn] by way of the encoder and a transcoder's skip; where a loss of the
  ///   kind's own has x as its target (`gated`), that x is a constant.
  func backward(_ dRecon: borrowing Matrix, dInput: Strip?) -> StepLosses
}

extension Autoencoder {
  package func canHold(_ state: [Double]) -> Bool { state.count == self.state.count && state.allSatisfy(\.isFinite) }

  package func computeGradients(_ x: borrowing Matrix, target: borrowing Matrix) -> StepLosses {
    preconditionFailure("\(kind) reconstructs its input, not a target")
  }
}

extension Autoencoder {
  package func backward(_ dRecon: borrowing Matrix) -> StepLosses { backward(dRecon, dInput: nil) }
}

/// What a step does, one after the other, some of it for each part of the batch.
package enum StepPhase: String, Codable, Sendable, CaseIterable {
  /// Products of the encoder and the selection of latents.
  case encode
  /// The reconstruction, and the gradients of latents.
  case decode
  /// Penalties, and the way of gradients back through the architecture's rule.
  case rule
  /// Weight gradients.
  case gradients
  /// Hidden layers of `deep`, both ways.
  case hidden
  /// Everything else.
  case rest
}

/// The losses of one batch, in the units of docs/design.md.
package struct StepLosses: Sendable, Equatable {
  package init() {}

  /// Mean over tokens and elements of (x − x̂)²; for a transcoder x is here, and below, the target.
  package var mse = 0.0
  /// Σ‖x − x̂‖² / Σ‖x − mean‖² of the batch; 0 where all its tokens are equal.
  package var fvu = 0.0
  /// Mean over tokens of ‖c‖₁ / dIn (dOut of a transcoder).
  package var l1 = 0.0
  /// The architecture's own penalty without its coefficient, for `relu` mean ‖c‖_p / dIn.
  package var sparsity = 0.0
  /// ‖e − ê‖² / ‖e − mean e‖²; 0 while no latent is dead. For `gated` the mean of squares of its reconstruction from gates.
  package var aux = 0.0
  /// What is minimised.
  package var total = 0.0
  /// Active latents per token.
  package var l0 = 0.0
  package var nDead = 0

  /// Adds what rules add up part by part.
  mutating func add(_ part: StepLosses) {
    l1 += part.l1
    sparsity += part.sparsity
    aux += part.aux
    total += part.total
  }
}
