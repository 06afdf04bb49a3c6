/// A place in the forward pass, named as in TransformerLens. Ordered as a model computes them.
///
/// - `hook_embed`, `hook_pos_embed`: token and learned position embeddings; [pos, dModel].
/// - `blocks.i.hook_resid_pre|mid|post`: the residual stream before, between and after attention and MLP. A model
///   with parallel residuals has no `mid`.
/// - `blocks.i.attn.hook_z`: the heads' outputs side by side, before the output projection; [pos, nHeads·dHead].
/// - `blocks.i.hook_attn_out`, `blocks.i.hook_mlp_out`: what is added to the residual stream, biases included.
/// - `blocks.i.mlp.hook_post`: after the nonlinearity; for a gated MLP act(gate)·up; [pos, dMLP].
/// - `ln_final.hook_normalized`: the last residual stream, centred and scaled to unit variance, *before* the final
///   norm's weight and bias: so TransformerLens 3.9 (`components/layer_norm.py`, `rms_norm.py`), and earlier
///   versions for RMSNorm and whenever they fold the weights into the unembedding (`from_pretrained`'s default).
///   TransformerLens 2 without folding had the LayerNorm hook after weight and bias.
package enum HookPoint: Hashable, Sendable {
  case embed
  case posEmbed
  case block(Int, BlockHook)
  case finalNormalized

  package enum BlockHook: String, CaseIterable, Sendable {
    case residPre = "hook_resid_pre"
    case z = "attn.hook_z"
    case attnOut = "hook_attn_out"
    case residMid = "hook_resid_mid"
    case post = "mlp.hook_post"
    case mlpOut = "hook_mlp_out"
    case residPost = "hook_resid_post"
  }

  /// Parses a full name, exactly; nil if it is not one of the forms above. Whether a model has the hook is for
  /// `ModelConfiguration.hook(named:)` to say.
  package init?(name: String) {
    switch name {
    case "hook_embed": self = .embed
    case "hook_pos_embed": self = .posEmbed
    case "ln_final.hook_normalized": self = .finalNormalized
    default:
      let parts = name.split(separator: ".", maxSplits: 2, omittingEmptySubsequences: false)
      guard parts.count == 3, parts[0] == "blocks", let layer = Int(parts[1]),
        let hook = BlockHook(rawValue: String(parts[2]))
      else { return nil }
      self = .block(layer, hook)
      // Refuses "blocks.+1." and "blocks.01.".
      guard self.name == name, layer >= 0 else { return nil }
    }
  }

  package var name: String {
    switch self {
    case .embed: "hook_embed"
    case .posEmbed: "hook_pos_embed"
    case .block(let layer, let hook): "blocks.\(layer).\(hook.rawValue)"
    case .finalNormalized: "ln_final.hook_normalized"
    }
  }
}

extension HookPoint {
  /// Whether it is a residual stream between blocks or inside one.
  var isResidual: Bool {
    switch self {
    case .block(_, .residPre), .block(_, .residMid), .block(_, .residPost): true
    default: false
    }
  }
}

extension HookPoint {
  /// This and the other name of the same residual stream, if it has one: what a block leaves is what the next one reads.
  package var names: [HookPoint] {
    switch self {
    case .block(let layer, .residPre) where layer > 0: [self, .block(layer - 1, .residPost)]
    case .block(let layer, .residPost) where layer < .max: [self, .block(layer + 1, .residPre)]
    default: [self]
    }
  }

  /// What the stream of the hook `name` is called among `stored`; `name` where it is not there.
  package static func storedName(of name: String, among stored: some Collection<String>) -> String {
    HookPoint(name: name)?.names.map(\.name).first { stored.contains($0) } ?? name
  }
}

extension HookPoint: CustomStringConvertible {
  package var description: String { name }
}

extension HookPoint: Comparable {
  package static func < (a: HookPoint, b: HookPoint) -> Bool { a.rank < b.rank }

  private var rank: (Int, Int) {
    switch self {
    case .embed: (-2, 0)
    case .posEmbed: (-1, 0)
    case .block(let layer, let hook): (layer, BlockHook.allCases.firstIndex(of: hook) ?? 0)
    case .finalNormalized: (Int.max, 0)
    }
  }
}

extension HookPoint: Codable {
  package init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    let name = try container.decode(String.self)
    guard let hook = HookPoint(name: name) else {
      throw DecodingError.dataCorruptedError(in: container, debugDescription: "\(name) is not a hook point")
    }
    self = hook
  }

  package func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(name)
  }
}
