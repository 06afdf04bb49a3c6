import LinearAlgebra

/// What makes one kind of SAE differ from another, between its encoder and its decoder: which pre-activations become
/// latents, what the loss says of them, and how gradients pass back. One file each, in `Architectures/`.
///
/// A training step calls, for every batch: `begin`, `selection`, `activate`, `addReconstruction`, `backward`,
/// `finish`, `finishBatch`.
protocol LatentRule: AnyObject {
  /// Trained tensors besides those of encoder and decoder.
  var parameters: [Parameter] { get }
  /// Numbers that steps change besides the parameters (running averages, annealed constants), kept in checkpoints.
  var state: [Double] { get set }
  /// Whether `state` may be set to numbers that come from a file.
  func canHold(_ state: [Double]) -> Bool
  /// Whether codes of training hold entries that are not active but carry a gradient.
  var keepsInactive: Bool { get }
  /// Widths of nested prefixes of the latents, ascending, the last all of them: the loss is the mean over those
  /// prefixes of the error of a reconstruction from each. Empty: the error of the whole.
  var prefixes: [Int] { get }
  /// Active latents per token of a second, wider code whose error enters the loss (Multi-TopK).
  var widerK: Int? { get }
  /// What the pre-activation of each latent must exceed in inference, where that is not 0 by definition. [dSAE]
  var thresholds: [Float]? { get }

  /// Called before step `step` of `nSteps`, from 0.
  func begin(step: Int, of nSteps: Int)
  /// The pre-activations that a code of `rows` tokens is made from.
  func selection(rows: Int, isTraining: Bool) -> CodeSelection
  /// `code.values`: from pre-activations to latents.
  func activate(_ code: inout SparseCode, isTraining: Bool)
  /// For rules that reconstruct x [tokens of the code, dIn], less bDec, or a transcoder's target, a second time: adds the loss
  /// of that, and keeps its gradients for `backward`, which comes next. decoder: [dSAE, dIn].
  func addReconstruction(
    of x: Strip, _ code: SparseCode, decoder: borrowing Matrix, batchRows: Int, losses: inout StepLosses)
  /// `code.gradients`: from those of the reconstruction's loss with respect to latents, to those of the whole loss with
  /// respect to pre-activations. Adds the rule's own losses to `losses` and sets the gradients of `parameters`.
  /// `code` may be a part of the batch; means are over its `batchRows` tokens, and parts add up.
  func backward(_ code: inout SparseCode, batchRows: Int, losses: inout StepLosses)
  /// Called when the encoder's gradients of `code` are known, for gradients that are sums per latent; `isFirst` for the
  /// first part of a batch.
  func finish(_ code: SparseCode, _ index: LatentIndex, bEnc: Parameter, isFirst: Bool)
  /// Called once all parts of a batch are finished, and the gradient of bDec is made from that of bEnc.
  func finishBatch(bEnc: Parameter)
  /// Sets what `parameters` hold of some latents, one column each, as at the start.
  func reset(_ latents: [Int32])
}

extension LatentRule {
  var parameters: [Parameter] { [] }
  var state: [Double] {
    get { [] }
    set { precondition(newValue.isEmpty, "a rule without state is given \(newValue.count) numbers") }
  }
  func canHold(_ state: [Double]) -> Bool { state.isEmpty }
  var keepsInactive: Bool { false }
  var prefixes: [Int] { [] }
  var widerK: Int? { nil }
  var thresholds: [Float]? { nil }
  func begin(step: Int, of nSteps: Int) {}
  func activate(_ code: inout SparseCode, isTraining: Bool) {}
  func addReconstruction(
    of x: Strip, _ code: SparseCode, decoder: borrowing Matrix, batchRows: Int, losses: inout StepLosses
  ) {}
  func backward(_ code: inout SparseCode, batchRows: Int, losses: inout StepLosses) {}
  func finish(_ code: SparseCode, _ index: LatentIndex, bEnc: Parameter, isFirst: Bool) {}
  func finishBatch(bEnc: Parameter) {}
  func reset(_ latents: [Int32]) {}
}

/// A rule that also works on a full matrix of latents, which is faster while many of them are active.
protocol DenseLatentRule: LatentRule {
  /// Whether this rule's settings are among those that the dense form knows.
  var isDenseCapable: Bool { get }
  /// Share of latents per token that can be active.
  var mostActive: Double { get }
  /// Share of active latents above which a full matrix is faster; measured at d 768, n 24,576 and d 64, n 512.
  var denseShare: Double { get }
  /// acts [rows, latents]: from products of encoder and input to latents. Returns Σ|c| and the number of active ones.
  func activate(dense acts: inout Matrix, bias: borrowing Matrix) -> (sum: Double, nActive: Int)
  /// On how many of the tokens each latent is active. [latents]
  func uses(dense acts: borrowing Matrix) -> [Int32]
  /// dActs [rows, latents]: from dLoss/dLatent to dLoss/dPreActivation, penalties included.
  func backward(dense dActs: inout Matrix, acts: borrowing Matrix, batchRows: Int)
  /// The rule's own losses of a batch, from Σ|c|.
  func addLosses(sum: Double, batchRows: Int, to losses: inout StepLosses)
}

extension DenseLatentRule {
  var mostActive: Double { 1 }
  var denseShare: Double { 1 / 16 }
  func uses(dense acts: borrowing Matrix) -> [Int32] { positiveCounts(acts) }
}
