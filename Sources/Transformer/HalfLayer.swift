/// Half of a layer, with the norm before it: what lies between two neighbouring residual streams of a model whose
/// attention and MLP follow one another.
package enum HalfLayer: Hashable, Sendable {
  /// From `hook_resid_pre` to `hook_resid_mid`.
  case attention(Int)
  /// From `hook_resid_mid` to `hook_resid_post`.
  case mlp(Int)

  package var layer: Int {
    switch self {
    case .attention(let layer), .mlp(let layer): layer
    }
  }

  /// The residual stream that it reads: what a cache must have to run it.
  package var input: HookPoint {
    switch self {
    case .attention(let layer): .block(layer, .residPre)
    case .mlp(let layer): .block(layer, .residMid)
    }
  }

  /// The residual stream that it adds to.
  package var output: HookPoint {
    switch self {
    case .attention(let layer): .block(layer, .residMid)
    case .mlp(let layer): .block(layer, .residPost)
    }
  }
}

extension HalfLayer: CustomStringConvertible {
  package var description: String {
    switch self {
    case .attention(let layer): "the attention of layer \(layer)"
    case .mlp(let layer): "the MLP of layer \(layer)"
    }
  }
}

extension TransformerModel {
  /// The half-layer whose output is the residual stream at `hook`. Throws `TransformerError.invalidRequest` if there
  /// is none.
  package func halfLayer(before hook: HookPoint) throws(TransformerError) -> HalfLayer {
    try checkHalves(at: hook)
    switch hook {
    case .block(let layer, .residPre) where layer > 0: return .mlp(layer - 1)
    case .block(let layer, .residMid): return .attention(layer)
    case .block(let layer, .residPost): return .mlp(layer)
    default: throw .invalidRequest(problem: "no half-layer comes before \(hook), only the embedding")
    }
  }

  /// The half-layer that reads the residual stream at `hook`. Throws `TransformerError.invalidRequest` if there is
  /// none.
  package func halfLayer(after hook: HookPoint) throws(TransformerError) -> HalfLayer {
    try checkHalves(at: hook)
    switch hook {
    case .block(let layer, .residPre): return .attention(layer)
    case .block(let layer, .residMid): return .mlp(layer)
    case .block(let layer, .residPost) where layer + 1 < configuration.nLayers: return .attention(layer + 1)
    default: throw .invalidRequest(problem: "no half-layer comes after \(hook), only the unembedding")
    }
  }

  private func checkHalves(at hook: HookPoint) throws(TransformerError) {
    guard configuration.has(hook) else {
      throw .unknownHook(name: hook.name, valid: configuration.validHooks.map(\.name))
    }
    guard hook.isResidual else {
      throw .invalidRequest(problem: "half-layers lie between residual streams, \(hook) is none")
    }
    if configuration.isParallel {
      throw .invalidRequest(
        problem: "attention and MLP of this model read the same stream, so no half-layer lies beside \(hook)")
    }
  }
}
