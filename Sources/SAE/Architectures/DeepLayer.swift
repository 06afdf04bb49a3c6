import LinearAlgebra

/// A hidden layer of a `deep` autoencoder: out = norm(f(x·W + b)), where f may be missing (the last layer) and norm is a
/// LayerNorm or nothing.
final class DeepLayer {
  /// Where a layer's gradients are added up, each of its parameter's shape.
  struct Sums {
    let weight: Strip
    let bias: Strip
    let norm: (weight: Strip, bias: Strip)?
  }

  /// [m, width]; row i is what element i of the input adds to the result.
  let weight: Parameter
  /// [1, width]
  let bias: Parameter
  /// LayerNorm's scale and shift, [1, width]; nil without.
  let norm: (weight: Parameter, bias: Parameter)?
  private let activation: HiddenActivation?
  /// torch's.
  private let epsilon: Float = 1e-5

  init(_ name: String, from width: Int, to out: Int, _ activation: HiddenActivation?, hasNorm: Bool) {
    weight = Parameter("\(name).weight", Matrix(width, out))
    bias = Parameter("\(name).bias", Matrix(1, out))
    norm =
      hasNorm
      ? (
        weight: Parameter("\(name).norm_weight", Matrix(1, out, repeating: 1)),
        bias: Parameter("\(name).norm_bias", Matrix(1, out))
      ) : nil
    self.activation = activation
  }

  var parameters: [Parameter] { [weight, bias] + (norm.map { [$0.weight, $0.bias] } ?? []) }

  var width: Int { weight.value.columns }

  /// For `x` [rows, m]: `acts` = f(x·W + b), and `result` = norm(acts) [+ other], which is not written where it would be the
  /// same. All [rows, width].
  func forward(_ x: Strip, acts: Strip, plus other: Strip? = nil, result: Strip) {
    tiledProduct(x, weight.value.strip, into: acts)
    activate(acts, activation, bias: bias.value.strip)
    if let norm {
      layerNorm(
        acts, epsilon: epsilon, weight: norm.weight.value.strip, bias: norm.bias.value.strip, plus: other, into: result)
    } else if let other {
      result.assign(acts)
      add(other, to: result)
    }
  }

  /// From dLoss/dResult to dLoss/d(x·W + b), in place, and to the gradients of all parameters, which `sums` become or are
  /// added to.
  func backward(_ gradient: Strip, x: Strip, acts: Strip, sums: Sums, accumulating: Bool) {
    if let norm, let normSums = sums.norm {
      passBackThroughLayerNorm(
        gradient, x: acts, epsilon: epsilon, weight: norm.weight.value.strip, dWeight: normSums.weight,
        dBias: normSums.bias,
        accumulating: accumulating)
    }
    passBack(gradient, through: activation, result: acts, dBias: sums.bias, accumulating: accumulating)
    tiledProduct(x, gradient, into: sums.weight, transposeA: true, accumulating: accumulating)
  }

  /// dLoss/dx [rows, m] of the `gradient` that `backward` left.
  func inputGradient(_ gradient: Strip, into dX: Strip) {
    tiledProduct(gradient, weight.value.strip, into: dX, transposeB: true)
  }
}
