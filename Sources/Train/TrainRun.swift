import Foundation
import LinearAlgebra
import Memory
import SAE

/// One run of `actcache train`: from a source of batches to an SAE on disk (see `RunFolder`), in steps that can be
/// interrupted and resumed bit by bit.
package final class TrainRun {
  package enum Outcome: Equatable, Sendable {
    case finished
    /// The run had been finished before; nothing was done.
    case alreadyFinished
    /// Stopped at a checkpoint; `--resume` goes on.
    case interrupted(step: Int)
  }

  package let configuration: TrainConfiguration
  package let nSteps: Int
  private let source: any BatchSource
  private let folder: RunFolder

  /// Throws `TrainError.invalid` or `SAEError.invalid` for settings that make no sense, or need more memory than there is.
  package init(_ configuration: TrainConfiguration, source: any BatchSource) throws {
    try configuration.validate()
    self.configuration = configuration
    self.source = source
    folder = RunFolder(configuration.out)
    nSteps = configuration.nSteps
    let bytes = try configuration.memoryBytes(width: source.width)
    let memory = ProcessInfo.processInfo.physicalMemory
    guard bytes < Double(memory) else {
      throw TrainError.invalid(
        "\(try configuration.latentCount(width: source.width)) latents of width \(source.width) with batches of "
          + "\(configuration.batch) need \(Int(bytes / 1e9)) GB of memory, this machine has \(memory / 1_000_000_000); "
          + "choose fewer --latents or a smaller --batch")
    }
    _ = try configuration.saeConfiguration(width: source.width)
    try configuration.checkInitialRun(width: source.width)
  }

  package var isFinished: Bool { folder.isFinished }

  /// Trains to the end, or until `isInterrupted` says so (asked before each step; the state is then saved).
  ///
  /// - Parameter resuming: go on from the checkpoint in the folder, if there is one.
  /// - Throws: `TrainError.busy` if another process works in the folder, `.invalid` if the folder holds a run with other
  ///   settings, or an unfinished one and `resuming` is false, `.mismatch` if it was begun on other data, `.diverged` if
  ///   losses or gradients say that the run will come to nothing.
  package func run(
    resuming: Bool, progress: (StepMetrics) -> Void = { _ in }, isInterrupted: () -> Bool = { false }
  ) throws -> Outcome {
    try createFolder(folder.path)
    guard let lock = try FolderLock(folder: folder.path) else {
      throw TrainError.busy("\(folder.path): another process is training here; wait for it or choose another --out")
    }
    return try train(holding: lock, resuming: resuming, progress: progress, isInterrupted: isInterrupted)
  }

  private func train(
    holding _: borrowing FolderLock, resuming: Bool, progress: (StepMetrics) -> Void, isInterrupted: () -> Bool
  ) throws -> Outcome {
    try folder.agree(on: configuration)
    try folder.agree(on: source.identity)
    if isFinished { return .alreadyFinished }
    var batch = Matrix(configuration.batch, source.width)
    try source.read(batch: 0, into: &batch)
    let session = try TrainSession(configuration, source: source, resuming: resuming, firstBatch: batch)
    while !session.isDone {
      if isInterrupted() {
        try session.save()
        return .interrupted(step: session.step)
      }
      try source.read(batch: session.step, into: &batch)
      batch.scale(by: session.inputScale)
      if let metrics = try session.train(on: batch, of: source) { progress(metrics) }
    }
    try session.finish()
    return .finished
  }
}
