import LinearAlgebra

extension ModelConfiguration {
  /// Reads the metadata of a GGUF model (llama, gpt2, gptneox).
  ///
  /// The format does not name the nonlinearity: it is that of the architecture (silu; tanh-approximated and exact
  /// GELU). Keys of the architecture that are not known are errors, as in `config.json`.
  package static func read(_ file: GGUFFile) throws(TransformerError) -> ModelConfiguration {
    guard let name = try file.string("general.architecture") else {
      throw .missingKey(path: file.path, key: "general.architecture")
    }
    var keys = GGUFKeys(file: file, prefix: name)
    if let parts = try file.integer("split.count"), parts > 1 {
      throw .unsupportedValue(
        path: file.path, key: "split.count", value: "\(parts)", supported: "1; join the parts first")
    }
    let nLayers = try keys.integer("block_count")
    let dModel = try keys.integer("embedding_length")
    let nHeads = try keys.integer("attention.head_count")
    let nKVHeads = try keys.optionalInteger("attention.head_count_kv") ?? nHeads
    guard nHeads > 0, dModel % nHeads == 0 else {
      throw keys.unsupported("attention.head_count", "\(nHeads)", "divisors of the \(dModel) components")
    }
    let dHead = try keys.optionalInteger("attention.key_length") ?? dModel / nHeads
    if let valueLength = try keys.optionalInteger("attention.value_length"), valueLength != dHead {
      throw keys.unsupported("attention.value_length", "\(valueLength)", "\(dHead), the key length")
    }
    let architecture: Architecture
    switch name {
    case "llama": architecture = .llama
    case "gpt2": architecture = .gpt2
    case "gptneox": architecture = .gptNeoX
    default:
      throw .unsupportedValue(
        path: file.path, key: "general.architecture", value: name, supported: "llama, gpt2, gptneox")
    }
    let isLlama = architecture == .llama
    if let scaling = try keys.optionalString("rope.scaling.type"), scaling != "none" {
      throw keys.unsupported("rope.scaling.type", scaling, "none")
    }
    var rotary: Rotary?
    if architecture != .gpt2 {
      rotary = Rotary(
        nRotary: try keys.optionalInteger("rope.dimension_count") ?? dHead,
        theta: try keys.optionalFloat("rope.freq_base") ?? 10_000)
    }
    let dVocab = try vocabularySize(&keys)
    let isParallel = architecture == .gptNeoX ? try keys.optionalBool("use_parallel_residual") ?? true : false
    let configuration = ModelConfiguration(
      architecture: architecture, dModel: dModel, nLayers: nLayers, nHeads: nHeads, nKVHeads: nKVHeads, dHead: dHead,
      dMLP: try keys.integer("feed_forward_length"), nCtx: try keys.integer("context_length"), dVocab: dVocab,
      normalization: isLlama ? .rms : .layer,
      epsilon: Float(try keys.float(isLlama ? "attention.layer_norm_rms_epsilon" : "attention.layer_norm_epsilon")),
      activation: isLlama ? .silu : architecture == .gpt2 ? .geluTanh : .gelu, isGated: isLlama,
      attentionScale: 1 / Float(max(1, dHead)).squareRoot(),
      windows: [Int?](repeating: nil, count: max(0, min(nLayers, 1 << 13))), rotary: rotary, isParallel: isParallel,
      isTied: file.tensors["output.weight"] == nil)
    try keys.expectAllKnown()
    try configuration.validate(path: file.path)
    return configuration
  }

  /// `vocab_size` where there is one; else the rows of the token embedding.
  private static func vocabularySize(_ keys: inout GGUFKeys) throws(TransformerError) -> Int {
    let listed = try keys.optionalInteger("vocab_size")
    guard let embedding = keys.file.tensors["token_embd.weight"] else {
      throw .missingTensor(path: keys.file.path, tensor: "token_embd.weight")
    }
    return listed ?? embedding.shape.first ?? 0
  }
}

/// The metadata under an architecture's prefix, each key of which must be read.
private struct GGUFKeys {
  let file: GGUFFile
  let prefix: String
  private var taken: Set<String> = []

  init(file: GGUFFile, prefix: String) {
    self.file = file
    self.prefix = prefix
  }

  private mutating func full(_ key: String) -> String {
    taken.insert("\(prefix).\(key)")
    return "\(prefix).\(key)"
  }

  func unsupported(_ key: String, _ value: String, _ supported: String) -> TransformerError {
    .unsupportedValue(path: file.path, key: "\(prefix).\(key)", value: value, supported: supported)
  }

  mutating func optionalInteger(_ key: String) throws(TransformerError) -> Int? { try file.integer(full(key)) }
  mutating func optionalFloat(_ key: String) throws(TransformerError) -> Double? { try file.float(full(key)) }
  mutating func optionalString(_ key: String) throws(TransformerError) -> String? { try file.string(full(key)) }
  mutating func optionalBool(_ key: String) throws(TransformerError) -> Bool? { try file.bool(full(key)) }

  mutating func integer(_ key: String) throws(TransformerError) -> Int {
    guard let value = try optionalInteger(key) else { throw .missingKey(path: file.path, key: "\(prefix).\(key)") }
    return value
  }

  mutating func float(_ key: String) throws(TransformerError) -> Double {
    guard let value = try optionalFloat(key) else { throw .missingKey(path: file.path, key: "\(prefix).\(key)") }
    return value
  }

  func expectAllKnown() throws(TransformerError) {
    for key in file.metadata.keys.sorted() where key.hasPrefix(prefix + ".") && !taken.contains(key) {
      throw .unknownKey(path: file.path, key: key, architecture: prefix)
    }
  }
}
