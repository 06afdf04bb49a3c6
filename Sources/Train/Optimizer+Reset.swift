import LinearAlgebra
import SAE

extension Optimizer {
  /// Forgets what is remembered of some rows of `parameter`, or of elements of a bias, that were set anew: moments and
  /// counts of steps become 0, an average of weights begins again with the new ones. The steps of the run go on, so that
  /// the next update with adam is some 3.2 times the learning rate, as in Bricken et al. 2023.
  package func reset(_ rows: [Int32], of parameter: Parameter) {
    guard let index = parameters.firstIndex(where: { $0 === parameter }) else {
      preconditionFailure("\(parameter.name) is not among the parameters of this optimizer")
    }
    for tensor in memory[index] {
      let isAverage = tensor.name == WeightAverage.name
      for row in rows {
        if parameter.isElementwise {
          tensor.value[0, Int(row)] = isAverage ? parameter.value[0, Int(row)] : 0
        } else {
          for column in 0..<tensor.value.columns {
            tensor.value[Int(row), column] = isAverage ? parameter.value[Int(row), column] : 0
          }
        }
      }
    }
  }
}
