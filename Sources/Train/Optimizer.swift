import LinearAlgebra
import SAE

/// Changes parameters by their gradients, some with rows held on the unit sphere. One step, in this order (that of
/// dictionary_learning's TopKTrainer):
///
/// 1. take from the gradient of those its part along each row,
/// 2. scale all gradients so that their joint norm is at most `clip` (as torch.nn.utils.clip_grad_norm_),
/// 3. the rule's update (`UpdateRule`),
/// 4. scale those rows to unit norm,
/// 5. move the average of the weights, if one is kept.
///
/// The norm is known before the sweep from sums per row (`GradientSums`); 1 to 4 are then one sweep over memory.
package final class Optimizer {
  package let configuration: OptimizerConfiguration
  /// Bytes that the last step had to read and write, where nothing is in cache.
  package private(set) var bytesMoved = 0
  /// Steps taken.
  package var step = 0
  let parameters: [Parameter]
  /// What is kept from step to step, for each parameter.
  let memory: [[OptimizerTensor]]
  private let rule: any UpdateRule
  private let average: WeightAverage?

  package init(_ parameters: [Parameter], _ configuration: OptimizerConfiguration = .init()) {
    self.configuration = configuration
    self.parameters = parameters
    let rule = configuration.makeRule(parameters)
    let average = configuration.ema > 0 ? WeightAverage(parameters, decay: configuration.ema) : nil
    for parameter in parameters { parameter.leavesUnusedRows = rule.skipsUnusedRows }
    memory = parameters.indices.map { index in rule.memory[index] + (average.map { [$0.memory[index]] } ?? []) }
    self.rule = rule
    self.average = average
  }

  /// Applies the parameters' gradients. Returns the joint norm of the gradients before clipping; nil, with nothing
  /// changed, if it is not finite.
  @discardableResult
  package func apply(learningRate: Float) -> Double? {
    bytesMoved = 0
    var squares = 0.0
    var updates: [RowUpdate] = []
    for parameter in parameters {
      let (update, square) = prepare(parameter)
      updates.append(update)
      squares += square
    }
    let norm = squares.squareRoot()
    guard norm.isFinite else { return nil }
    step += 1
    let clip = Double(configuration.clip)
    for (index, parameter) in parameters.enumerated() {
      updates[index].gradientScale = clip > 0 ? Float(min(1, clip / (norm + 1e-6))) : 1
      rule.apply(to: parameter, index, learningRate: learningRate, step: step, updates[index])
      // Weights and memory are read and written, gradients read.
      let count = 3 * parameter.value.count + rule.memory[index].reduce(0) { $0 + 2 * $1.value.count }
      bytesMoved += 4 * count * (updates[index].rows?.count ?? parameter.value.rows) / max(1, parameter.value.rows)
    }
    if let average {
      average.add(parameters, step: step)
      for parameter in parameters { bytesMoved += 3 * 4 * parameter.value.count }
    }
    return norm
  }

  /// The rows to change, and Σ of squares of their gradient without its part along rows of unit norm. Sums that the kernel
  /// of the gradient left are taken as they are.
  private func prepare(_ parameter: Parameter) -> (update: RowUpdate, squares: Double) {
    if parameter.isElementwise { return (RowUpdate(), sumOfSquares(parameter.gradient)) }
    let rows: [Int32]? =
      rule.skipsUnusedRows ? parameter.usedRows ?? rowsWithGradient(parameter.gradient) : nil
    if !parameter.hasSums {
      gradientSums(
        parameter.rowGradient, rows: rows, along: parameter.value, removingParallel: parameter.hasUnitRows,
        into: parameter.sums)
      bytesMoved +=
        4 * (rows?.count ?? parameter.value.rows) * parameter.value.columns * (parameter.hasUnitRows ? 2 : 1)
    }
    return (
      RowUpdate(
        rows: rows, sums: parameter.hasUnitRows ? parameter.sums : nil, normalizing: parameter.hasUnitRows),
      parameter.sums.total(rows: parameter.hasSums ? parameter.usedRows : rows)
    )
  }

  /// What is wrong with the weights: not finite, or rows that are held at unit norm and are not of it; nil if nothing is.
  var problemOfWeights: String? {
    for parameter in parameters {
      guard sumOfSquares(parameter.value).isFinite else {
        return "weights in \(parameter.name), or their squares, are not finite"
      }
      guard parameter.hasUnitRows else { continue }
      for square in squaredNorms(parameter.value) where abs(square - 1) > 0.01 {
        return "a row of \(parameter.name) has norm \(square.squareRoot()), it is held at 1"
      }
    }
    return nil
  }

  /// Puts the average of the weights, if one is kept, into the parameters.
  package func useAverage() { average?.put(into: parameters) }
}
