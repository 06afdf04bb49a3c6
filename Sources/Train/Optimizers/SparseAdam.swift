import LinearAlgebra
import SAE

/// Adam on rows with a gradient: see `sparseAdam`.
final class SparseAdam: UpdateRule {
  let memory: [[OptimizerTensor]]
  var skipsUnusedRows: Bool { true }
  private let beta1, beta2: Float
  /// Where the steps are global: no counts.
  private let noCounts = OptimizerTensor("steps", 0, 0)

  init(_ parameters: [Parameter], beta1: Float, beta2: Float, steps: OptimizerConfiguration.SparseSteps) {
    (self.beta1, self.beta2) = (beta1, beta2)
    memory = parameters.map {
      let moments = [OptimizerTensor("m", like: $0), OptimizerTensor("v", like: $0)]
      let (rows, columns) = ($0.value.rows, $0.isElementwise ? $0.value.columns : 1)
      switch steps {
      case .global: return moments
      case .row: return moments + [OptimizerTensor("steps", rows, columns)]
      }
    }
  }

  func apply(to parameter: Parameter, _ index: Int, learningRate: Float, step: Int, _ update: RowUpdate) {
    let (m, v) = (memory[index][0], memory[index][1])
    let counts = memory[index].count > 2 ? memory[index][2] : noCounts
    sparseAdam(
      &parameter.value, gradient: parameter.rowGradient, m: &m.value, v: &v.value, counts: &counts.value,
      AdamStep(learningRate: learningRate, beta1: beta1, beta2: beta2, step: step), update)
  }
}
