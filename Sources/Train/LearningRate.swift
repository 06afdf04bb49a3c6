import Foundation

/// A peak learning rate: a number, or `auto`, a rule of the optimizer and the number of latents n.
package enum LearningRate: Sendable, Equatable {
  case auto
  case fixed(Double)

  /// adam, adamw, sparse-adam: 2e-4 / √(n / 2¹⁴), the rule of dictionary_learning and sparsify after Gao et al. 2024 (peak ∝
  /// 1/√n). signum: 5e-3 / √(n / 2¹⁴), as sparsify. sgd, whose steps grow with the gradients, has no rule: nil.
  package func peak(_ optimizer: OptimizerConfiguration.Kind, dSAE: Int) -> Float? {
    if case .fixed(let rate) = self { return Float(rate) }
    let base: Float
    switch optimizer {
    case .adam, .adamw, .sparseAdam: base = 2e-4
    case .signum: base = 5e-3
    case .sgd: return nil
    }
    return base / (Float(dSAE) / 16_384).squareRoot()
  }

  /// `auto` or a number.
  package init?(_ text: String) {
    if text == "auto" {
      self = .auto
    } else if let rate = Double(text) {
      self = .fixed(rate)
    } else {
      return nil
    }
  }
}

extension LearningRate: ExpressibleByFloatLiteral {
  package init(floatLiteral value: Double) { self = .fixed(value) }
}

extension LearningRate: Codable {
  package init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    let text = try container.decode(String.self)
    guard let rate = LearningRate(text) else {
      throw DecodingError.dataCorruptedError(
        in: container, debugDescription: "\(text) is neither auto nor a number")
    }
    self = rate
  }

  package func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    switch self {
    case .auto: try container.encode("auto")
    case .fixed(let rate): try container.encode(rate)
    }
  }
}
