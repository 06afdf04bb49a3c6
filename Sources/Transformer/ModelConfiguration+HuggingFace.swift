import LinearAlgebra
import Memory

extension ModelConfiguration {
  /// Reads a Hugging Face `config.json`.
  ///
  /// Every key must be known: used, checked to have the only value that is implemented, or known to leave the
  /// computation alone. Throws `TransformerError` naming the key otherwise.
  static func read(configPath path: String) throws -> ModelConfiguration {
    let file = try MappedFile(path: path)
    guard file.count <= 1 << 20 else {
      throw TransformerError.malformed(path: path, problem: "\(file.count) bytes, at most 1048576 expected")
    }
    let bytes = file.withBytes { $0.bytes(0..<$0.byteCount) }
    return try parse(bytes, path: path)
  }

  package static func parse(_ bytes: [UInt8], path: String) throws(TransformerError) -> ModelConfiguration {
    let value: JSONValue
    do { value = try JSONValue(parsing: bytes) } catch {
      throw .malformed(path: path, problem: "\(error.problem) at byte \(error.offset)")
    }
    guard case .object(let members) = value else { throw .malformed(path: path, problem: "a JSON object expected") }
    var keys = ConfigurationKeys(path: path, members: members)
    let type = try keys.string("model_type")
    guard let architecture = Architecture(rawValue: type) else {
      throw .unsupportedValue(
        path: path, key: "model_type", value: type,
        supported: Architecture.allCases.map(\.rawValue).joined(separator: ", "))
    }
    keys.architecture = type
    try keys.expect("is_encoder_decoder", .bool(false))
    try keys.expect("add_cross_attention", .bool(false))
    try keys.expect("pruned_heads", .object([:]))
    let configuration =
      switch architecture {
      case .gptNeo: try gptNeo(&keys)
      case .gpt2: try gpt2(&keys)
      case .gptNeoX: try gptNeoX(&keys)
      case .llama: try llama(&keys)
      }
    try keys.expectAllKnown()
    try configuration.validate(path: path)
    return configuration
  }

  private static func gptNeo(_ keys: inout ConfigurationKeys) throws(TransformerError) -> ModelConfiguration {
    let dModel = try keys.int("hidden_size")
    let nLayers = try keys.int("num_layers")
    let nHeads = try keys.int("num_heads")
    let window = try keys.int("window_size", default: 256)
    var layers: [JSONValue] = []
    // [[["global", "local"], 4]]: the kinds, repeated.
    if case .array(let groups)? = keys.take("attention_types") {
      for group in groups {
        guard case .array(let pair) = group, pair.count == 2, case .array(let kinds) = pair[0],
          let repeats = pair[1].exactInt, 0...nLayers ~= repeats, kinds.count <= 1 << 12
        else { throw keys.unsupported("attention_types", group, "[[[kinds…], repeats]…]") }
        for _ in 0..<repeats { layers += kinds }
      }
    }
    if case .array(let listed)? = keys.take("attention_layers") {
      if !layers.isEmpty && listed != layers {
        throw keys.unsupported("attention_layers", .array(listed), "the same layers as attention_types")
      }
      layers = listed
    }
    guard layers.count == nLayers else {
      throw keys.unsupported("attention_types", .integer(layers.count), "one kind for each of \(nLayers) layers")
    }
    let windows = try layers.map { (kind) throws(TransformerError) -> Int? in
      switch kind {
      case .string("global"): nil
      case .string("local"): window
      default: throw keys.unsupported("attention_types", kind, "global, local")
      }
    }
    return ModelConfiguration(
      architecture: .gptNeo, dModel: dModel, nLayers: nLayers, nHeads: nHeads, nKVHeads: nHeads,
      dHead: try keys.quotient(dModel, "hidden_size", nHeads),
      dMLP: try keys.int("intermediate_size", default: 4 * dModel),
      nCtx: try keys.int("max_position_embeddings"), dVocab: try keys.int("vocab_size"), normalization: .layer,
      epsilon: try keys.float("layer_norm_epsilon", default: 1e-5),
      activation: try keys.activation("activation_function", default: "gelu_new"), isGated: false,
      attentionScale: 1, windows: windows, rotary: nil, isParallel: false,
      isTied: try keys.bool("tie_word_embeddings", default: true))
  }

