import Foundation
import LinearAlgebra
import SAE

/// Adam on an SAE's parameters, some with rows held on the unit sphere. One step, in this order (that of
/// dictionary_learning's TopKTrainer):
///
/// 1. take from the gradient of those its part along each row,
/// 2. scale all gradients so that their joint norm is at most `clip` (as torch.nn.utils.clip_grad_norm_),
/// 3. Adam,
/// 4. scale those rows to unit norm.
package final class Optimizer {
  package let beta1: Float
  package let beta2: Float
  /// 0: no clipping.
  package let clip: Float
  /// Steps taken.
  package var step = 0
  /// First and second moments, in the order of the parameters.
  let moments: [Moments]

  final class Moments {
    var m: Matrix
    var v: Matrix

    init(like parameter: Parameter) {
      m = Matrix(parameter.value.rows, parameter.value.columns)
      v = Matrix(parameter.value.rows, parameter.value.columns)
    }
  }

  package init(_ sae: any Autoencoder, beta1: Float = 0.9, beta2: Float = 0.999, clip: Float = 1) {
    self.beta1 = beta1
    self.beta2 = beta2
    self.clip = clip
    moments = sae.parameters.map { Moments(like: $0) }
  }

  /// Applies the parameters' gradients. Returns the joint norm of the gradients before clipping; nil, with nothing
  /// changed but gradients, if it is not finite.
  @discardableResult
  package func apply(to sae: any Autoencoder, learningRate: Float) -> Double? {
    let parameters = sae.parameters
    for parameter in parameters where parameter.hasUnitRows {
      removeParallelPart(of: &parameter.gradient, along: parameter.value)
    }
    let norm = parameters.reduce(0.0) { $0 + sumOfSquares($1.gradient) }.squareRoot()
    guard norm.isFinite else { return nil }
    step += 1
    let update = AdamStep(
      learningRate: learningRate, beta1: beta1, beta2: beta2, step: step,
      gradientScale: clip > 0 ? Float(min(1, Double(clip) / (norm + 1e-6))) : 1)
    for (parameter, moments) in zip(parameters, moments) {
      adam(
        &parameter.value, gradient: parameter.gradient, m: &moments.m, v: &moments.v, update,
        normalizingRows: parameter.hasUnitRows)
    }
    return norm
  }
}
