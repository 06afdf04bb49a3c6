import Transformer

/// Which streams a training run reads.
package enum HookClosure {
  package struct Need: Equatable, Sendable {
    /// "tokens" or "hooks/<name>".
    package let stream: String
    package let why: String
  }

  /// - Parameters:
  ///   - hook, targetHook: as the training configuration names them.
  ///   - isParallel: the model adds attention and MLP to the residual stream at once.
  /// - Throws: `MeasureError.invalid` for an objective that nobody knows, or a hook that e2e training cannot start from.
  package static func needs(
    objective: String, hook: String, targetHook: String? = nil, isParallel: Bool = false
  ) throws -> [Need] {
    let own = Need(stream: "hooks/\(hook)", why: "the SAE's input")
    let made = targetHook.map { [Need(stream: "hooks/\($0)", why: "what the transcoder makes")] } ?? []
    let tokens = Need(stream: "tokens", why: "filters, evaluation")
    switch objective {
    case "local": return [tokens, own] + made
    case "e2e":
      guard let point = HookPoint(name: hook) else { throw MeasureError.invalid("\(hook) is no hook point") }
      let rest = residual(beside: point, isParallel: isParallel).map {
        Need(stream: "hooks/\($0.name)", why: "the residual stream that \(hook) is added to")
      }
      return [Need(stream: "tokens", why: "next-token targets"), own] + rest
    default: throw MeasureError.invalid("objective \(objective) is not known; known are local and e2e")
    }
  }

  /// What has to be known beside the activation at a hook to run the rest of the model from there: a residual stream
  /// is all that follows depends on; what is added to one needs the stream, or what else is added.
  private static func residual(beside point: HookPoint, isParallel: Bool) -> [HookPoint] {
    switch point {
    case .finalNormalized, .block(_, .residPre), .block(_, .residMid), .block(_, .residPost): []
    // The other embedding follows from the tokens.
    case .embed, .posEmbed: []
    case .block(let layer, .z), .block(let layer, .attnOut):
      isParallel ? [.block(layer, .residPre), .block(layer, .mlpOut)] : [.block(layer, .residPre)]
    case .block(let layer, .post), .block(let layer, .mlpOut):
      isParallel ? [.block(layer, .residPre), .block(layer, .attnOut)] : [.block(layer, .residMid)]
    }
  }
}
