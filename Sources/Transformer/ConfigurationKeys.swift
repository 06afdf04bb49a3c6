import Memory
import LinearAlgebra

/// The members of a `config.json`, each of which must be taken, checked or known to be irrelevant.
struct ConfigurationKeys {
  let path: String
  private let members: [String: JSONValue]
  private var taken: Set<String> = []
  var architecture = ""

  init(path: String, members: [String: JSONValue]) {
    self.path = path
    self.members = members
  }

  /// nil if it is missing or null.
  mutating func take(_ key: String) -> JSONValue? {
    taken.insert(key)
    let value = members[key]
    return value == .null ? nil : value
  }

  func unsupported(_ key: String, _ value: JSONValue, _ supported: String) -> TransformerError {
    .unsupportedValue(path: path, key: key, value: value.text, supported: supported)
  }

  mutating func optionalInt(_ key: String) throws(TransformerError) -> Int? {
    guard let value = take(key) else { return nil }
    guard let int = value.exactInt, int > 0, int < 1 << 31 else { throw unsupported(key, value, "a positive integer") }
    return int
  }

  mutating func int(_ key: String, default standard: Int? = nil) throws(TransformerError) -> Int {
    guard let value = try optionalInt(key) ?? standard else { throw .missingKey(path: path, key: key) }
    return value
  }

  mutating func double(_ key: String, default standard: Double) throws(TransformerError) -> Double {
    guard let value = take(key) else { return standard }
    guard let double = value.double else { throw unsupported(key, value, "a number") }
    return double
  }

  mutating func float(_ key: String, default standard: Double) throws(TransformerError) -> Float {
    Float(try double(key, default: standard))
  }

  mutating func bool(_ key: String, default standard: Bool) throws(TransformerError) -> Bool {
    guard let value = take(key) else { return standard }
    guard case .bool(let bool) = value else { throw unsupported(key, value, "true, false") }
    return bool
  }

  mutating func string(_ key: String) throws(TransformerError) -> String {
    guard let value = take(key) else { throw .missingKey(path: path, key: key) }
    guard case .string(let string) = value else { throw unsupported(key, value, "a string") }
    return string
  }

  /// Missing, null, or this value.
  mutating func expect(_ key: String, _ expected: JSONValue) throws(TransformerError) {
    if let value = take(key), value != expected { throw unsupported(key, value, expected.text) }
  }

  mutating func activation(_ key: String, default standard: String) throws(TransformerError) -> Activation {
    let name = take(key) ?? .string(standard)
    switch name {
    case .string("gelu"): return .gelu
    case .string("gelu_new"), .string("gelu_pytorch_tanh"), .string("gelu_fast"): return .geluTanh
    case .string("silu"), .string("swish"): return .silu
    case .string("relu"): return .relu
    default:
      throw unsupported(key, name, "gelu, gelu_new, gelu_pytorch_tanh, gelu_fast, silu, swish, relu")
    }
  }

  /// Rotary base and rotated fraction of a head, from the old keys or from `rope_parameters` (transformers 5).
  /// Only unscaled embeddings are implemented.
  mutating func rope(
    thetaKey: String, fractionKey: String, defaultFraction: Double
  ) throws(TransformerError) -> (theta: Double, fraction: Double) {
    var theta = try double(thetaKey, default: 10_000)
    var fraction = try double(fractionKey, default: defaultFraction)
    for key in ["rope_scaling", "rope_parameters"] {
      guard let value = take(key) else { continue }
      guard case .object(let parameters) = value else { throw unsupported(key, value, "an object") }
      for (name, value) in parameters.sorted(by: { $0.key < $1.key }) {
        switch (name, value) {
        case ("type", .string("default")), ("rope_type", .string("default")): break
        case ("rope_theta", .integer), ("rope_theta", .number): theta = value.double ?? theta
        case ("partial_rotary_factor", .integer), ("partial_rotary_factor", .number):
          fraction = value.double ?? fraction
        case ("type", _), ("rope_type", _): throw unsupported("\(key).\(name)", value, "default (unscaled)")
        default: throw .unknownKey(path: path, key: "\(key).\(name)", architecture: architecture)
        }
      }
    }
    guard 0...1 ~= fraction else { throw unsupported(fractionKey, .number(fraction), "0 to 1") }
    return (theta, fraction)
  }

  func quotient(_ size: Int, _ key: String, _ nHeads: Int) throws(TransformerError) -> Int {
    guard size % nHeads == 0 else { throw unsupported(key, .integer(size), "multiples of the \(nHeads) heads") }
    return size / nHeads
  }

  /// Absurd layer counts are refused later, before anything of their size is made.
  func noWindows(_ nLayers: Int) -> [Int?] { [Int?](repeating: nil, count: min(nLayers, 1 << 13)) }

  func expectAllKnown() throws(TransformerError) {
    for key in members.keys.sorted() where !taken.contains(key) && !Self.irrelevant.contains(key) {
      throw .unknownKey(path: path, key: key, architecture: architecture)
    }
  }

  /// Training, generation, bookkeeping: nothing that a forward pass without dropout depends on.
  private static let irrelevant: Set<String> = [
    "_attn_implementation", "_attn_implementation_autoset", "_commit_hash", "_name_or_path", "architectures",
    "attention_dropout", "attn_pdrop", "bad_words_ids", "begin_suppress_tokens", "bos_token_id",
    "chunk_size_feed_forward", "classifier_dropout", "decoder_start_token_id", "diversity_penalty", "do_sample",
    "dtype",
    "early_stopping", "embd_pdrop", "embed_dropout", "encoder_no_repeat_ngram_size", "eos_token_id",
    "exponential_decay_length_penalty", "finetuning_task", "forced_bos_token_id", "forced_eos_token_id",
    "gradient_checkpointing", "hidden_dropout", "id2label", "initializer_range", "is_decoder", "is_llama_config",
    "label2id", "length_penalty", "max_length", "min_length", "model_type", "n_ctx", "no_repeat_ngram_size",
    "num_beam_groups", "num_beams", "num_return_sequences", "output_attentions", "output_hidden_states",
    "output_scores", "pad_token_id", "prefix", "pretraining_tp", "problem_type", "remove_invalid_values",
    "repetition_penalty", "resid_dropout", "resid_pdrop", "return_dict", "return_dict_in_generate", "sep_token_id",
    "summary_activation", "summary_first_dropout", "summary_proj_to_labels", "summary_type", "summary_use_proj",
    "suppress_tokens", "task_specific_params", "temperature", "tie_encoder_decoder", "tokenizer_class", "top_k",
    "top_p",
    "torch_dtype", "torchscript", "transformers_version", "typical_p", "use_bfloat16", "use_cache",
  ]
}
