import Transformer

/// The residual streams that a replaced activation changes.
struct LaterStreams: Sendable {
  /// Every `hook_resid_mid` and `hook_resid_post` after the hook, in forward order: where the reconstruction error is
  /// measured again.
  let measured: [HookPoint]
  /// The residual stream that the error enters: of a hook in the stream the hook itself, of `hook_embed` the first
  /// `hook_resid_pre`, of what attention or MLP compute the stream that their output is added to.
  let entry: HookPoint?
  /// Where half of the half-layers that read the error's absence are over (of an odd number the larger half); nil where
  /// none is left.
  let halfway: HookPoint?

  init(after hook: HookPoint, in configuration: ModelConfiguration) {
    let streams = configuration.validHooks.filter { point in
      if case .block(_, let kind) = point { kind == .residMid || kind == .residPost } else { false }
    }
    let entry: HookPoint? =
      switch hook {
      case .embed, .posEmbed: .block(0, .residPre)
      case .block(let layer, .z), .block(let layer, .attnOut):
        .block(layer, configuration.isParallel ? .residPost : .residMid)
      case .block(let layer, .post), .block(let layer, .mlpOut): .block(layer, .residPost)
      case .block: hook
      case .finalNormalized: nil
      }
    self.entry = entry
    measured = streams.filter { $0 > hook }
    let after = entry.map { entry in streams.filter { $0 > entry } } ?? []
    halfway = after.isEmpty ? nil : after[(after.count - 1) / 2]
  }

  /// All that a pass must show.
  var observed: Set<HookPoint> { Set(measured + (entry.map { [$0] } ?? [])) }
}

extension HookPoint {
  /// Whether the value is the residual stream itself.
  var isResidual: Bool {
    switch self {
    case .block(_, .residPre), .block(_, .residMid), .block(_, .residPost): true
    default: false
    }
  }
}
