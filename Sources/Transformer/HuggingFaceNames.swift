/// Tensor names of Hugging Face files, with or without the prefix of the language-model class.
struct HuggingFaceNames: TensorNames {
  private let architecture: ModelConfiguration.Architecture
  private let prefix: String

  /// The names of the language-model class.
  init(_ configuration: ModelConfiguration) {
    architecture = configuration.architecture
    prefix =
      switch architecture {
      case .gptNeo, .gpt2: "transformer."
      case .gptNeoX: "gpt_neox."
      case .llama: "model."
      }
  }

  /// The names that a file has.
  init(_ configuration: ModelConfiguration, _ files: WeightFiles) {
    let full = HuggingFaceNames(configuration)
    self = files.tensors.keys.contains { $0.hasPrefix(full.prefix) } ? full : HuggingFaceNames(full.architecture)
  }

  private init(_ architecture: ModelConfiguration.Architecture) { (self.architecture, prefix) = (architecture, "") }

  private func block(_ layer: Int) -> String {
    switch architecture {
    case .gptNeo, .gpt2: "\(prefix)h.\(layer)."
    case .gptNeoX, .llama: "\(prefix)layers.\(layer)."
    }
  }

  var isTransposed: Bool { architecture == .gpt2 }

  var tokenEmbedding: String {
    switch architecture {
    case .gptNeo, .gpt2: prefix + "wte.weight"
    case .gptNeoX: prefix + "embed_in.weight"
    case .llama: prefix + "embed_tokens.weight"
    }
  }

  var positionEmbedding: String { prefix + "wpe.weight" }

  var unembedding: String { architecture == .gptNeoX ? "embed_out.weight" : "lm_head.weight" }

  var finalNorm: String {
    switch architecture {
    case .gptNeo, .gpt2: prefix + "ln_f"
    case .gptNeoX: prefix + "final_layer_norm"
    case .llama: prefix + "norm"
    }
  }

  func attentionNorm(_ layer: Int) -> String {
    switch architecture {
    case .gptNeo, .gpt2: block(layer) + "ln_1"
    case .gptNeoX, .llama: block(layer) + "input_layernorm"
    }
  }

  func mlpNorm(_ layer: Int) -> String {
    switch architecture {
    case .gptNeo, .gpt2: block(layer) + "ln_2"
    case .gptNeoX, .llama: block(layer) + "post_attention_layernorm"
    }
  }

  func attentionOut(_ layer: Int) -> String {
    switch architecture {
    case .gptNeo: block(layer) + "attn.attention.out_proj"
    case .gpt2: block(layer) + "attn.c_proj"
    case .gptNeoX: block(layer) + "attention.dense"
    case .llama: block(layer) + "self_attn.o_proj"
    }
  }

  func mlpIn(_ layer: Int) -> [String] {
    switch architecture {
    case .gptNeo, .gpt2: [block(layer) + "mlp.c_fc"]
    case .gptNeoX: [block(layer) + "mlp.dense_h_to_4h"]
    case .llama: [block(layer) + "mlp.gate_proj", block(layer) + "mlp.up_proj"]
    }
  }

  func mlpOut(_ layer: Int) -> String {
    switch architecture {
    case .gptNeo, .gpt2: block(layer) + "mlp.c_proj"
    case .gptNeoX: block(layer) + "mlp.dense_4h_to_h"
    case .llama: block(layer) + "mlp.down_proj"
    }
  }

  func qkv(_ layer: Int) -> QKVNames {
    switch architecture {
    case .gptNeo:
      let attention = block(layer) + "attn.attention."
      return .separate(q: attention + "q_proj", k: attention + "k_proj", v: attention + "v_proj", isInterleaved: false)
    case .gpt2: return .fused(block(layer) + "attn.c_attn")
    case .gptNeoX: return .fusedByHead(block(layer) + "attention.query_key_value")
    case .llama:
      let attention = block(layer) + "self_attn."
      return .separate(q: attention + "q_proj", k: attention + "k_proj", v: attention + "v_proj", isInterleaved: false)
    }
  }

  func isIrrelevant(_ tensor: String) -> Bool { Self.isBuffer(tensor) }

  /// Causal masks and rotary frequencies, which old versions saved with the weights.
  static func isBuffer(_ tensor: String) -> Bool {
    let endings = [
      ".attn.bias", ".attn.masked_bias", ".attention.bias", ".attention.masked_bias", ".rotary_emb.inv_freq",
    ]
    return endings.contains { tensor.hasSuffix($0) }
  }
}