  private static func gpt2(_ keys: inout ConfigurationKeys) throws(TransformerError) -> ModelConfiguration {
    let dModel = try keys.int("n_embd")
    let nLayers = try keys.int("n_layer")
    let nHeads = try keys.int("n_head")
    let nCtx = try keys.int("n_positions")
    let dHead = try keys.quotient(dModel, "n_embd", nHeads)
    try keys.expect("scale_attn_by_inverse_layer_idx", .bool(false))
    // An order of operations for half precision; the same function in f32.
    try keys.expect("reorder_and_upcast_attn", .bool(false))
    let isScaled = try keys.bool("scale_attn_weights", default: true)
    return ModelConfiguration(
      architecture: .gpt2, dModel: dModel, nLayers: nLayers, nHeads: nHeads, nKVHeads: nHeads, dHead: dHead,
      dMLP: try keys.int("n_inner", default: 4 * dModel), nCtx: nCtx,
      dVocab: try keys.int("vocab_size"), normalization: .layer,
      epsilon: try keys.float("layer_norm_epsilon", default: 1e-5),
      activation: try keys.activation("activation_function", default: "gelu_new"), isGated: false,
      attentionScale: isScaled ? 1 / Float(max(1, dHead)).squareRoot() : 1,
      windows: keys.noWindows(nLayers), rotary: nil, isParallel: false,
      isTied: try keys.bool("tie_word_embeddings", default: true))
  }

  private static func gptNeoX(_ keys: inout ConfigurationKeys) throws(TransformerError) -> ModelConfiguration {
    let dModel = try keys.int("hidden_size")
    let nLayers = try keys.int("num_hidden_layers")
    let nHeads = try keys.int("num_attention_heads")
    let dHead = try keys.quotient(dModel, "hidden_size", nHeads)
    try keys.expect("attention_bias", .bool(true))
    let rope = try keys.rope(thetaKey: "rotary_emb_base", fractionKey: "rotary_pct", defaultFraction: 0.25)
    return ModelConfiguration(
      architecture: .gptNeoX, dModel: dModel, nLayers: nLayers, nHeads: nHeads, nKVHeads: nHeads, dHead: dHead,
      dMLP: try keys.int("intermediate_size"), nCtx: try keys.int("max_position_embeddings"),
      dVocab: try keys.int("vocab_size"), normalization: .layer,
      epsilon: try keys.float("layer_norm_eps", default: 1e-5),
      activation: try keys.activation("hidden_act", default: "gelu"), isGated: false,
      attentionScale: 1 / Float(max(1, dHead)).squareRoot(), windows: keys.noWindows(nLayers),
      rotary: Rotary(nRotary: Int(Double(dHead) * rope.fraction), theta: rope.theta),
      isParallel: try keys.bool("use_parallel_residual", default: true),
      isTied: try keys.bool("tie_word_embeddings", default: false))
  }

  private static func llama(_ keys: inout ConfigurationKeys) throws(TransformerError) -> ModelConfiguration {
    let dModel = try keys.int("hidden_size")
    let nLayers = try keys.int("num_hidden_layers")
    let nHeads = try keys.int("num_attention_heads")
    let nKVHeads = try keys.int("num_key_value_heads", default: nHeads)
    let dHead: Int
    if let stated = try keys.optionalInt("head_dim") {
      dHead = stated
    } else {
      dHead = try keys.quotient(dModel, "hidden_size", nHeads)
    }
    try keys.expect("attention_bias", .bool(false))
    try keys.expect("mlp_bias", .bool(false))
    try keys.expect("rope_interleaved", .bool(false))
    let rope = try keys.rope(thetaKey: "rope_theta", fractionKey: "partial_rotary_factor", defaultFraction: 1)
    return ModelConfiguration(
      architecture: .llama, dModel: dModel, nLayers: nLayers, nHeads: nHeads, nKVHeads: nKVHeads, dHead: dHead,
      dMLP: try keys.int("intermediate_size"), nCtx: try keys.int("max_position_embeddings"),
      dVocab: try keys.int("vocab_size"), normalization: .rms,
      epsilon: try keys.float("rms_norm_eps", default: 1e-6),
      activation: try keys.activation("hidden_act", default: "silu"), isGated: true,
      attentionScale: 1 / Float(max(1, dHead)).squareRoot(), windows: keys.noWindows(nLayers),
      rotary: Rotary(nRotary: Int(Double(min(dHead, 1 << 20)) * rope.fraction), theta: rope.theta),
      isParallel: false, isTied: try keys.bool("tie_word_embeddings", default: false))
  }
}
