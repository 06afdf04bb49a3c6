import Foundation
import Testing
import Transformer

@Suite struct ConfigurationTests {
  private static let llama = [
    "model_type": "\"llama\"", "hidden_size": "8", "num_hidden_layers": "1", "num_attention_heads": "2",
    "intermediate_size": "8", "max_position_embeddings": "4", "vocab_size": "3",
  ]
  private static let gptNeo = [
    "model_type": "\"gpt_neo\"", "hidden_size": "8", "num_layers": "2", "num_heads": "2", "window_size": "3",
    "attention_types": "[[[\"global\", \"local\"], 1]]", "max_position_embeddings": "4", "vocab_size": "3",
  ]

  private func parse(_ keys: [String: String], _ changes: [String: String]) throws -> ModelConfiguration {
    let merged = keys.merging(changes) { $1 }.filter { $0.value != "" }
    let text = "{" + merged.map { "\"\($0.key)\": \($0.value)" }.joined(separator: ", ") + "}"
    return try ModelConfiguration.parse(Array(text.utf8), path: "m/config.json")
  }

  private func message(_ keys: [String: String], _ changes: [String: String]) -> String? {
    let error = #expect(throws: TransformerError.self) { try parse(keys, changes) }
    return error?.description
  }

  @Test func keysThatMayChangeTheComputationAreErrors() {
    #expect(
      message(Self.llama, ["use_sliding_window": "true"])
        == "m/config.json: use_sliding_window is not known for llama and may change what the model computes; "
        + "remove it if it does not matter")
    #expect(
      message(Self.llama, ["quantization_config": "{}"])
        == "m/config.json: quantization_config is not known for llama and may change what the model computes; "
        + "remove it if it does not matter")
  }

  @Test(arguments: [
    (
      "hidden_act", "\"gelu_10\"",
      "\"gelu_10\", supported: gelu, gelu_new, gelu_pytorch_tanh, gelu_fast, silu, swish, relu"
    ),
    ("attention_bias", "true", "true, supported: false"), ("mlp_bias", "true", "true, supported: false"),
    ("rope_interleaved", "true", "true, supported: false"),
    ("num_attention_heads", "3", nil), ("hidden_size", "\"8\"", "\"8\", supported: a positive integer"),
    ("vocab_size", "-3", "-3, supported: a positive integer"),
    ("vocab_size", "2.5", "2.5, supported: a positive integer"),
    ("tie_word_embeddings", "1", "1, supported: true, false"),
    ("is_encoder_decoder", "true", "true, supported: false"),
    ("pruned_heads", "{\"0\": [1]}", "{\"0\": [1]}, supported: {}"),
    ("rms_norm_eps", "\"x\"", "\"x\", supported: a number"),
    ("partial_rotary_factor", "2", "2.0, supported: 0 to 1"),
    ("model_type", "\"mamba\"", "mamba, supported: gpt_neo, gpt2, gpt_neox, llama"),
  ])
  func valuesThatAreNotImplementedAreErrors(key: String, value: String, expected: String?) {
    let found = message(Self.llama, [key: value])
    if let expected {
      #expect(found == "m/config.json: \(key) is \(expected)")
    } else {
      #expect(found == "m/config.json: hidden_size is 8, supported: multiples of the 3 heads")
    }
  }

  @Test func ropeScalingIsAnErrorInBothSpellings() throws {
    #expect(
      message(Self.llama, ["rope_scaling": #"{"rope_type": "llama3", "factor": 8.0}"#])
        == "m/config.json: rope_scaling.factor is not known for llama and may change what the model computes; "
        + "remove it if it does not matter")
    #expect(
      message(Self.llama, ["rope_parameters": #"{"rope_type": "linear", "rope_theta": 1}"#])
        == "m/config.json: rope_parameters.rope_type is \"linear\", supported: default (unscaled)")
    let old = try parse(Self.llama, ["rope_theta": "500000.0", "rope_scaling": "null"])
    let new = try parse(Self.llama, ["rope_parameters": #"{"rope_type": "default", "rope_theta": 500000}"#])
    #expect(old == new && old.rotary?.theta == 500_000)
    #expect(old.canonicalDescription == new.canonicalDescription)
  }

  @Test func missingKeysAreNamed() {
    #expect(message(Self.llama, ["vocab_size": ""]) == "m/config.json: vocab_size is missing")
    #expect(message(Self.llama, ["model_type": ""]) == "m/config.json: model_type is missing")
  }

  @Test func attentionKindsMustCoverTheLayers() throws {
    #expect(
      message(Self.gptNeo, ["attention_types": "[[[\"global\"], 1]]"])
        == "m/config.json: attention_types is 1, supported: one kind for each of 2 layers")
    #expect(
      message(Self.gptNeo, ["attention_types": "[[[\"global\", \"sparse\"], 1]]"])
        == "m/config.json: attention_types is \"sparse\", supported: global, local")
    #expect(
      message(Self.gptNeo, ["attention_layers": "[\"local\", \"local\"]"])
        == "m/config.json: attention_layers is [\"local\", \"local\"], supported: the same layers as attention_types")
    #expect(try parse(Self.gptNeo, [:]).windows == [nil, 3])
  }

  @Test func damagedTextsSayWhere() {
    let error = #expect(throws: TransformerError.self) {
      try ModelConfiguration.parse(Array(#"{"a": 1, "a": 2}"#.utf8), path: "c")
    }
    #expect(
      error?.description
        == "c: duplicate key \"a\" at byte 15; the file is damaged or not of this format, fetch it again")
  }

  @Test func canonicalDescriptionIsFixed() throws {
    #expect(
      try parse(Self.llama, ["num_key_value_heads": "1"]).canonicalDescription
        == #"{"activation":"silu","architecture":"llama","attentionScale":0.5,"dHead":4,"dMLP":8,"dModel":8,"dVocab":3,"#
        + #""epsilon":1e-06,"isGated":true,"isParallel":false,"isTied":false,"nCtx":4,"nHeads":2,"#
        + #""nKVHeads":1,"nLayers":1,"normalization":"rms","rotary":{"nRotary":4,"theta":10000},"windows":[null]}"#)
  }

  @Test func realConfigurationsAreRead() throws {
    for fixture in Fixture.all {
      _ = try ModelConfiguration.parse(
        Array(Data(contentsOf: URL(fileURLWithPath: fixture.path + "/config.json"))), path: "config.json")
    }
    // As pythia's and SmolLM's files were saved by older versions.
    _ = try ModelConfiguration.parse(
      Array(
        """
        {"architectures": ["GPTNeoXForCausalLM"], "bos_token_id": 0, "classifier_dropout": 0.1, "eos_token_id": 0,
        "hidden_act": "gelu", "hidden_size": 128, "initializer_range": 0.02, "intermediate_size": 512,
        "layer_norm_eps": 1e-05, "max_position_embeddings": 2048, "model_type": "gpt_neox", "num_attention_heads": 4,
        "num_hidden_layers": 6, "rotary_emb_base": 10000, "rotary_pct": 0.25, "tie_word_embeddings": false,
        "torch_dtype": "float16", "transformers_version": "4.24.0", "use_cache": true,
        "use_parallel_residual": true, "vocab_size": 50304}
        """.utf8), path: "config.json")
  }
}
