import LinearAlgebra
import SAE

/// What makes one optimizer differ from another: how a gradient changes a parameter, and what it remembers. One file each,
/// in `Optimizers/`.
protocol UpdateRule: AnyObject {
  /// What is kept from step to step, for each parameter.
  var memory: [[OptimizerTensor]] { get }
  /// Whether rows without a gradient are left alone.
  var skipsUnusedRows: Bool { get }
  /// Step `step`, from 1, of parameter number `index`.
  func apply(to parameter: Parameter, _ index: Int, learningRate: Float, step: Int, _ update: RowUpdate)
}

extension UpdateRule {
  var skipsUnusedRows: Bool { false }
}

/// Numbers that an optimizer keeps for a parameter, and their name in checkpoints: `<name>.<parameter>`.
final class OptimizerTensor {
  let name: String
  var value: Matrix

  /// Zeros of the given shape.
  init(_ name: String, _ rows: Int, _ columns: Int) {
    self.name = name
    value = Matrix(rows, columns)
  }

  /// Zeros of a parameter's shape.
  convenience init(_ name: String, like parameter: Parameter) {
    self.init(name, parameter.value.rows, parameter.value.columns)
  }
}

extension OptimizerConfiguration {
  func makeRule(_ parameters: [Parameter]) -> any UpdateRule {
    switch kind {
    case .adam: Adam(parameters, beta1: beta1, beta2: beta2, weightDecay: 0)
    case .adamw: Adam(parameters, beta1: beta1, beta2: beta2, weightDecay: weightDecay)
    case .sgd: SGD(parameters, momentum: momentum, weightDecay: weightDecay)
    case .signum: Signum(parameters, momentum: momentum, weightDecay: weightDecay)
    case .sparseAdam: SparseAdam(parameters, beta1: beta1, beta2: beta2, steps: sparseSteps)
    }
  }
}
