import LinearAlgebra

/// What becomes of raw activations before an SAE is trained on them.
package enum InputNormalization: Hashable, Sendable {
  /// All are multiplied by one number, such that a typical ‖x‖² is the width. Files have it folded in.
  case factor(Float)
  /// Each token gets mean 0 and standard deviation 1, and its reconstruction its own back (`standardizeTokens`).
  case perToken

  /// Returns what `restore` needs.
  @discardableResult package func apply(to x: inout Matrix) -> TokenMoments? {
    switch self {
    case .factor(let factor):
      x.scale(by: factor)
      return nil
    case .perToken: return standardizeTokens(&x)
    }
  }

  /// Raw activations of normalised ones; `moments` as `apply` gave them.
  package func restore(_ x: inout Matrix, _ moments: TokenMoments?) {
    switch self {
    case .factor(let factor): x.scale(by: 1 / factor)
    case .perToken: if let moments { restoreTokens(&x, moments) }
    }
  }

  /// dLoss/dNormalised from dLoss/dRaw of what `restore` made, the moments being constants.
  package func passBackThroughRestoring(_ gradient: inout Matrix, _ moments: TokenMoments?) {
    restore(&gradient, moments?.withoutMeans)
  }

  /// The factor on activations of which files hold the weights: raw ones, or standardized ones.
  var folded: Float {
    switch self {
    case .factor(let factor): factor
    case .perToken: 1
    }
  }

  /// SAELens' names of what weights in a file expect.
  enum OfFile: String, Codable { case none, layerNorm = "layer_norm" }

  var ofFile: OfFile { self == .perToken ? .layerNorm : .none }
}
