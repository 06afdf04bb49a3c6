import Foundation
import LinearAlgebra
import Memory
import Synchronization

/// A frozen language model: its configuration and its weights in f32.
///
///     ids ─ wE (+ wPos) ─► [attention, MLP] × nLayers ─► finalNorm ─► wU
package final class TransformerModel: Sendable {
  /// Arithmetic of the forward pass.
  package static let numerics = "f32 openblas"

  package let configuration: ModelConfiguration
  /// [dVocab, dModel]
  let tokenEmbedding: SharedMatrix
  /// [nCtx, dModel], for models with learned positions.
  private let positionEmbedding: SharedMatrix?
  let attentions: [AttentionBlock]
  let mlps: [MLPBlock]
  let finalNorm: NormLayer
  /// [dVocab, dModel]; nil if it is the token embedding.
  private let untiedUnembedding: SharedMatrix?
  private let files: WeightFiles
  /// Digests of half-layers that are not those of the files.
  private let changes: [String]
  private let digest = Mutex<String?>(nil)
  private let rotaryTable = Mutex<RotaryTable?>(nil)

  /// Loads a folder with `config.json` and safetensors, or a `.gguf` file.
  ///
  /// Throws `TransformerError` if anything in the files is missing, damaged or not implemented, `MemoryError` if
  /// they cannot be read.
  package static func load(path: String) throws -> TransformerModel {
    guard FileManager.default.fileExists(atPath: path) else {
      throw TransformerError.noModel(path: path, problem: "no such file or folder")
    }
    let isFolder = try URL(fileURLWithPath: path).resourceValues(forKeys: [.isDirectoryKey]).isDirectory ?? false
    if isFolder {
      let config = path + "/config.json"
      guard FileManager.default.fileExists(atPath: config) else {
        throw TransformerError.noModel(path: path, problem: "no config.json")
      }
      let configuration = try ModelConfiguration.read(configPath: config)
      let files = try Safetensors.open(folder: path)
      return try TransformerModel(ModelLoader(configuration, files, HuggingFaceNames(configuration, files)))
    }
    guard path.hasSuffix(".gguf") else {
      throw TransformerError.noModel(path: path, problem: "not a folder, and its name does not end in .gguf")
    }
    return try load(GGUFFile(path: path))
  }

  /// Loads the model of an open GGUF file.
  package static func load(_ file: GGUFFile) throws -> TransformerModel {
    let configuration = try ModelConfiguration.read(file)
    return try TransformerModel(ModelLoader(configuration, file.weightFiles, GGUFNames(configuration)))
  }

  private init(_ loader: ModelLoader) throws {
    configuration = loader.configuration
    files = loader.files
    tokenEmbedding = SharedMatrix(try loader.tokenEmbedding())
    positionEmbedding = Self.shared(try loader.positionEmbedding())
    attentions = try (0..<configuration.nLayers).map { try loader.attention(layer: $0) }
    mlps = try (0..<configuration.nLayers).map { try loader.mlp(layer: $0) }
    finalNorm = try loader.finalNorm()
    untiedUnembedding = Self.shared(try loader.untiedUnembedding())
    changes = []
    try loader.expectAllRead()
  }

  private static func shared(_ matrix: consuming Matrix?) -> SharedMatrix? {
    switch consume matrix {
    case .some(let matrix): SharedMatrix(matrix)
    case .none: nil
    }
  }

  /// The model with other half-layers; everything else is shared, not copied.
  package init(_ model: TransformerModel, replacing changed: [TrainedHalfLayer]) {
    configuration = model.configuration
    files = model.files
    tokenEmbedding = model.tokenEmbedding
    positionEmbedding = model.positionEmbedding
    finalNorm = model.finalNorm
    untiedUnembedding = model.untiedUnembedding
    var (attentions, mlps) = (model.attentions, model.mlps)
    for half in changed {
      switch half.block() {
      case .attention(let block): attentions[half.halfLayer.layer] = block
      case .mlp(let block): mlps[half.halfLayer.layer] = block
      }
    }
    (self.attentions, self.mlps) = (attentions, mlps)
    changes = model.changes + changed.map(\.digest)
  }

  /// SHA-256 of all tensors, in hexadecimal, independent of how they are laid out over files. Computed at the first
  /// call (it reads all weights) and kept. Digests of changed half-layers follow, parted by "+".
  package func weightsDigest() throws -> String {
    try digest.withLock { kept in
      if let kept { return kept }
      let value = ([try files.digest()] + changes).joined(separator: "+")
      kept = value
      return value
    }
  }

  /// [nCtx, dModel] or none.
  var positions: Strip? { positionEmbedding?.matrix.strip }

  /// [dVocab, dModel]
  package var unembedding: Strip { (untiedUnembedding ?? tokenEmbedding).matrix.strip }

  /// Angles for at least `nPositions` positions; nil for models with learned positions. Grows by doubling, since
  /// context lengths in configurations can be far beyond what is used.
  func rotary(nPositions: Int) -> RotaryTable? {
    guard let rotary = configuration.rotary else { return nil }
    return rotaryTable.withLock { kept in
      if let kept, kept.nPositions >= nPositions { return kept }
      let n = min(configuration.nCtx, max(nPositions, 2 * (kept?.nPositions ?? 128)))
      let table = RotaryTable(nPositions: n, nRotary: rotary.nRotary, theta: Float(rotary.theta))
      kept = table
      return table
    }
  }
}
