/// Tensor names of GGUF files as llama.cpp's converter writes them. It transposes GPT-2's matrices, orders
/// GPT-NeoX's fused rows as q | k | v, and permutes the query and key rows of Llama models for rotary pairs
/// (2i, 2i + 1).
struct GGUFNames: TensorNames {
  private let architecture: ModelConfiguration.Architecture

  init(_ configuration: ModelConfiguration) { architecture = configuration.architecture }

  var isTransposed: Bool { false }
  var tokenEmbedding: String { "token_embd.weight" }
  var positionEmbedding: String { "position_embd.weight" }
  var unembedding: String { "output.weight" }
  var finalNorm: String { "output_norm" }
  func attentionNorm(_ layer: Int) -> String { "blk.\(layer).attn_norm" }
  func mlpNorm(_ layer: Int) -> String { "blk.\(layer).ffn_norm" }
  func attentionOut(_ layer: Int) -> String { "blk.\(layer).attn_output" }
  func mlpOut(_ layer: Int) -> String { "blk.\(layer).ffn_down" }

  func mlpIn(_ layer: Int) -> [String] {
    architecture == .llama ? ["blk.\(layer).ffn_gate", "blk.\(layer).ffn_up"] : ["blk.\(layer).ffn_up"]
  }

  func qkv(_ layer: Int) -> QKVNames {
    architecture == .llama
      ? .separate(q: "blk.\(layer).attn_q", k: "blk.\(layer).attn_k", v: "blk.\(layer).attn_v", isInterleaved: true)
      : .fused("blk.\(layer).attn_qkv")
  }

  func isIrrelevant(_ tensor: String) -> Bool { false }
}
