import Foundation
import LinearAlgebra
import Memory

/// An SAE as SAELens keeps it: a folder with `cfg.json` and `sae_weights.safetensors` (`SAE.load_from_disk` opens it).
///
/// Files hold weights for raw activations: the normalisation that training used is folded in. With s the factor on
/// the input, c' = c/s and x̂' = x̂/s need only the biases (and thresholds) divided by s: the encoder and decoder stay as they are, and
/// decoder rows keep their unit norm. Where each token was standardized, weights are as they are and `normalize_activations` is
/// `layer_norm`, which SAELens computes as we do. A transcoder has s on its input and t on its target: c' = c/t and ŷ' = ŷ/t,
/// with biases and thresholds divided by t, encoder and skip multiplied by s/t, and the decoder as it is.
///
/// SAELens has transcoders of relu and jumprelu, with and without skip. Those of topk and gated, and rica, are written in the
/// same way with names of our own (`topk_transcoder`, `rica`), which it does not open.
package enum SAELensFormat {
  package static let configurationFile = "cfg.json"
  package static let weightsFile = "sae_weights.safetensors"
  package static let sparsityFile = "sparsity.safetensors"

  /// `cfg.json` of SAELens 6, of the keys that inference needs.
  struct Configuration: Codable {
    struct Metadata: Codable {
      /// The first version with this layout; without it SAELens takes the file for an older one and drops the rest.
      var saeLensVersion: String? = "6.0.0"
      var modelName: String?
      var hookName: String?
      var targetHook: String?
      var contextSize: Int?
      var prependBOS: Bool?
      /// Ours: the model (SHA-256 of its weights) and the stream of the cache that the SAE was trained on.
      var weightsDigest: String?
      var streamKey: String?

      enum CodingKeys: String, CodingKey {
        case saeLensVersion = "sae_lens_version"
        case modelName = "model_name"
        case hookName = "hook_name"
        case targetHook = "hook_name_out"
        case contextSize = "context_size"
        case prependBOS = "prepend_bos"
        case weightsDigest = "actcache_weights"
        case streamKey = "actcache_stream"
      }

      init(_ provenance: Provenance) {
        modelName = provenance.modelName
        hookName = provenance.hookName
        targetHook = provenance.targetHook
        contextSize = provenance.context
        prependBOS = provenance.prependsBOS
        weightsDigest = provenance.weightsDigest
        streamKey = provenance.streamKey
      }

      var provenance: Provenance {
        Provenance(
          modelName: modelName, hookName: hookName ?? "", targetHook: targetHook, context: contextSize,
          prependsBOS: prependBOS, weightsDigest: weightsDigest, streamKey: streamKey)
      }
    }
    var architecture: String
    var dIn: Int
    var dSAE: Int
    /// Of transcoders.
    var dOut: Int?
    var dtype = "float32"
    var device = "cpu"
    var appliesBDecToInput = true
    var normalizeActivations = "none"
    var reshapeActivations = "none"
    var k: Int?
    var rescalesByDecoderNorm: Bool?
    var metadata: Metadata

    enum CodingKeys: String, CodingKey {
      case architecture, dtype, device, k, metadata
      case dIn = "d_in"
      case dSAE = "d_sae"
      case dOut = "d_out"
      case appliesBDecToInput = "apply_b_dec_to_input"
      case normalizeActivations = "normalize_activations"
      case reshapeActivations = "reshape_activations"
      case rescalesByDecoderNorm = "rescale_acts_by_decoder_norm"
    }
  }

  /// What a reader of the folder wants to know besides the weights.
  package struct Provenance: Sendable {
    package var modelName: String?
    package var hookName: String
    /// Of a transcoder: the hook whose activations it makes.
    package var targetHook: String?
    package var context: Int?
    package var prependsBOS: Bool?
    /// SHA-256 of the weights of the model that was harvested, and the key of the stream in the cache.
    package var weightsDigest: String?
    package var streamKey: String?

    package init(
      modelName: String?, hookName: String, targetHook: String? = nil, context: Int?, prependsBOS: Bool?,
      weightsDigest: String? = nil,
      streamKey: String? = nil
    ) {
      self.modelName = modelName
      self.hookName = hookName
      self.targetHook = targetHook
      self.context = context
      self.prependsBOS = prependsBOS
      self.weightsDigest = weightsDigest
      self.streamKey = streamKey
    }
  }

  /// Writes the folder. `normalization` is what training did to raw activations, `targetScale` the factor that it put on a
  /// transcoder's targets; `firingFrequency` [dSAE] the share of tokens each latent was active on (`sparsity.safetensors`
  /// keeps its log10).
  package static func save(
    _ autoencoder: any Autoencoder, normalization: InputNormalization, targetScale: Float? = nil,
    firingFrequency: [Float]?,
    provenance: Provenance,
    to folder: String
  ) throws {
    let inputScale = normalization.folded
    if let deep = autoencoder as? Deep {
      return try DeepFormat.save(
        deep, normalization: normalization, firingFrequency: firingFrequency, provenance: provenance, to: folder)
    }
    guard let sae = autoencoder as? SparseAutoencoder else {
      throw SAEError.invalid("\(autoencoder.configuration.architecture.rawValue) has no place in SAELens' layout")
    }
    try createFolder(folder)
    let shape = sae.configuration
    precondition(
      !(shape.isTranscoder && normalization == .perToken), "targets have no mean and deviation to be given back")
    let configuration = Configuration(
      architecture: name(of: shape), dIn: shape.dIn, dSAE: shape.dSAE, dOut: shape.dOut,
      appliesBDecToInput: !shape.isTranscoder, normalizeActivations: normalization.ofFile.rawValue,
      k: shape.architecture == .topk ? shape.k : nil,
      rescalesByDecoderNorm: shape.architecture == .topk ? false : nil,
      metadata: .init(provenance))
    let outScale = targetScale ?? inputScale
    func scaled(_ values: borrowing Matrix, by factor: Float) -> Matrix {
      var result = values.copy()
      result.scale(by: factor)
      return result
    }
    let wEnc = scaled(sae.wEnc.value, by: inputScale / outScale)
    var tensors: [SafetensorsWriter.Tensor] = [
      .init("W_enc", shape: [shape.dIn, shape.dSAE], wEnc.transposed()),
      .init(
        shape.architecture == .gated ? "b_gate" : "b_enc", shape: [shape.dSAE], scaled(sae.bEnc.value, by: 1 / outScale)
      ),
      .init("W_dec", shape: [shape.dSAE, shape.outWidth], sae.decoderRows()),
      .init("b_dec", shape: [shape.outWidth], scaled(sae.bDec.value, by: 1 / outScale)),
    ]
    if let thresholds = sae.rule.thresholds {
      let raw = Matrix(1, shape.dSAE, thresholds.map { $0 / outScale })
      tensors.append(.init("threshold", shape: [shape.dSAE], raw))
    }
    if let rule = sae.rule as? Gated {
      tensors.append(.init("b_mag", shape: [shape.dSAE], scaled(rule.bMag.value, by: 1 / outScale)))
      tensors.append(.init("r_mag", shape: [shape.dSAE], rule.rMag.value.copy()))
    }
    if let wSkip = sae.wSkip {
      tensors.append(
        .init("W_skip", shape: [shape.outWidth, shape.dIn], scaled(wSkip.value, by: inputScale / outScale)))
    }
    try write(tensors, firingFrequency: firingFrequency, configuration, to: folder)
  }

  /// Writes the files of a folder.
  static func write(
    _ tensors: [SafetensorsWriter.Tensor], firingFrequency: [Float]?, _ configuration: some Encodable, to folder: String
  ) throws {
    try SafetensorsWriter.write(tensors, metadata: ["format": "pt"], to: "\(folder)/\(weightsFile)")
    if let firingFrequency {
      let logs = Matrix(1, firingFrequency.count, firingFrequency.map { log10($0 + 1e-10) })
      try SafetensorsWriter.write(
        [.init("sparsity", shape: [firingFrequency.count], logs)], metadata: ["format": "pt"],
        to: "\(folder)/\(sparsityFile)")
    }
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    // Last: a folder with a configuration is whole.
    try DurableFile.write([UInt8](try encoder.encode(configuration)) + [0x0A], to: "\(folder)/\(configurationFile)")
  }

  /// Opens the SAE of a run's folder (in its `sae`), or a folder in SAELens' layout itself.
  package static func open(run folder: String) throws -> (sae: any Autoencoder, provenance: Provenance) {
    let result = "\(folder)/sae"
    return try load(FileManager.default.fileExists(atPath: "\(result)/\(configurationFile)") ? result : folder)
  }

  /// Opens a folder of SAELens' `standard`, `topk`, `jumprelu` or `gated` kind, a transcoder, or one of ours (rica,
  /// `DeepFormat`).
  ///
  /// Throws `SAEError.invalid` for what this engine does not do (another architecture, a normalisation that is not
  /// folded in) and for tensors that do not fit the configuration.
  package static func load(_ folder: String) throws -> (sae: any Autoencoder, provenance: Provenance) {
    let path = "\(folder)/\(configurationFile)"
    let text = Data(try MappedFile(path: path).copyOfBytes())
    struct Kind: Decodable { var architecture: String }
    let configuration: Configuration
    do {
      if try JSONDecoder().decode(Kind.self, from: text).architecture == DeepFormat.architecture {
        return try DeepFormat.load(folder, JSONDecoder().decode(DeepFormat.Configuration.self, from: text))
      }
      configuration = try JSONDecoder().decode(Configuration.self, from: text)
    } catch let error as DecodingError {
      throw SAEError.damaged(
        "\(path): not an SAELens configuration (\(Self.reason(error))); point at a folder that holds an SAE")
    }
    func unsupported(_ key: String, _ found: String, _ expected: String) -> SAEError {
      .damaged("\(path): \(key) is \(found), this program reads \(expected)")
    }
    let (kind, isTranscoder, skip) = parse(configuration.architecture)
    let architecture: SAEConfiguration.Architecture
    switch kind {
    case "topk": architecture = .topk
    case "standard": architecture = .relu
    case "jumprelu": architecture = .jumprelu
    case "gated": architecture = .gated
    case "rica" where !isTranscoder: architecture = .rica
    default:
      throw unsupported(
        "architecture", configuration.architecture, "topk, standard, jumprelu, gated, their transcoders, rica and deep")
    }
    if isTranscoder && configuration.dOut == nil { throw unsupported("d_out", "missing", "the width of the target") }
    guard let normalization = InputNormalization.OfFile(rawValue: configuration.normalizeActivations),
      !(isTranscoder && normalization == .layerNorm)
    else {
      // A token's mean and deviation at the target are unknown.
      throw unsupported(
        "normalize_activations", configuration.normalizeActivations,
        "\(isTranscoder ? "none" : "none and layer_norm") (fold it into the weights)")
    }
    if configuration.appliesBDecToInput == isTranscoder {
      throw unsupported("apply_b_dec_to_input", "\(isTranscoder)", "\(!isTranscoder)")
    }
    if configuration.rescalesByDecoderNorm == true {
      throw unsupported("rescale_acts_by_decoder_norm", "true", "false (fold it into the weights)")
    }
    if architecture == .topk && configuration.k == nil {
      throw unsupported("k", "missing", "a number of active latents")
    }
    var shape = SAEConfiguration(
      architecture: architecture, dIn: configuration.dIn, dSAE: configuration.dSAE, k: configuration.k ?? 1)
    if isTranscoder { (shape.dOut, shape.skip) = (configuration.dOut, skip) }
    try shape.validate()
    // The file's own sizes first: memory is only taken for weights that are there.
    let file = try SafetensorsFile(path: "\(folder)/\(weightsFile)")
    let wEnc = try file.matrix("W_enc", shape: [shape.dIn, shape.dSAE], rows: shape.dIn)
    let sae = try SparseAutoencoder(zeroed: shape)
    sae.standardizesTokens = normalization == .layerNorm
    sae.wEnc.value = wEnc.transposed()
    sae.bEnc.value = try file.matrix(architecture == .gated ? "b_gate" : "b_enc", shape: [shape.dSAE], rows: 1)
    sae.wDec.value = try file.matrix("W_dec", shape: [shape.dSAE, shape.outWidth], rows: shape.dSAE)
    sae.bDec.value = try file.matrix("b_dec", shape: [shape.outWidth], rows: 1)
    if let wSkip = sae.wSkip {
      wSkip.value = try file.matrix("W_skip", shape: [shape.outWidth, shape.dIn], rows: shape.outWidth)
    }
    if let rule = sae.rule as? JumpReLU {
      rule.threshold.value = try file.matrix("threshold", shape: [shape.dSAE], rows: 1)
    }
    if let rule = sae.rule as? Gated {
      rule.bMag.value = try file.matrix("b_mag", shape: [shape.dSAE], rows: 1)
      rule.rMag.value = try file.matrix("r_mag", shape: [shape.dSAE], rows: 1)
    }
    return (sae, configuration.metadata.provenance)
  }

  /// SAELens' name of an architecture, `jumprelu_skip_transcoder` and the like; a transcoder of relu has no prefix.
  private static func name(of shape: SAEConfiguration) -> String {
    let kind = name(of: shape.architecture)
    guard shape.isTranscoder else { return kind }
    return (kind == "standard" ? "" : kind + "_") + (shape.skip ? "skip_" : "") + "transcoder"
  }

  private static func parse(_ name: String) -> (kind: String, isTranscoder: Bool, skip: Bool) {
    guard name.hasSuffix("transcoder") else { return (name, false, false) }
    var parts = name.split(separator: "_")
    parts.removeLast()
    let skip = parts.last == "skip"
    if skip { parts.removeLast() }
    return (parts.isEmpty ? "standard" : parts.joined(separator: "_"), true, skip)
  }

  private static func name(of architecture: SAEConfiguration.Architecture) -> String {
    switch architecture {
    case .topk: "topk"
    case .relu, .panneal, .tied: "standard"
    // What SAELens, too, makes of its batchtopk and matryoshka SAEs when they are trained.
    case .jumprelu, .batchtopk, .matryoshka: "jumprelu"
    case .gated: "gated"
    case .rica: "rica"
    case .deep: DeepFormat.architecture
    }
  }

  /// The key and the words of a decoding error, without its debug dump.
  private static func reason(_ error: DecodingError) -> String {
    switch error {
    case .keyNotFound(let key, _): "\(key.stringValue) is missing"
    case .typeMismatch(_, let context), .valueNotFound(_, let context):
      "\(context.codingPath.map(\.stringValue).joined(separator: ".")) is of another type"
    default: "it is not JSON"
    }
  }
}
