import Foundation
import LinearAlgebra
import SAE

/// The exponential moving average of the weights after each step t, without the bias of its start (as the `EmaModel` of
/// openai/sparse_autoencoder):
///
///     e_t = Σ_s β^(t−s) p_s / Σ_s β^(t−s)    that is    e_t = e_{t−1} + (1−β)/(1−βᵗ) · (p_t − e_{t−1})
final class WeightAverage {
  /// Of its tensors in checkpoints.
  static let name = "ema"
  let memory: [OptimizerTensor]
  private let decay: Float

  init(_ parameters: [Parameter], decay: Float) {
    self.decay = decay
    memory = parameters.map { OptimizerTensor(Self.name, like: $0) }
  }

  /// Adds the weights after step `step`, from 1.
  func add(_ parameters: [Parameter], step: Int) {
    // Exact at step 1, where the average is the weights.
    let share = step == 1 ? 1 : Float((1 - Double(decay)) / (1 - pow(Double(decay), Double(step))))
    for (parameter, average) in zip(parameters, memory) {
      move(&average.value, towards: parameter.value, share: share)
    }
  }

  /// Makes the average the weights; rows that are held at unit norm are scaled to it, as an average of unit vectors is
  /// shorter.
  func put(into parameters: [Parameter]) {
    for (parameter, average) in zip(parameters, memory) {
      parameter.value.assign(average.value)
      if parameter.hasUnitRows { normalizeRows(&parameter.value) }
    }
  }
}
