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

  /// The gradient of y into that of x, overwritten: dX = dY·W.
  func backward(_ dY: Strip, into dX: Strip) { gemm(dY, weight.strip, into: dX, transposeB: isTransposed) }
}

/// A LayerNorm or RMSNorm with its weights.
final class NormLayer: Sendable {
  let kind: Normalization
  let epsilon: Float
  /// [1, dModel]
  let weight: Matrix
  /// [1, dModel] or none.
  let bias: Matrix?

  convenience init(_ configuration: ModelConfiguration, weight: consuming Matrix, bias: consuming Matrix?) {
    self.init(configuration.normalization, epsilon: configuration.epsilon, weight: weight, bias: bias)
  }

  init(_ kind: Normalization, epsilon: Float, weight: consuming Matrix, bias: consuming Matrix?) {
    self.kind = kind
    self.epsilon = epsilon
    self.weight = weight
    self.bias = bias
  }

  var biasStrip: Strip? {
    switch bias {
    case .some(let bias): bias.strip
    case .none: nil
    }
  }

  /// x [rows, dModel] into y, overwritten.
  func callAsFunction(_ x: Strip, into y: Strip) {
    normalize(x, kind, epsilon: epsilon, weight: weight.strip, bias: biasStrip, into: y)
  }

  /// The gradient of y is taken to that of x and added to `dX`; x is what went in.
  func backward(_ x: Strip, dY: Strip, accumulatingInto dX: Strip) {
    normalizeBackward(x, kind, epsilon: epsilon, weight: weight.strip, dY: dY, accumulatingInto: dX)
  }

  /// Without weight and bias.
  func bare(_ x: Strip, into y: Strip) { normalize(x, kind, epsilon: epsilon, into: y) }

  /// What `bare` leaves to do: y·weight + bias.
  func scale(_ x: Strip, into y: Strip) { scaleAndShift(x, weight: weight.strip, bias: biasStrip, into: y) }
}
