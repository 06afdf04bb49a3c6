/// Which optimizer, with its constants.
package struct OptimizerConfiguration: Sendable, Equatable {
  package enum Kind: String, Codable, Sendable, CaseIterable {
    /// torch.optim.Adam.
    case adam
    /// torch.optim.AdamW: Adam with decoupled weight decay.
    case adamw
    /// torch.optim.SGD with momentum.
    case sgd
    /// The sign of the momentum (Bernstein et al. 2018).
    case signum
    /// Adam that leaves rows without gradient alone.
    case sparseAdam = "sparse-adam"

    /// Whether it has the two moments of Adam.
    var isAdam: Bool { self == .adam || self == .adamw || self == .sparseAdam }
  }

  /// What sparse Adam corrects the bias of its moments by.
  package enum SparseSteps: String, Codable, Sendable, CaseIterable {
    /// The steps of the run, as torch.optim.SparseAdam.
    case global
    /// The steps in which the row had a gradient.
    case row
  }

  package var kind = Kind.adam
  package var beta1: Float = 0.9
  package var beta2: Float = 0.999
  /// sgd, signum.
  package var momentum: Float = 0.9
  /// adamw, sgd, signum; acts on parameters that say so.
  package var weightDecay: Float = 0
  package var sparseSteps = SparseSteps.global
  /// Joint gradient norm above which gradients are scaled down; 0: never.
  package var clip: Float = 1
  /// Decay of the moving average of weights; 0: none is kept.
  package var ema: Float = 0

  package init() {}

  /// Numbers that are kept per weight.
  var nCopies: Int {
    let own =
      switch kind {
      case .adam, .adamw, .sparseAdam: 2
      case .sgd, .signum: 1
      }
    return own + (ema > 0 ? 1 : 0)
  }
}
