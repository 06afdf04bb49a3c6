import LinearAlgebra
import SAE

/// The sign of the momentum: see `SignumStep`.
final class Signum: UpdateRule {
  let memory: [[OptimizerTensor]]
  private let momentum, weightDecay: Float

  init(_ parameters: [Parameter], momentum: Float, weightDecay: Float) {
    (self.momentum, self.weightDecay) = (momentum, weightDecay)
    memory = parameters.map { [OptimizerTensor("m", like: $0)] }
  }

  func apply(to parameter: Parameter, _ index: Int, learningRate: Float, step: Int, _ update: RowUpdate) {
    let m = memory[index][0]
    signum(
      &parameter.value, gradient: parameter.gradient, m: &m.value,
      SignumStep(learningRate: learningRate, momentum: momentum, weightDecay: parameter.decays ? weightDecay : 0),
      update)
  }
}
