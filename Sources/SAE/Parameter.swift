import LinearAlgebra

/// A trained tensor and the gradient of the loss with respect to it, of the same shape.
package final class Parameter {
  /// The name in files: `W_enc`, `b_enc`, `W_dec`, `b_dec`.
  package let name: String
  package var value: Matrix
  package var gradient: Matrix
  /// Whether the optimizer holds each row at unit norm.
  package var hasUnitRows = false

  package init(_ name: String, _ value: consuming Matrix) {
    self.name = name
    gradient = Matrix(value.rows, value.columns)
    self.value = value
  }
}
