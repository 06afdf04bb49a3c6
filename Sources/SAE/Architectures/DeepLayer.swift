import LinearAlgebra

/// A hidden layer of a `deep` autoencoder: out = norm(f(x·W + b)), where f may be missing (the last layer) and norm is a
/// LayerNorm or nothing. Keeps what its gradients need of the rows that `forward` last saw.
final class DeepLayer {
  /// [m, width]; row i is what element i of the input adds to the result.
  let weight: Parameter
  /// [1, width]
  let bias: Parameter
  /// LayerNorm's scale and shift, [1, width]; nil without.
  let norm: (weight: Parameter, bias: Parameter)?
  private let activation: HiddenActivation?
  /// torch's.
  private let epsilon: Float = 1e-5
  /// f(x·W + b), and the whole result where a norm follows. [rows, width]
  private var acts = Matrix(0, 0)
  private var normed = Matrix(0, 0)

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

  /// The result for `x` [rows, m], kept until the next call.
  func forward(_ x: borrowing Matrix) {
    let width = weight.value.columns
    if acts.rows != x.rows { acts = Matrix(uninitialized: x.rows, width) }
    gemm(x, weight.value, into: &acts)
    if let activation {
      activate(&acts, activation, bias: bias.value)
    } else {
      let (rows, shift) = (acts.strip, bias.value.strip)
      Threads.forEachRange(acts.rows, grain: 64) { addBias(shift, to: rows.rows($0)) }
    }
    guard let norm else { return }
    if normed.rows != x.rows { normed = Matrix(uninitialized: x.rows, width) }
    layerNorm(acts, epsilon: epsilon, weight: norm.weight.value, bias: norm.bias.value, into: &normed)
  }

  /// Lends what `forward` made.
  func withResult<R: ~Copyable>(_ body: (borrowing Matrix) -> R) -> R { norm == nil ? body(acts) : body(normed) }

  /// From dLoss/dResult to dLoss/d(x·W + b), in place, and to the gradients of all parameters, which are added to.
  func backward(_ gradient: inout Matrix, x: borrowing Matrix) {
    if let norm {
      passBackThroughLayerNorm(
        &gradient, x: acts, epsilon: epsilon, weight: norm.weight.value, addingTo: &norm.weight.gradient,
        &norm.bias.gradient)
    }
    if let activation { passBack(&gradient, through: activation, result: acts) }
    gemm(x, gradient, into: &weight.gradient, transposeA: true, accumulating: true)
    bias.gradient.add(columnSums(gradient))
  }

  /// dLoss/dx [rows, m] of the `gradient` that `backward` left.
  func inputGradient(_ gradient: borrowing Matrix) -> Matrix {
    var dX = Matrix(uninitialized: gradient.rows, weight.value.rows)
    gemm(gradient, weight.value, into: &dX, transposeB: true)
    return dX
  }
}
