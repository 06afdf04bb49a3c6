import ActCache
import Foundation
import LinearAlgebra
import Memory
import SAE
import Transformer

/// One SAE in training: its weights, optimizer, log and checkpoints. Whoever owns it reads the batches, so that several
/// can be trained from one read.
final class TrainSession {
  let configuration: TrainConfiguration
  let folder: RunFolder
  let nSteps: Int
  /// Of raw activations.
  let normalization: InputNormalization
  /// Factor on a transcoder's raw targets; nil for others.
  let targetScale: Float?
  var units: ScaledBatch.Units { .init(input: normalization, target: targetScale) }
  let sae: any Autoencoder
  let optimizer: Optimizer
  /// Trained with the SAE.
  let halfLayers: [TrainedHalfLayer]
  private let objective: Objective
  let localStepTime = LocalStepTime()
  private let schedule: Schedule
  private let tokensPerEpoch: Int
  private let provenance: SAELensFormat.Provenance
  private let log: MetricsLog
  private var activity: ActivityCount
  private var watch = DivergenceWatch()
  /// Step of the newest checkpoint while no loss with its weights is known, so that they may be what diverged.
  private var unproven: Int?
  private let resamplingSteps: Set<Int>
  private let start = ContinuousClock.now
  private var lastLog: ContinuousClock.Instant
  private var (lastWait, lastStep): (Double, Int)
  /// Held while the session lives.
  private let lock: FolderLock

  /// Steps taken.
  var step: Int { optimizer.step }
  /// Share of the steps that have been taken.
  var progress: Double { Double(step) / Double(nSteps) }
  var isDone: Bool { step >= nSteps }

  /// Goes on from the folder's checkpoint if there is one, else starts as the configuration says. nil if the run was
  /// finished before.
  ///
  /// - Throws: `TrainError.busy` if another process works in the folder, `.invalid` if it holds a run with other settings,
  ///   or an unfinished one and `resuming` is false, `.mismatch` if it was begun on other data.
  init?(_ configuration: TrainConfiguration, _ data: RunData, resuming: Bool) throws {
    let (source, steps) = (data.source, data.steps)
    let folder = RunFolder(configuration.out)
    let there = (try? FileManager.default.attributesOfItem(atPath: folder.path))?[.type] as? FileAttributeType
    if there == .typeRegular {
      throw TrainError.invalid("\(folder.path): a file of that name is there; choose another --out")
    }
    try createFolder(folder.path)
    guard let lock = try FolderLock(folder: folder.path) else {
      throw TrainError.busy("\(folder.path): another process is training here; wait for it or choose another --out")
    }
    try folder.agree(on: configuration)
    try folder.agree(on: steps?.identity(source.identity) ?? source.identity)
    if folder.isFinished { return nil }
    self.configuration = configuration
    self.folder = folder
    self.lock = lock
    nSteps = configuration.nSteps
    let resumeStep = Checkpoint.latestStep(in: folder.checkpoints)
    if let resumeStep, !resuming {
      throw TrainError.invalid(
        "\(folder.path): holds an unfinished run at step \(resumeStep) of \(nSteps); add --resume to continue it, or "
          + "choose another --out")
    }
    try createFolder(folder.checkpoints)
    normalization = try configuration.inputNormalization(cacheScale: steps?.scale ?? source.normalizationScale)
    targetScale = try configuration.targetScale(of: source)
    let shape = try configuration.saeConfiguration(width: source.width, targetWidth: source.target?.width)
    let sae = try shape.makeAutoencoder(seed: configuration.seed)
    self.sae = sae
    halfLayers = steps?.objective.halfLayers ?? []
    optimizer = Optimizer(
      sae.parameters + halfLayers.flatMap { $0.weights.map(\.parameter) }, configuration.optimizerConfiguration)
    schedule = try configuration.makeSchedule(dSAE: shape.dSAE)
    resamplingSteps = Set(try configuration.resamplingSteps())
    objective = try configuration.makeObjective()
    if let resumeStep {
      (activity, watch) = try Checkpoint.load(
        step: resumeStep, of: nSteps, from: folder.checkpoints, into: sae, optimizer)
      unproven = resumeStep
    } else {
      activity = ActivityCount(counts: [Int](repeating: 0, count: shape.dSAE))
      if let initial = try configuration.initialSAE() { try folder.record(initial) }
      for (half, initial) in zip(halfLayers, try configuration.initialHalfLayers(for: steps?.objective)) {
        for (mine, other) in zip(half.weights, initial.weights) { mine.value = other.value.copy() }
      }
      if let steps {
        var sample = try steps.sample()
        if let targetScale { sample.scale(by: targetScale) } else { normalization.apply(to: &sample) }
        try configuration.begin(sae, normalization: normalization, targetScale: targetScale, sample: sample)
      } else {
        let raw = RawBatch(configuration.batch, source)
        try raw.read(0, from: source)
        let sample = ScaledBatch(raw, in: .init(input: normalization, target: targetScale))
        if targetScale == nil {
          try configuration.begin(sae, normalization: normalization, sample: sample.x)
        } else {
          try configuration.begin(
            sae, normalization: normalization, targetScale: targetScale, sample: sample.target)
        }
      }
    }
    tokensPerEpoch = source.tokensPerEpoch
    provenance = source.provenance
    log = try MetricsLog(path: folder.metrics, keepingUpTo: optimizer.step)
    lastLog = start
    (lastWait, lastStep) = (source.secondsWaited, optimizer.step)
  }

