import ActCache
import Foundation
import LinearAlgebra
import Memory
import SAE
import Transformer

extension TrainConfiguration {
  /// Where the first weights come from.
  var initialization: Initialization {
    var result = Initialization()
    result.isIdentity = initialWeights == "identity"
    if let encoderInit { result.encoder = encoderInit }
    if let decoderInit { result.decoder = decoderInit }
    if let biasInit { result.bias = biasInit }
    return result
  }

  /// The run that `init` names; nil where it names none.
  private var initialRun: String? { initialWeights == "identity" ? nil : initialWeights }

  func validateInitialization() throws(TrainError) {
    let given = [
      ("init", initialWeights != nil), ("encoder-init", encoderInit != nil), ("decoder-init", decoderInit != nil),
      ("bias-init", biasInit != nil),
    ].first { $0.1 }
    if arch == .deep, let given {
      throw .invalid("\(given.0) is given, but arch is deep, whose layers have their own start; leave it out")
    }
    if arch.isTied, encoderInit != nil {
      throw .invalid("encoder-init is given, but arch is \(arch.rawValue), which has one matrix for both; leave it out")
    }
    if initialWeights == "identity", arch.isTied {
      throw .invalid("init is identity, but arch is \(arch.rawValue), which has one matrix for both; leave it out")
    }
    if initialWeights == "identity", targetHook != nil {
      throw .invalid(
        "init is identity, but a target-hook is given, whose activations are others; leave one of them out")
    }
    guard let start = initialWeights else { return }
    for (key, isGiven) in [("encoder-init", encoderInit != nil), ("decoder-init", decoderInit != nil)] where isGiven {
      throw .invalid(
        "\(key) is given, but init is \(start), which says what encoder and decoder are; leave one of them out")
    }
    if biasInit != nil, initialRun != nil {
      throw .invalid("bias-init is given, but init is \(start), which brings its bias along; leave one of them out")
    }
  }

  /// Gives a new SAE the weights of the run that `init` names, or a bias from the first batch, `sample` [tokens, width]
  /// of what is reconstructed: activations after `normalization`, or a transcoder's targets times `targetScale`.
  func begin(
    _ sae: any Autoencoder, normalization: InputNormalization, targetScale: Float? = nil, sample: borrowing Matrix
  ) throws {
    if let initialRun {
      try takeWeights(of: initialRun, into: sae, normalization, targetScale: targetScale)
    } else {
      sae.prepare(from: sample)
    }
  }

  /// The half-layers that the run that `init` names trained with its SAE; none where it names none, or that run trained
  /// none.
  ///
  /// - Parameter objective: of the new run; nil if it runs no model.
  /// - Throws: `TrainError.invalid` unless the new run trains the same, `.mismatch` if the file cannot be used.
  func initialHalfLayers(for objective: ModelObjective?) throws -> [TrainedHalfLayer] {
    guard let initialRun, let path = try RunFolder(initialRun).trainedHalfLayers() else { return [] }
    let alone = "or give \(initialRun)/sae for the SAE alone"
    guard let objective, !objective.halfLayers.isEmpty else {
      throw TrainError.invalid(
        "init \(initialRun): its SAE belongs to the half-layers that were trained with it, and objective \(self.objective) "
          + "trains none; choose an objective that trains them (--half-layers), \(alone)")
    }
    let halves: [TrainedHalfLayer]
    do { halves = try TrainedHalfLayer.read(path, of: objective.model) } catch {
      throw TrainError.mismatch(
        "init \(initialRun): its half-layers cannot be used: \(error); restore the file, or train that run again")
    }
    func list(_ halves: [TrainedHalfLayer]) -> String {
      halves.map(\.halfLayer.description).joined(separator: " and ")
    }
    guard halves.map(\.halfLayer) == objective.halfLayers.map(\.halfLayer) else {
      throw TrainError.invalid(
        "init \(initialRun): trained \(list(halves)), this run trains \(list(objective.halfLayers)); choose the hook of that "
          + "run, \(alone)")
    }
    return halves
  }

  /// Throws what `begin` and `initialHalfLayers` would, before anything is written.
  func checkInitialRun(width: Int, targetWidth: Int?, objective: ModelObjective?) throws {
    guard let initialRun, Checkpoint.latestStep(in: RunFolder(out).checkpoints) == nil, !RunFolder(out).isFinished
    else {
      return
    }
    let sae = try SparseAutoencoder(zeroed: saeConfiguration(width: width, targetWidth: targetWidth))
    try takeWeights(of: initialRun, into: sae, inputNormalization(cacheScale: 1), targetScale: nil)
    _ = try initialHalfLayers(for: objective)
  }

  /// What `data.json` says about the run that `init` names; nil where it names none.
  func initialSAE() throws -> DataIdentity.InitialSAE? {
    guard let initialRun else { return nil }
    let file = "\(try folder(ofSAE: initialRun))/\(SAELensFormat.weightsFile)"
    return DataIdentity.InitialSAE(
      path: initialRun, weights: try sha256(ofFile: file),
      halfLayers: try RunFolder(initialRun).trainedHalfLayers().map { try sha256(ofFile: $0) })
  }

  /// Where in the folder of a run, or of an SAE, the SAE lies.
  private func folder(ofSAE run: String) throws -> String {
    let file = SAELensFormat.configurationFile
    guard let folder = ["\(run)/sae", run].first(where: { FileManager.default.fileExists(atPath: "\($0)/\(file)") })
    else {
      throw TrainError.missing(
        "init \(run): no SAE there (\(run)/sae/\(file)); give identity, or the folder of a finished run or of an SAE")
    }
    return folder
  }

  private func takeWeights(
    of run: String, into sae: any Autoencoder, _ normalization: InputNormalization, targetScale: Float?
  ) throws {
    guard let sae = sae as? SparseAutoencoder else {
      throw TrainError.invalid("init is \(run), but arch \(arch.rawValue) cannot take the weights of another run")
    }
    _ = try folder(ofSAE: run)
    guard let other = try SAELensFormat.open(run: run).sae as? SparseAutoencoder else {
      throw TrainError.invalid("init \(run): is a deep SAE, whose weights fit no other kind")
    }
    try sae.takeWeights(of: other, normalization: normalization, targetScale: targetScale, name: run)
  }
}
