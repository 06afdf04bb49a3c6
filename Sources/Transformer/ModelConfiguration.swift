import Foundation
import LinearAlgebra

/// What a model computes: its architecture and sizes, from `config.json` or GGUF metadata.
package struct ModelConfiguration: Codable, Equatable, Sendable {
  package enum Architecture: String, Codable, Sendable, CaseIterable {
    case gptNeo = "gpt_neo"
    case gpt2 = "gpt2"
    case gptNeoX = "gpt_neox"
    case llama = "llama"
  }

  /// Rotary position embedding of the first `nRotary` components of every query and key.
  package struct Rotary: Codable, Equatable, Sendable {
    package var nRotary: Int
    package var theta: Double
  }

  package var architecture: Architecture
  package var dModel: Int
  package var nLayers: Int
  package var nHeads: Int
  package var nKVHeads: Int
  package var dHead: Int
  package var dMLP: Int
  /// Longest sequence.
  package var nCtx: Int
  package var dVocab: Int
  package var normalization: Normalization
  /// ε of the norms; f32, so that it is the same from a decimal fraction and from a GGUF file.
  package var epsilon: Float
  package var activation: Activation
  /// act(gate)·up instead of act(up).
  package var isGated: Bool
  /// Factor of q·k: 1/√dHead, or 1 for GPT-Neo.
  package var attentionScale: Float
  /// Per layer: how many positions a query sees, itself included; nil for all.
  package var windows: [Int?]
  /// nil: learned positions.
  package var rotary: Rotary?
  /// Attention and MLP both read the block's input.
  package var isParallel: Bool
  /// The unembedding is the token embedding.
  package var isTied: Bool

  /// JSON with sorted keys: equal for equal configurations, whatever file they came from.
  package var canonicalDescription: String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    // Numbers are finite (checked when read), so encoding cannot fail.
    return (try? encoder.encode(self)).map { String(decoding: $0, as: UTF8.self) } ?? ""
  }

  /// In the order in which they are computed.
  package var validHooks: [HookPoint] {
    var hooks: [HookPoint] = rotary == nil ? [.embed, .posEmbed] : [.embed]
    for layer in 0..<nLayers {
      for hook in HookPoint.BlockHook.allCases where !(isParallel && hook == .residMid) {
        hooks.append(.block(layer, hook))
      }
    }
    return hooks + [.finalNormalized]
  }

  package func has(_ hook: HookPoint) -> Bool {
    switch hook {
    case .embed, .finalNormalized: true
    case .posEmbed: rotary == nil
    case .block(let layer, let hook): layer >= 0 && layer < nLayers && !(isParallel && hook == .residMid)
    }
  }

  /// Parses a hook's name. Throws `TransformerError.unknownHook` with the valid names if the model has no such hook.
  package func hook(named name: String) throws(TransformerError) -> HookPoint {
    guard let hook = HookPoint(name: name), has(hook) else {
      throw .unknownHook(name: name, valid: validHooks.map(\.name))
    }
    return hook
  }

  /// Components of a vector at `hook`.
  package func width(of hook: HookPoint) -> Int {
    switch hook {
    case .block(_, .z): nHeads * dHead
    case .block(_, .post): dMLP
    default: dModel
    }
  }

  /// Residual streams that a layer adds to the one it reads: after attention and after the MLP, or after both.
  var streamsPerLayer: Int { isParallel ? 1 : 2 }

  func attentionShape(layer: Int) -> AttentionShape {
    AttentionShape(
      nHeads: nHeads, nKVHeads: nKVHeads, dHead: dHead, scale: attentionScale, window: windows[layer])
  }

  /// Sizes that no model exceeds and whose products stay far below 2⁶³, so that the code behind can multiply.
  func validate(path: String) throws(TransformerError) {
    let limits: [(String, Int, Int)] = [
      ("hidden size", dModel, 1 << 17), ("number of layers", nLayers, 1 << 12), ("number of heads", nHeads, 1 << 12),
      ("number of key/value heads", nKVHeads, 1 << 12), ("head size", dHead, 1 << 14), ("MLP size", dMLP, 1 << 20),
      ("context length", nCtx, 1 << 23), ("vocabulary size", dVocab, 1 << 22),
    ]
    for (what, value, limit) in limits where value < 1 || value > limit {
      throw .unsupportedValue(path: path, key: what, value: "\(value)", supported: "1 to \(limit)")
    }
    guard nHeads % nKVHeads == 0 else {
      throw .unsupportedValue(
        path: path, key: "number of key/value heads", value: "\(nKVHeads)", supported: "divisors of \(nHeads) heads")
    }
    if let rotary {
      guard rotary.nRotary > 0, rotary.nRotary % 2 == 0, rotary.nRotary <= dHead else {
        throw .unsupportedValue(
          path: path, key: "number of rotary components", value: "\(rotary.nRotary)",
          supported: "even numbers up to the head size \(dHead)")
      }
      guard rotary.theta.isFinite, rotary.theta > 0 else {
        throw .unsupportedValue(path: path, key: "rotary base", value: "\(rotary.theta)", supported: "above 0")
      }
    }
    guard epsilon.isFinite, epsilon >= 0 else {
      throw .unsupportedValue(path: path, key: "epsilon of the norms", value: "\(epsilon)", supported: "0 or more")
    }
    guard windows.count == nLayers, windows.allSatisfy({ $0.map { $0 > 0 } ?? true }) else {
      throw .unsupportedValue(
        path: path, key: "attention windows", value: "\(windows.count)",
        supported: "one above 0 for each of \(nLayers) layers")
    }
  }
}
