import LinearAlgebra
import SAE

/// Gradient descent with momentum: see `SGDStep`.
final class SGD: UpdateRule {
  let memory: [[OptimizerTensor]]
  private let momentum, weightDecay: Float

  init(_ parameters: [Parameter], momentum: Float, weightDecay: Float) {
    (self.momentum, self.weightDecay) = (momentum, weightDecay)
    memory = parameters.map { [OptimizerTensor("b", like: $0)] }
  }

  func apply(to parameter: Parameter, _ index: Int, learningRate: Float, step: Int, _ update: RowUpdate) {
    let b = memory[index][0]
    sgd(
      &parameter.value, gradient: parameter.gradient, b: &b.value,
      SGDStep(learningRate: learningRate, momentum: momentum, weightDecay: parameter.decays ? weightDecay : 0), update)
  }
}
