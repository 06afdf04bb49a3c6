import LinearAlgebra

/// y = x·Wᵀ + b.
final class Linear: Sendable {
  /// [dOut, dIn]; or [dIn, dOut] if `isTransposed` (GPT-2's files).
  let weight: Matrix
  let isTransposed: Bool
  /// [1, dOut] or none.
  let bias: Matrix?

  init(weight: consuming Matrix, isTransposed: Bool = false, bias: consuming Matrix?) {
    self.weight = weight
    self.isTransposed = isTransposed
    self.bias = bias
  }

  var biasStrip: Strip? {
    switch bias {
    case .some(let bias): bias.strip
    case .none: nil
    }
  }

  /// x [rows, dIn] into y [rows, dOut], overwritten; the bias is left out for callers that add it on their way.
  func multiply(_ x: Strip, into y: Strip) { gemm(x, weight.strip, into: y, transposeB: !isTransposed) }

  func callAsFunction(_ x: Strip, into y: Strip) {
    multiply(x, into: y)
    if let bias = biasStrip { addBias(bias, to: y) }
  }
}

/// A LayerNorm or RMSNorm with its weights.
final class NormLayer: Sendable {
  let kind: Normalization
  let epsilon: Float
  /// [1, dModel]
  let weight: Matrix
  /// [1, dModel] or none.
  let bias: Matrix?

  init(_ configuration: ModelConfiguration, weight: consuming Matrix, bias: consuming Matrix?) {
    kind = configuration.normalization
    epsilon = configuration.epsilon
    self.weight = weight
    self.bias = bias
  }

  private var biasStrip: Strip? {
    switch bias {
    case .some(let bias): bias.strip
    case .none: nil
    }
  }

  /// x [rows, dModel] into y, overwritten.
  func callAsFunction(_ x: Strip, into y: Strip) {
    normalize(x, kind, epsilon: epsilon, weight: weight.strip, bias: biasStrip, into: y)
  }

  /// Without weight and bias.
  func bare(_ x: Strip, into y: Strip) { normalize(x, kind, epsilon: epsilon, into: y) }

  /// What `bare` leaves to do: y·weight + bias.
  func scale(_ x: Strip, into y: Strip) { scaleAndShift(x, weight: weight.strip, bias: biasStrip, into: y) }
}
