import LinearAlgebra

/// The hidden layers of a `deep` autoencoder.
package struct DeepShape: Codable, Sendable, Equatable {
  /// What the sparse layer is.
  package enum Sparse: String, Codable, Sendable, CaseIterable {
    case relu, topk
  }

  package var sparse = Sparse.relu
  /// Widths of the encoder's hidden layers, from the input on; empty: the sparse layer sees the input itself.
  package var encoder: [Int] = []
  /// Widths of the decoder's hidden layers, from the latents on; empty: latents are decoded as by other kinds.
  package var decoder: [Int] = []
  package var encoderActivation = HiddenActivation.tanh
  package var decoderActivation = HiddenActivation.relu
  /// Whether a LayerNorm follows each of the encoder's hidden layers.
  package var layerNorm = true
  /// Whether the input is added to what the encoder's hidden layers give the sparse one.
  package var residual = true

  package init() {}

  /// `128`, `256,1x` (in multiples of the activations' width) or `none`. Throws `SAEError.invalid` naming `name`.
  package static func widths(_ text: String, of name: String, dIn: Int) throws(SAEError) -> [Int] {
    if text == "none" { return [] }
    var widths: [Int] = []
    for part in text.split(separator: ",", omittingEmptySubsequences: false) {
      let isMultiple = part.hasSuffix("x")
      guard let number = Int(isMultiple ? part.dropLast() : part), number >= 1,
        case let (width, overflow) = number.multipliedReportingOverflow(by: isMultiple ? dIn : 1), !overflow
      else {
        throw .invalid(
          "\(name) is \(text); expected widths of layers such as 128 or 2x,1x (times the input's), or none")
      }
      widths.append(width)
    }
    return widths
  }

  /// Throws `SAEError.invalid` naming the first value that makes no sense for inputs of width `dIn`.
  func validate(dIn: Int) throws(SAEError) {
    for (name, widths) in [("encoder-hidden", encoder), ("decoder-hidden", decoder)] {
      if widths.count > 16 || widths.contains(where: { $0 < 1 || $0 > 65_536 }) {
        throw .invalid("\(name) is \(widths); up to 16 layers of 1 to 65,536 are allowed")
      }
    }
    if residual, let last = encoder.last, last != dIn {
      throw .invalid(
        "the last of encoder-hidden is \(last), but the residual adds the input of width \(dIn) to it; make it \(dIn), or "
          + "give --no-residual")
    }
  }
}
