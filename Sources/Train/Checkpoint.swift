import Foundation
import LinearAlgebra
import Memory
import SAE

/// All that a run needs to go on as if it had not stopped: weights, moments, counters.
///
/// A checkpoint is a folder `checkpoints/step-<n>` with `state.safetensors` (weights by their names, what
/// the optimizer remembers as `m.<name>`, `v.<name>` and so on, a moving average as `ema.<name>`) and `state.json`, written last: a folder without it is not a checkpoint. The order of
/// the tokens is a function of (seed, step), so no position of a reader is kept.
struct Checkpoint: Codable {
  var step: Int
  /// Bits of the share of active latents of the last step (decides dense or sparse arithmetic).
  var activeFraction: UInt64
  /// Bits of the share of latents in its codes (decides into how many parts the next batch is cut).
  var entryFraction: UInt64
  var tokensSinceActive: [Int]
  /// Bits of the architecture's own numbers.
  var state: [UInt64]
  var activity: ActivityCount
  var watch: DivergenceWatch

  private static let stateFile = "state.json"
  private static let tensorFile = "state.safetensors"

  /// Writes `<folder>/step-<n>`.
  static func save(
    _ sae: any Autoencoder, _ optimizer: Optimizer, _ activity: ActivityCount, _ watch: DivergenceWatch,
    in folder: String
  ) throws {
    let path = "\(folder)/step-\(optimizer.step)"
    try createFolder(path)
    var tensors: [SafetensorsWriter.Tensor] = []
    func add(_ name: String, _ value: borrowing Matrix) {
      tensors.append(.init(name, shape: [value.rows, value.columns], value.copy()))
    }
    for (parameter, memory) in zip(optimizer.parameters, optimizer.memory) {
      add(parameter.name, parameter.value)
      for tensor in memory { add("\(tensor.name).\(parameter.name)", tensor.value) }
    }
    try SafetensorsWriter.write(tensors, to: "\(path)/\(tensorFile)")
    let state = Checkpoint(
      step: optimizer.step, activeFraction: sae.activity.activeFraction.bitPattern,
      entryFraction: sae.activity.entryFraction.bitPattern,
      tokensSinceActive: sae.activity.tokensSinceActive, state: sae.state.map(\.bitPattern), activity: activity,
      watch: watch)
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys]
    try DurableFile.write([UInt8](try encoder.encode(state)), to: "\(path)/\(stateFile)")
  }

  /// Removes all checkpoints in `folder` but that of `step`.
  static func removeOthers(than step: Int, in folder: String) throws {
    for other in try FileManager.default.contentsOfDirectory(atPath: folder)
    where other.hasPrefix("step-") && other != "step-\(step)" {
      try FileManager.default.removeItem(atPath: "\(folder)/\(other)")
    }
  }

  static func remove(step: Int, in folder: String) throws {
    try FileManager.default.removeItem(atPath: "\(folder)/step-\(step)")
  }

  /// The step of the newest whole checkpoint in `folder`; nil if there is none.
  static func latestStep(in folder: String) -> Int? {
    let names = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
    return names.compactMap { $0.hasPrefix("step-") ? Int($0.dropFirst(5)) : nil }
      .filter { FileManager.default.fileExists(atPath: "\(folder)/step-\($0)/\(stateFile)") }.max()
  }

  /// Puts the checkpoint of `step` into `sae` and `optimizer`. Throws `TrainError.mismatch` for one that is damaged or of
  /// another run.
  static func load(
    step: Int, from folder: String, into sae: any Autoencoder, _ optimizer: Optimizer
  ) throws -> (ActivityCount, DivergenceWatch) {
    let path = "\(folder)/step-\(step)"
    do { return try read(path, into: sae, optimizer) } catch {
      let what = error is DecodingError ? "\(path)/\(stateFile): not the state of a run" : "\(error)"
      throw TrainError.mismatch(
        "\(what); this checkpoint is damaged or of another run: remove \(path) and give --resume again, which goes on from "
          + "an older checkpoint, or begins anew where none is left")
    }
  }

  private static func read(
    _ path: String, into sae: any Autoencoder, _ optimizer: Optimizer
  ) throws -> (ActivityCount, DivergenceWatch) {
    let state = try JSONDecoder().decode(
      Checkpoint.self, from: Data(MappedFile(path: "\(path)/\(stateFile)").copyOfBytes()))
    guard state.tokensSinceActive.count == sae.configuration.dSAE,
      state.activity.counts.count == sae.configuration.dSAE, state.state.count == sae.state.count
    else {
      throw TrainError.mismatch(
        "\(path)/\(stateFile): \(state.tokensSinceActive.count) latents, the run has \(sae.configuration.dSAE)")
    }
    let file = try SafetensorsFile(path: "\(path)/\(tensorFile)")
    func read(_ name: String, _ rows: Int, _ columns: Int) throws -> Matrix {
      try file.matrix(name, shape: [rows, columns], rows: rows)
    }
    for (parameter, memory) in zip(optimizer.parameters, optimizer.memory) {
      parameter.value = try read(parameter.name, parameter.value.rows, parameter.value.columns)
      for tensor in memory {
        tensor.value = try read("\(tensor.name).\(parameter.name)", tensor.value.rows, tensor.value.columns)
      }
    }
    sae.activity.activeFraction = Double(bitPattern: state.activeFraction)
    sae.activity.entryFraction = Double(bitPattern: state.entryFraction)
    sae.activity.tokensSinceActive = state.tokensSinceActive
    sae.state = state.state.map { Double(bitPattern: $0) }
    optimizer.step = state.step
    return (state.activity, state.watch)
  }
}
