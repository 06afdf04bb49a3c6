import Foundation
import LinearAlgebra
import Memory

/// A `deep` autoencoder on disk, which SAELens has no kind for: the same files as `SAELensFormat`'s, with keys of our own in
/// `cfg.json`. Weights are [inputs, outputs] and as trained; `input_scale` is the factor that raw activations get first, and
/// that reconstructions are divided by; with `normalize_activations: layer_norm` tokens are standardized, too. Latents are those of the scaled activations.
enum DeepFormat {
  static let architecture = "deep"

  struct Configuration: Codable {
    var architecture = DeepFormat.architecture
    var dIn: Int
    var dSAE: Int
    var k: Int?
    var inputScale: Float
    /// `layer_norm`: tokens are standardized first. Absent in older files.
    var normalizeActivations: InputNormalization.OfFile?
    var encoderHidden: [Int]
    var decoderHidden: [Int]
    var encoderActivation: HiddenActivation
    var decoderActivation: HiddenActivation
    var layerNorm: Bool
    var residual: Bool
    var dtype = "float32"
    var metadata: SAELensFormat.Configuration.Metadata

    enum CodingKeys: String, CodingKey {
      case architecture, k, residual, dtype, metadata
      case dIn = "d_in"
      case dSAE = "d_sae"
      case inputScale = "input_scale"
      case normalizeActivations = "normalize_activations"
      case encoderHidden = "encoder_hidden"
      case decoderHidden = "decoder_hidden"
      case encoderActivation = "encoder_activation"
      case decoderActivation = "decoder_activation"
      case layerNorm = "layer_norm"
    }
  }

  static func save(
    _ sae: Deep, normalization: InputNormalization, firingFrequency: [Float]?, provenance: SAELensFormat.Provenance,
    to folder: String
  ) throws {
    try createFolder(folder)
    let (shape, deep) = (sae.configuration, sae.configuration.deep)
    let configuration = Configuration(
      dIn: shape.dIn, dSAE: shape.dSAE, k: deep.sparse == .topk ? shape.k : nil, inputScale: normalization.folded,
      normalizeActivations: normalization.ofFile, encoderHidden: deep.encoder, decoderHidden: deep.decoder,
      encoderActivation: deep.encoderActivation,
      decoderActivation: deep.decoderActivation, layerNorm: deep.layerNorm, residual: deep.residual,
      metadata: .init(provenance))
    let tensors = sae.parameters.map { parameter in
      let value = parameter === sae.network.wEnc ? parameter.value.transposed() : parameter.value.copy()
      return SafetensorsWriter.Tensor(parameter.name, shape: fileShape(of: parameter, in: sae), value)
    }
    try SAELensFormat.write(tensors, firingFrequency: firingFrequency, configuration, to: folder)
  }

  /// Throws `SAEError.invalid` for sizes that make no sense, and for tensors that do not fit them.
  static func load(
    _ folder: String, _ configuration: Configuration
  ) throws -> (sae: any Autoencoder, provenance: SAELensFormat.Provenance) {
    var shape = SAEConfiguration(
      architecture: .deep, dIn: configuration.dIn, dSAE: configuration.dSAE, k: configuration.k ?? 1)
    shape.deep.sparse = configuration.k == nil ? .relu : .topk
    shape.deep.encoder = configuration.encoderHidden
    shape.deep.decoder = configuration.decoderHidden
    shape.deep.encoderActivation = configuration.encoderActivation
    shape.deep.decoderActivation = configuration.decoderActivation
    shape.deep.layerNorm = configuration.layerNorm
    shape.deep.residual = configuration.residual
    try shape.validate()
    guard configuration.inputScale > 0 && configuration.inputScale.isFinite else {
      throw SAEError.damaged(
        "\(folder)/\(SAELensFormat.configurationFile): input_scale is \(configuration.inputScale), expected a positive "
          + "number")
    }
    // The file's own sizes first: memory is only taken for weights that are there.
    let file = try SafetensorsFile(path: "\(folder)/\(SAELensFormat.weightsFile)")
    let widths = (shape.deep.encoder.last ?? shape.dIn, shape.deep.decoder.first ?? shape.dIn)
    let wEnc = try file.matrix("W_enc", shape: [widths.0, shape.dSAE], rows: widths.0)
    _ = try file.matrix("W_dec", shape: [shape.dSAE, widths.1], rows: shape.dSAE)
    let sae = try Deep(zeroed: shape)
    for parameter in sae.parameters where parameter !== sae.network.wEnc {
      parameter.value = try file.matrix(
        parameter.name, shape: fileShape(of: parameter, in: sae), rows: parameter.value.rows)
    }
    sae.network.wEnc.value = wEnc.transposed()
    sae.inputScale = configuration.inputScale
    sae.standardizesTokens = configuration.normalizeActivations == .layerNorm
    return (sae, configuration.metadata.provenance)
  }

  /// Vectors have one dimension, also where a matrix of one row might be meant: weights have two.
  private static func fileShape(of parameter: Parameter, in sae: Deep) -> [Int] {
    let (rows, columns) = (parameter.value.rows, parameter.value.columns)
    if parameter === sae.network.wEnc { return [columns, rows] }
    return parameter.name.hasSuffix(".weight") || parameter === sae.network.wDec ? [rows, columns] : [columns]
  }
}
