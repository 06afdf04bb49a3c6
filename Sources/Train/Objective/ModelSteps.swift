import ActCache
import LinearAlgebra
import Memory
import SAE
import Transformer

/// The steps of a run that take whole sequences through the layers after the hook.
package final class ModelSteps {
  package let objective: ModelObjective
  package let sequences: SequenceBatches
  /// Brings raw activations that the SAE reads to ‖x‖² ≈ width.
  let scale: Double
  private let streamKeys: [String]
  private var (secondsOfOptimizer, secondsLocal) = (0.0, 0.0)

  /// What the steps so far took.
  package var costs: StepCosts {
    StepCosts(
      parts: objective.seconds, optimizer: secondsOfOptimizer, reading: sequences.secondsWaited, local: secondsLocal)
  }

  /// Opens the model, and sets the configuration's teacher, so that the run means the same when the cache has more.
  ///
  /// - Throws: `ActCacheError.mismatch` if it is not the model that was harvested; what `ObjectivePlan` and
  ///   `SequenceBatches` throw.
  package init(for configuration: inout TrainConfiguration, cache: CacheReader) throws {
    let path = configuration.model ?? ""
    let model = try TransformerModel.load(path: path)
    try cache.manifest.identity.require(
      weights: model.weightsDigest(), modelConfiguration: model.configuration.canonicalDescription,
      numerics: TransformerModel.numerics, path: cache.path)
    let goal = try configuration.makeObjective()
    let plan = try ObjectivePlan(
      goal, hook: configuration.hook, target: configuration.targetHook, model: model, cache: cache,
      teacher: configuration.teacher, modelPath: path)
    if plan.needsTeacher { configuration.teacher = plan.teacher?.name ?? "none" }
    let reading = try configuration.readingOptions()
    if plan.before != nil && (configuration.normalization == "unit" || reading.filter.maxNormRatio != nil) {
      throw TrainError.invalid(
        "normalization unit and skip-outliers are for activations that stay as they are; \(configuration.objective) trains "
          + "the half-layer before the hook")
    }
    sequences = try SequenceBatches(
      cache, plan.streams, batchSize: configuration.batch, seed: configuration.orderSeed ?? configuration.seed,
      filter: reading.filter, onCorrupt: reading.onCorrupt)
    objective = try ModelObjective(goal, plan, model: model, cache: cache)
    if plan.before == nil {
      scale = try cache.hook((plan.source ?? plan.input).name).scale
    } else {
      // The cache may know nothing of the hook: its input is there instead.
      let sample = try Self.sample(sequences, objective)
      let mean = sumOfSquares(sample) / Double(max(1, sample.count))
      scale = mean > 0 ? 1 / mean.squareRoot() : 1
    }
    streamKeys =
      try plan.streams.hooks.map { try cache.hook($0.name).streamKey }
      + (plan.streams.teacher.map { [try cache.logits($0.name).streamKey] } ?? [])
  }

  /// What the SAE reconstructs in the first batch, raw, without what passes by it.
  func sample() throws -> Matrix { try Self.sample(sequences, objective) }

  private static func sample(_ sequences: SequenceBatches, _ objective: ModelObjective) throws -> Matrix {
    let first = try sequences.read(batch: 0)
    return try objective.activations(of: first).matrix.gather(rows: first.saeRows)
  }

  /// What such a run goes on only with.
  func identity(_ data: DataIdentity) -> DataIdentity {
    var data = data
    data.streams = streamKeys
    return data
  }

  func needsModel(at progress: Double) -> Bool { objective.objective.needsModel(at: progress) }

  /// One step of a run.
  ///
  /// - Returns: metrics, if this step is one to log.
  func train(_ session: TrainSession, _ source: any BatchSource) throws -> StepMetrics? {
    let found = try computeGradients([session])[0]
    secondsLocal += try session.localStepTime.next(session, found)
    let start = ContinuousClock.now
    defer { secondsOfOptimizer += (ContinuousClock.now - start) / .seconds(1) }
    return try session.finish(found.losses, of: found.input.matrix, source)
  }

  /// One step of members of a sweep, all of which are at the same step.
  func train(_ members: [SweepMember], _ source: any BatchSource) throws {
    let before = sequences.secondsWaited
    let found = try computeGradients(members.map(\.session))
    let reading = (sequences.secondsWaited - before) / Double(members.count)
    for (member, found) in zip(members, found) {
      let local = try member.session.localStepTime.next(member.session, found)
      secondsLocal += local
      secondsOfOptimizer += member.finish(
        found.losses, of: found.input.matrix, source,
        StepCosts(parts: found.seconds, optimizer: 0, reading: reading, local: local))
    }
  }

  private func computeGradients(_ sessions: [TrainSession]) throws -> [ModelObjective.Found] {
    let progress = sessions[0].progress
    let batch = try sequences.read(
      batch: sessions[0].step, withTeacher: objective.objective.needsTeacher(at: progress))
    for session in sessions { session.begin() }
    return try objective.computeGradients(
      sessions.map { Student(sae: $0.sae, normalization: $0.normalization, targetScale: $0.targetScale) }, batch,
      progress: progress)
  }
}

/// Seconds of steps with the model, by part.
package struct StepCosts: Codable, Sendable, Equatable {
  package var parts = ObjectiveSeconds()
  package var optimizer = 0.0
  package var reading = 0.0
  /// What as many steps of the local objective would have taken (`LocalStepTime`); 0 if that was not measured.
  package var local = 0.0

  /// What `local` is, for people.
  package static var localSteps: String { "local steps (SAE and optimizer on the same batches, timed on a copy)" }

  static func + (a: Self, b: Self) -> Self {
    Self(
      parts: a.parts + b.parts, optimizer: a.optimizer + b.optimizer, reading: a.reading + b.reading,
      local: a.local + b.local)
  }

  package var total: Double { parts.sae + parts.layers + parts.output + optimizer + reading }

  /// Time per token as a multiple of what a step of the local objective takes; nil if that was not measured.
  package var relativeToLocal: Double? { local > 0 ? total / local : nil }
}
