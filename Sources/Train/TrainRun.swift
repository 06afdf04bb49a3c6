import LinearAlgebra
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
  private let data: RunData

  /// Throws `TrainError.invalid` or `SAEError.invalid` for settings that make no sense, or need more memory than there is.
  package convenience init(_ configuration: TrainConfiguration, source: any BatchSource) throws {
    try self.init(configuration, RunData(source: source))
  }

  package init(_ configuration: TrainConfiguration, _ data: RunData) throws {
    try configuration.validate()
    self.configuration = configuration
    let runsModel = try configuration.makeObjective().runsModel
    precondition(runsModel == (data.steps != nil), "objective \(configuration.objective) without its steps")
    self.data = data
    nSteps = configuration.nSteps
    try configuration.check(
      width: data.source.width, targetWidth: data.source.target?.width, objective: data.steps?.objective)
  }

  /// Trains to the end, or until `isInterrupted` says so (asked before each step; the state is then saved).
  ///
  /// - Parameter resuming: go on from the checkpoint in the folder, if there is one.
  /// - Throws: `TrainError.busy` if another process works in the folder, `.invalid` if the folder holds a run with other
  ///   settings, or an unfinished one and `resuming` is false, `.mismatch` if it was begun on other data, `.diverged` if
  ///   losses or gradients say that the run will come to nothing.
  package func run(
    resuming: Bool, progress: (StepMetrics) -> Void = { _ in }, isInterrupted: () -> Bool = { false }
  ) throws -> Outcome {
    guard let session = try TrainSession(configuration, data, resuming: resuming) else { return .alreadyFinished }
    let source = data.source
    let raw = RawBatch(configuration.batch, source)
    let batch = ScaledBatch(raw, in: session.units)
    while !session.isDone {
      if isInterrupted() {
        try session.save()
        return .interrupted(step: session.step)
      }
      if let steps = data.steps, steps.needsModel(at: session.progress) {
        if let metrics = try steps.train(session, source) { progress(metrics) }
        continue
      }
      try raw.read(session.step, from: source)
      batch.assign(raw, in: session.units)
      if let metrics = try session.train(on: batch, of: source) { progress(metrics) }
    }
    try session.finish()
    return .finished
  }
}
