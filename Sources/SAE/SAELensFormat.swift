import Foundation
import LinearAlgebra
import Memory

/// An SAE as SAELens keeps it: a folder with `cfg.json` and `sae_weights.safetensors` (`SAE.load_from_disk` opens it).
///
/// Files hold weights for raw activations: the normalisation that training used is folded in. With s the factor on
/// the input, c' = c/s and x̂' = x̂/s need only the biases (and thresholds) divided by s: the encoder and decoder stay as they are, and
/// decoder rows keep their unit norm. Where each token was standardized, weights are as they are and `normalize_activations` is
/// `layer_norm`, which SAELens computes as we do.
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
      var contextSize: Int?
      var prependBOS: Bool?
      /// Ours: the model (SHA-256 of its weights) and the stream of the cache that the SAE was trained on.
      var weightsDigest: String?
      var streamKey: String?

      enum CodingKeys: String, CodingKey {
        case saeLensVersion = "sae_lens_version"
        case modelName = "model_name"
        case hookName = "hook_name"
        case contextSize = "context_size"
        case prependBOS = "prepend_bos"
        case weightsDigest = "actcache_weights"
        case streamKey = "actcache_stream"
      }

      init(_ provenance: Provenance) {
        modelName = provenance.modelName
        hookName = provenance.hookName
        contextSize = provenance.context
        prependBOS = provenance.prependsBOS
        weightsDigest = provenance.weightsDigest
        streamKey = provenance.streamKey
      }

      var provenance: Provenance {
        Provenance(
          modelName: modelName, hookName: hookName ?? "", context: contextSize, prependsBOS: prependBOS,
          weightsDigest: weightsDigest, streamKey: streamKey)
      }
    }
    var architecture: String
    var dIn: Int
    var dSAE: Int
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
    package var context: Int?
    package var prependsBOS: Bool?
    /// SHA-256 of the weights of the model that was harvested, and the key of the stream in the cache.
    package var weightsDigest: String?
    package var streamKey: String?

    package init(
      modelName: String?, hookName: String, context: Int?, prependsBOS: Bool?, weightsDigest: String? = nil,
      streamKey: String? = nil
    ) {
      self.modelName = modelName
      self.hookName = hookName
      self.context = context
      self.prependsBOS = prependsBOS
      self.weightsDigest = weightsDigest
      self.streamKey = streamKey
    }
  }

  /// Writes the folder. `normalization` is what training did to raw activations; `firingFrequency` [dSAE] the
  /// share of tokens each latent was active on (`sparsity.safetensors` keeps its log10).
  package static func save(
    _ autoencoder: any Autoencoder, normalization: InputNormalization, firingFrequency: [Float]?,
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
    let configuration = Configuration(
      architecture: name(of: shape.architecture), dIn: shape.dIn, dSAE: shape.dSAE,
      normalizeActivations: normalization.ofFile.rawValue, k: shape.architecture == .topk ? shape.k : nil,
      rescalesByDecoderNorm: shape.architecture == .topk ? false : nil,
      metadata: .init(provenance))
    var bEnc = sae.bEnc.value.copy()
    bEnc.scale(by: 1 / inputScale)
    var bDec = sae.bDec.value.copy()
    bDec.scale(by: 1 / inputScale)
    var tensors: [SafetensorsWriter.Tensor] = [
      .init("W_enc", shape: [shape.dIn, shape.dSAE], sae.wEnc.value.transposed()),
      .init(shape.architecture == .gated ? "b_gate" : "b_enc", shape: [shape.dSAE], bEnc),
      .init("W_dec", shape: [shape.dSAE, shape.dIn], sae.decoderRows()),
      .init("b_dec", shape: [shape.dIn], bDec),
    ]
    if let thresholds = sae.rule.thresholds {
      let raw = Matrix(1, shape.dSAE, thresholds.map { $0 / inputScale })
      tensors.append(.init("threshold", shape: [shape.dSAE], raw))
    }
    if let rule = sae.rule as? Gated {
      var bMag = rule.bMag.value.copy()
      bMag.scale(by: 1 / inputScale)
      tensors.append(.init("b_mag", shape: [shape.dSAE], bMag))
      tensors.append(.init("r_mag", shape: [shape.dSAE], rule.rMag.value.copy()))
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

  /// Opens a folder of SAELens' `standard`, `topk`, `jumprelu` or `gated` kind, or one of ours (`DeepFormat`).
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
    let architecture: SAEConfiguration.Architecture
    switch configuration.architecture {
    case "topk": architecture = .topk
    case "standard": architecture = .relu
    case "jumprelu": architecture = .jumprelu
    case "gated": architecture = .gated
    default: throw unsupported("architecture", configuration.architecture, "topk, standard, jumprelu, gated and deep")
    }
    guard let normalization = InputNormalization.OfFile(rawValue: configuration.normalizeActivations) else {
      throw unsupported(
        "normalize_activations", configuration.normalizeActivations, "none and layer_norm (fold it into the weights)")
    }
    if !configuration.appliesBDecToInput { throw unsupported("apply_b_dec_to_input", "false", "true") }
    if configuration.rescalesByDecoderNorm == true {
      throw unsupported("rescale_acts_by_decoder_norm", "true", "false (fold it into the weights)")
    }
    if architecture == .topk && configuration.k == nil {
      throw unsupported("k", "missing", "a number of active latents")
    }
    let shape = SAEConfiguration(
      architecture: architecture, dIn: configuration.dIn, dSAE: configuration.dSAE, k: configuration.k ?? 1)
    try shape.validate()
    // The file's own sizes first: memory is only taken for weights that are there.
    let file = try SafetensorsFile(path: "\(folder)/\(weightsFile)")
    let wEnc = try file.matrix("W_enc", shape: [shape.dIn, shape.dSAE], rows: shape.dIn)
    let sae = try SparseAutoencoder(zeroed: shape)
    sae.standardizesTokens = normalization == .layerNorm
    sae.wEnc.value = wEnc.transposed()
    sae.bEnc.value = try file.matrix(architecture == .gated ? "b_gate" : "b_enc", shape: [shape.dSAE], rows: 1)
    sae.wDec.value = try file.matrix("W_dec", shape: [shape.dSAE, shape.dIn], rows: shape.dSAE)
    sae.bDec.value = try file.matrix("b_dec", shape: [shape.dIn], rows: 1)
    if let rule = sae.rule as? JumpReLU {
      rule.threshold.value = try file.matrix("threshold", shape: [shape.dSAE], rows: 1)
    }
    if let rule = sae.rule as? Gated {
      rule.bMag.value = try file.matrix("b_mag", shape: [shape.dSAE], rows: 1)
      rule.rMag.value = try file.matrix("r_mag", shape: [shape.dSAE], rows: 1)
    }
    return (sae, configuration.metadata.provenance)
  }

  /// SAELens' name of an architecture.
  private static func name(of architecture: SAEConfiguration.Architecture) -> String {
    switch architecture {
    case .topk: "topk"
    case .relu, .panneal: "standard"
    // What SAELens, too, makes of its batchtopk and matryoshka SAEs when they are trained.
    case .jumprelu, .batchtopk, .matryoshka: "jumprelu"
    case .gated: "gated"
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
