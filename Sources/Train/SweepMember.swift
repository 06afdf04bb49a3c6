import LinearAlgebra
import SAE

/// One run of a sweep while it is in training. Used by one thread at a time.
final class SweepMember {
  let name: String
  private let configuration: TrainConfiguration
  let session: TrainSession
  private var problem: (any Error)?
  private var isFinished = false
  /// Spent on this member's steps.
  private(set) var seconds = 0.0
  /// Of those with the model.
  private var costs: StepCosts?

  var step: Int { session.step }
  var nSteps: Int { session.nSteps }
  var batch: Int { configuration.batch }
  var units: ScaledBatch.Units { session.units }
  var nWeights: Int { session.sae.configuration.dSAE * session.sae.configuration.dIn }
  var isTraining: Bool { problem == nil && !isFinished }

  /// nil if the run was finished before.
  ///
  /// - Throws: what `TrainRun` throws before its first step.
  init?(_ name: String, _ configuration: TrainConfiguration, _ data: RunData, resuming: Bool) throws {
    try configuration.check(
      width: data.source.width, targetWidth: data.source.target?.width, objective: data.steps?.objective)
    guard let session = try TrainSession(configuration, data, resuming: resuming) else { return nil }
    (self.name, self.configuration, self.session) = (name, configuration, session)
  }

  /// Takes step `step` if that comes next; what goes wrong ends this member alone.
  func train(_ step: Int, on batch: SharedBatch, of source: any BatchSource) {
    guard isTraining, step == session.step else { return }
    let start = ContinuousClock.now
    do {
      _ = try session.train(on: batch.scaled, of: source)
      try finishIfDone()
    } catch { problem = error }
    seconds += (ContinuousClock.now - start) / .seconds(1)
  }

  /// What a step that was taken together with others found, and what it took of the time so far.
  ///
  /// - Returns: seconds of the optimizer, which were added.
  func finish(
    _ losses: ObjectiveLosses, of batch: borrowing Matrix, _ source: any BatchSource, _ costs: StepCosts
  ) -> Double {
    let start = ContinuousClock.now
    var costs = costs
    do {
      defer { costs.optimizer = (ContinuousClock.now - start) / .seconds(1) }
      _ = try session.finish(losses, of: batch, source)
    } catch { problem = error }
    do { if problem == nil { try finishIfDone() } } catch { problem = error }
    seconds += costs.total
    self.costs = (self.costs ?? StepCosts()) + costs
    return costs.optimizer
  }

  private func finishIfDone() throws {
    guard session.isDone else { return }
    try session.finish()
    isFinished = true
  }

  /// Saves what there is, to go on from.
  func interrupt() {
    do { try session.save() } catch { problem = error }
  }

  var result: SweepResult {
    let outcome: SweepResult.Outcome =
      problem.map { .failed("\($0)") } ?? (isFinished ? .finished : .interrupted(step: session.step))
    return SweepResult(
      name, outcome: outcome, error: problem, configuration: configuration, seconds: seconds, costs: costs)
  }
}
