import ActCache
import Foundation
import LinearAlgebra
import Memory
import SAE

/// All that a run needs to go on as if it had not stopped: weights, moments, counters.
///
/// A checkpoint is a folder `checkpoints/step-<n>` with `state.safetensors` (weights by their names, what
/// the optimizer remembers as `m.<name>`, `v.<name>` and so on, a moving average as `ema.<name>`) and `state.json`, written
/// last: a folder without it is not a checkpoint. The order of the tokens is a function of (seed, step), so no position of a
/// reader is kept.
struct Checkpoint: Codable {
  var step: Int
  /// SHA-256 of `state.safetensors`.
  var tensors: String
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
      step: optimizer.step, tensors: try sha256(ofFile: "\(path)/\(tensorFile)"),
      activeFraction: sae.activity.activeFraction.bitPattern, entryFraction: sae.activity.entryFraction.bitPattern,
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
      .filter { $0 >= 0 && FileManager.default.fileExists(atPath: "\(folder)/step-\($0)/\(stateFile)") }.max()
  }

  /// Puts the checkpoint of `step` into `sae` and `optimizer`. Throws `TrainError.mismatch` for one that is damaged or of
  /// another run.
  static func load(
    step: Int, of nSteps: Int, from folder: String, into sae: any Autoencoder, _ optimizer: Optimizer
  ) throws -> (ActivityCount, DivergenceWatch) {
    let path = "\(folder)/step-\(step)"
    do {
      let state = try read(path)
      if let problem = state.problem(step: step, of: nSteps, sae) {
        throw TrainError.mismatch("\(path)/\(stateFile): \(problem)")
      }
      try state.restore(path, into: sae, optimizer)
      return (state.activity, state.watch)
    } catch {
      let what = error is DecodingError ? "\(path)/\(stateFile): not the state of a run" : "\(error)"
      throw TrainError.mismatch(
        "\(what); this checkpoint is damaged or of another run: remove \(path) and give --resume again, which goes on from "
          + "an older checkpoint, or begins anew where none is left")
    }
  }

  /// state.json, if the tensors beside it are those that it was written with.
  private static func read(_ path: String) throws -> Checkpoint {
    let state = try JSONDecoder().decode(
      Checkpoint.self, from: Data(MappedFile(path: "\(path)/\(stateFile)").copyOfBytes()))
    let found = try sha256(ofFile: "\(path)/\(tensorFile)")
    guard found == state.tensors else {
      throw TrainError.mismatch(
        "\(path)/\(tensorFile): SHA-256 is \(found.prefix(12))…, \(stateFile) says \(state.tensors.prefix(12))…")
    }
    return state
  }

  /// What a run of `nSteps` with `sae` cannot have left at `step`; nil if it can.
  private func problem(step: Int, of nSteps: Int, _ sae: any Autoencoder) -> String? {
    let nLatents = sae.configuration.dSAE
    guard tokensSinceActive.count == nLatents, activity.counts.count == nLatents else {
      return "\(tokensSinceActive.count) latents, the run has \(nLatents)"
    }
    guard self.step == step, (0...nSteps).contains(step) else {
      return "step is \(self.step); expected \(step), from 0 to the run's \(nSteps)"
    }
    // Far above all counts of a run, far below where sums of them would end the program.
    let counts = 0...1 << 56
    guard (tokensSinceActive + activity.counts + [activity.tokens]).allSatisfy(counts.contains) else {
      return "a count of tokens is not from 0 to 2^56"
    }
    for (name, bits) in [("activeFraction", activeFraction), ("entryFraction", entryFraction)] {
      let share = Double(bitPattern: bits)
      guard (0...1).contains(share) else { return "\(name) is \(share); expected a share from 0 to 1" }
    }
    let numbers = state.map { Double(bitPattern: $0) }
    guard sae.canHold(numbers) else {
      let first = numbers.prefix(3).map { "\($0)" }.joined(separator: ", ") + (numbers.count > 3 ? ", …" : "")
      return "state is [\(first)], which no step of \(sae.kind) leaves"
    }
    return watch.isPossible(before: step) ? nil : "watch is not that of a run at step \(step)"
  }

  private func restore(_ path: String, into sae: any Autoencoder, _ optimizer: Optimizer) throws {
    let file = try SafetensorsFile(path: "\(path)/\(Self.tensorFile)")
    func read(_ name: String, _ rows: Int, _ columns: Int) throws -> Matrix {
      try file.matrix(name, shape: [rows, columns], rows: rows)
    }
    for (parameter, memory) in zip(optimizer.parameters, optimizer.memory) {
      parameter.value = try read(parameter.name, parameter.value.rows, parameter.value.columns)
      for tensor in memory {
        tensor.value = try read("\(tensor.name).\(parameter.name)", tensor.value.rows, tensor.value.columns)
      }
    }
    sae.activity.activeFraction = Double(bitPattern: activeFraction)
    sae.activity.entryFraction = Double(bitPattern: entryFraction)
    sae.activity.tokensSinceActive = tokensSinceActive
    sae.state = state.map { Double(bitPattern: $0) }
    optimizer.step = step
  }
}
