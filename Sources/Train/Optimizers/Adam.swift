import LinearAlgebra
import SAE

/// Adam, and AdamW where there is weight decay: see `AdamStep`.
final class Adam: UpdateRule {
  let memory: [[OptimizerTensor]]
  private let beta1, beta2, weightDecay: Float

  init(_ parameters: [Parameter], beta1: Float, beta2: Float, weightDecay: Float) {
    (self.beta1, self.beta2, self.weightDecay) = (beta1, beta2, weightDecay)
    memory = parameters.map { [OptimizerTensor("m", like: $0), OptimizerTensor("v", like: $0)] }
  }

  func apply(to parameter: Parameter, _ index: Int, learningRate: Float, step: Int, _ update: RowUpdate) {
    let (m, v) = (memory[index][0], memory[index][1])
    adam(
      &parameter.value, gradient: parameter.gradient, m: &m.value, v: &v.value,
      AdamStep(
        learningRate: learningRate, beta1: beta1, beta2: beta2, weightDecay: parameter.decays ? weightDecay : 0,
        step: step), update)
  }
}