  /// One step on `batch`, which has been normalised, read from `source`; saves a checkpoint when it is time for one.
  ///
  /// - Returns: metrics, if this step is one to log.
  /// - Throws: `TrainError.diverged` if losses or gradients say that the run will come to nothing; the newest checkpoint
  ///   stays.
  func train(on batch: ScaledBatch, of source: any BatchSource) throws -> StepMetrics? {
    begin()
    let losses =
      targetScale == nil ? sae.computeGradients(batch.x) : sae.computeGradients(batch.x, target: batch.target)
    return try finish(ObjectiveLosses(losses), of: batch.x, source, mixing: source.mixing(batch: step))
  }

  /// Called before the gradients of a step are computed.
  func begin() { sae.begin(step: step, of: nSteps) }

  /// The rest of a step whose gradients are there. `batch` is what went into the SAE.
  func finish(
    _ found: ObjectiveLosses, of batch: borrowing Matrix, _ source: any BatchSource, mixing: BatchMixing? = nil
  ) throws -> StepMetrics? {
    let (step, losses) = (step, found.sae)
    if !configuration.hasSameLoss(watch.since, step, objective, sae.configuration) { watch.begin(at: step) }
    if let problem = watch.problem(
      losses, nLatents: sae.configuration.dSAE, isLocal: !objective.needsModel(at: progress),
      isInactive: sae.activity.entryFraction == 0, nSteps: nSteps)
    {
      throw diverged(problem)
    }
    let rate = schedule.learningRate(step: step)
    guard let norm = optimizer.apply(learningRate: rate) else {
      throw diverged(.init(what: "the gradients are not finite"))
    }
    // A loss with the weights of the newest checkpoint has passed: the one before it is not needed any more.
    if let unproven {
      try Checkpoint.removeOthers(than: unproven, in: folder.checkpoints)
      self.unproven = nil
    }
    let resampled = resamplingSteps.contains(self.step) ? resample(from: batch) : nil
    // Activity over the last tenth of the run becomes the SAE's sparsity file.
    if step >= nSteps - max(1, nSteps / 10) { activity.add(sae, tokens: configuration.batch) }
    var metrics: StepMetrics?
    if self.step % configuration.logSteps == 0 || isDone || resampled != nil {
      let logged = self.metrics(found, resampled: resampled, rate: rate, gradientNorm: norm, source, mixing)
      try log.append(logged)
      metrics = logged
    }
    if self.step % configuration.checkpointSteps == 0 && !isDone { try save() }
    return metrics
  }

  /// Sets dead latents anew from the batch at hand; a function of run, step and batch, so that it needs no memory.
  ///
  /// - Returns: how many.
  private func resample(from batch: borrowing Matrix) -> Int {
    guard let sae = sae as? SparseAutoencoder else { return 0 }
    let latents = sae.resample(from: batch, seed: configuration.seed &+ UInt64(self.step) &* 0x9E37_79B9_7F4A_7C15)
    for parameter in sae.latentParameters { optimizer.reset(latents, of: parameter) }
    return latents.count
  }

  /// Writes a checkpoint; the one before stays until this one is known to be good.
  func save() throws {
    try Checkpoint.save(sae, optimizer, activity, watch, in: folder.checkpoints)
    unproven = step
  }

  /// Writes the result and removes the checkpoints.
  func finish() throws {
    if let problem = optimizer.problemOfWeights { throw diverged(.init(what: problem)) }
    // A full disk here must not cost the run.
    try save()
    optimizer.useAverage()
    // The SAE last: a run with one counts as finished.
    if !halfLayers.isEmpty { try TrainedHalfLayer.write(halfLayers, to: folder.halfLayers) }
    try SAELensFormat.save(
      sae, normalization: normalization, targetScale: targetScale, firingFrequency: activity.frequencies,
      provenance: provenance, to: folder.sae)
    try FileManager.default.removeItem(atPath: folder.checkpoints)
  }

  /// The error, once a checkpoint whose weights led to it right away is gone.
  private func diverged(_ problem: DivergenceWatch.Problem) -> TrainError {
    if let unproven { try? Checkpoint.remove(step: unproven, in: folder.checkpoints) }
    let saved = Checkpoint.latestStep(in: folder.checkpoints).map { "; the checkpoint of step \($0) is kept" } ?? ""
    let sparsity = problem.isInactivity ? sae.configuration.whatKeepsLatentsInactive : []
    let lower = (sparsity.isEmpty ? "" : sparsity.joined(separator: ", ") + " or ") + "--lr (now \(schedule.peak))"
    return .diverged(
      "\(folder.path): \(problem.what) at step \(step); lower \(lower)\(sparsity.isEmpty ? "" : ",") or check "
        + "--normalization (now \(configuration.normalization))\(saved)")
  }

  private func metrics(
    _ found: ObjectiveLosses, resampled: Int?, rate: Float, gradientNorm: Double, _ source: any BatchSource,
    _ mixing: BatchMixing?
  ) -> StepMetrics {
    let losses = found.sae
    let now = ContinuousClock.now
    let elapsed = (now - lastLog) / .seconds(1)
    let tokens = step * configuration.batch
    defer { (lastLog, lastWait, lastStep) = (now, source.secondsWaited, step) }
    return StepMetrics(
      step: step, tokens: tokens, epoch: tokens / max(1, tokensPerEpoch), loss: losses.total, mse: losses.mse,
      fvu: losses.fvu, l0: losses.l0, l1: losses.l1, aux: losses.aux, dead: losses.nDead, resampled: resampled,
      lr: rate, gradientNorm: gradientNorm, kl: found.kl, nextToken: found.nextToken, downstream: found.downstream,
      klWithoutSAE: found.klWithoutSAE, nextTokenWithoutSAE: found.nextTokenWithoutSAE, sequences: mixing?.measured,
      sequencesExpected: mixing?.expected,
      tokensPerSecond: Double((step - lastStep) * configuration.batch) / max(elapsed, 1e-9),
      secondsWaiting: source.secondsWaited - lastWait, seconds: (now - start) / .seconds(1))
  }
}

/// On how many tokens each latent was active, towards the end of a run.
struct ActivityCount: Codable {
  /// [dSAE]
  var counts: [Int]
  var tokens = 0

  init(counts: [Int]) { self.counts = counts }

  mutating func add(_ sae: any Autoencoder, tokens: Int) {
    for (j, uses) in sae.activity.uses.enumerated() { counts[j] += uses }
    self.tokens += tokens
  }

  /// [dSAE]; nil before the first token.
  var frequencies: [Float]? { tokens == 0 ? nil : counts.map { Float($0) / Float(tokens) } }
}
