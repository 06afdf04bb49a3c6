import ActCache
import Foundation
import LinearAlgebra
import Memory
import SAE

/// Where a run's batches come from; batch i is a function of i alone.
package protocol BatchSource {
  /// Width of the activations.
  var width: Int { get }
  /// Tokens of one pass over the data.
  var tokensPerEpoch: Int { get }
  /// The factor that brings raw activations to ‖x‖² ≈ width.
  var normalizationScale: Double { get }
  /// Seconds that `read` has waited for data so far.
  var secondsWaited: Double { get }
  var provenance: SAELensFormat.Provenance { get }
  /// What the batches are made from; a run goes on only with the same.
  var identity: DataIdentity { get }
  /// Fills `batch` [tokens, width] with raw activations.
  func read(batch index: Int, into batch: inout Matrix) throws
  /// What `read` does while it does not wait.
  var reading: Activity { get }
  /// Of how many sequences the tokens of a batch come; nil where that means nothing.
  func mixing(batch index: Int) -> BatchMixing?
  /// What other threads did for this source; `origin` as for `LapTimer`.
  func lanes(since origin: UInt64) -> [Lane]
}

extension BatchSource {
  package var reading: Activity { .gather }
  package func mixing(batch index: Int) -> BatchMixing? { nil }
  package func lanes(since origin: UInt64) -> [Lane] { [] }
}

/// Decides every batch, together with the seed: which activations, of which text, in which order.
package struct DataIdentity: Codable, Equatable, Sendable {
  /// Key of the stream: model, tokenizer, token settings, hook and storage type.
  package var stream: String
  /// Chain over the tokens.
  package var text: String
  package var sequences: Int
  package var heldOut: Int
  /// Frames that are shuffled together.
  package var windowFrames: Int
  /// Frames that were left out because they were damaged; nil if there were none.
  package var skipped: [SkippedFrame]?

  package init(
    stream: String, text: String, sequences: Int, heldOut: Int, windowFrames: Int, skipped: [SkippedFrame]? = nil
  ) {
    self.stream = stream
    self.text = text
    self.sequences = sequences
    self.heldOut = heldOut
    self.windowFrames = windowFrames
    self.skipped = skipped
  }
}

/// One run of `actcache train`: from a source of batches to an SAE on disk, in steps that can be interrupted and
/// resumed bit by bit.
///
///     <out>/config.yaml       complete, replayable
///     <out>/data.json         which data it was trained on
///     <out>/metrics.jsonl     one line per `log-steps` steps
///     <out>/checkpoints/      the newest state, while the run is not finished
///     <out>/sae/              the result, in SAELens' layout
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
  private var folder: String { configuration.out }

  /// Throws `TrainError.invalid` or `SAEError.invalid` for settings that make no sense, or need more memory than there is.
  package init(_ configuration: TrainConfiguration, source: any BatchSource) throws {
    try configuration.validate()
    self.configuration = configuration
    self.source = source
    nSteps = configuration.nSteps
    let shape = try configuration.saeConfiguration(width: source.width)
    // Encoder and decoder, each with gradient and two moments, in f32; then the batch, centred, and its residual.
    let bytes = 4.0 * Double(source.width) * (8 * Double(shape.dSAE) + 3 * Double(configuration.batch))
    let memory = Double(ProcessInfo.processInfo.physicalMemory)
    guard bytes < memory else {
      throw TrainError.invalid(
        "\(shape.dSAE) latents of width \(source.width) with batches of \(configuration.batch) need "
          + "\(Int(bytes / 1e9)) GB of memory, this machine has \(Int(memory / 1e9)); choose fewer --latents or a smaller "
          + "--batch")
    }
  }

  package var isFinished: Bool {
    FileManager.default.fileExists(atPath: "\(folder)/sae/\(SAELensFormat.configurationFile)")
  }

  /// Trains to the end, or until `isInterrupted` says so (asked before each step; the state is then saved).
  ///
  /// - Parameter resuming: go on from the checkpoint in the folder, if there is one.
  /// - Throws: `TrainError.busy` if another process works in the folder, `.invalid` if the folder holds a run with other
  ///   settings, or an unfinished one and `resuming` is false, `.mismatch` if it was begun on other data, `.diverged` if
  ///   the loss or the gradients are not finite.
  package func run(
    resuming: Bool, progress: (StepMetrics) -> Void = { _ in }, isInterrupted: () -> Bool = { false }
  ) throws -> Outcome {
    try createFolder(folder)
    guard let lock = try FolderLock(folder: folder) else {
      throw TrainError.busy("\(folder): another process is training here; wait for it or choose another --out")
    }
    return try train(holding: lock, resuming: resuming, progress: progress, isInterrupted: isInterrupted)
  }

  private func train(
    holding _: borrowing FolderLock, resuming: Bool, progress: (StepMetrics) -> Void, isInterrupted: () -> Bool
  ) throws -> Outcome {
    let checkpoints = "\(folder)/checkpoints"
    try agreeOnConfiguration()
    try agreeOnData()
    if isFinished { return .alreadyFinished }
    let resumeStep = Checkpoint.latestStep(in: checkpoints)
    if let resumeStep, !resuming {
      throw TrainError.invalid(
        "\(folder): holds an unfinished run at step \(resumeStep) of \(nSteps); add --resume to continue it, or choose another --out"
      )
    }
    try createFolder(checkpoints)

    let inputScale = try configuration.inputScale(cacheScale: source.normalizationScale)
    let sae = try SparseAutoencoder(configuration.saeConfiguration(width: source.width), seed: configuration.seed)
    let optimizer = Optimizer(
      sae, beta1: Float(configuration.beta1), beta2: Float(configuration.beta2), clip: Float(configuration.clip))
    let schedule = Schedule(
      peak: configuration.lr.map { Float($0) } ?? Schedule.defaultPeak(dSAE: sae.configuration.dSAE), nSteps: nSteps,
      warmupFraction: configuration.warmupFraction, decayFraction: configuration.decayFraction)
    // Activity over the last tenth of the run becomes the SAE's sparsity file.
    let countFrom = nSteps - max(1, nSteps / 10)
    var activity = ActivityCount(counts: [Int](repeating: 0, count: sae.configuration.dSAE))
    var batch = Matrix(configuration.batch, source.width)
    if let resumeStep {
      activity = try Checkpoint.load(step: resumeStep, from: checkpoints, into: sae, optimizer)
    } else {
      try source.read(batch: 0, into: &batch)
      batch.scale(by: inputScale)
      sae.setDecoderBias(fromMedianOf: batch)
    }
    let log = try MetricsLog(path: "\(folder)/metrics.jsonl", keepingUpTo: optimizer.step)

    let start = ContinuousClock.now
    var (lastLog, lastWait, lastStep) = (start, source.secondsWaited, optimizer.step)
    while optimizer.step < nSteps {
      let step = optimizer.step
      if isInterrupted() {
        try Checkpoint.save(sae, optimizer, activity, in: checkpoints)
        return .interrupted(step: step)
      }
      try source.read(batch: step, into: &batch)
      batch.scale(by: inputScale)
      sae.begin(step: step, of: nSteps)
      let losses = sae.computeGradients(batch)
      guard losses.total.isFinite else {
        throw TrainError.diverged(
          "\(folder): the loss is \(losses.total) at step \(step); lower --lr (now \(schedule.peak)) or check --normalization"
        )
      }
      let rate = schedule.learningRate(step: step)
      guard let norm = optimizer.apply(to: sae, learningRate: rate) else {
        throw TrainError.diverged(
          "\(folder): the gradients are not finite at step \(step); lower --lr (now \(schedule.peak)) or check "
            + "--normalization")
      }
      if step >= countFrom { activity.add(sae, tokens: configuration.batch) }
      if optimizer.step % configuration.logSteps == 0 || optimizer.step == nSteps {
        let now = ContinuousClock.now
        let elapsed = (now - lastLog) / .seconds(1)
        let tokens = optimizer.step * configuration.batch
        let mixing = source.mixing(batch: step)
        let metrics = StepMetrics(
          step: optimizer.step, tokens: tokens, epoch: tokens / max(1, source.tokensPerEpoch), loss: losses.total,
          mse: losses.mse, fvu: losses.fvu, l0: losses.l0, l1: losses.l1, aux: losses.aux, dead: losses.nDead,
          lr: rate, gradientNorm: norm, sequences: mixing?.measured, sequencesExpected: mixing?.expected,
          tokensPerSecond: Double((optimizer.step - lastStep) * configuration.batch) / max(elapsed, 1e-9),
          secondsWaiting: source.secondsWaited - lastWait, seconds: (now - start) / .seconds(1))
        (lastLog, lastWait, lastStep) = (now, source.secondsWaited, optimizer.step)
        try log.append(metrics)
        progress(metrics)
      }
      if optimizer.step % configuration.checkpointSteps == 0 && optimizer.step < nSteps {
        try Checkpoint.save(sae, optimizer, activity, in: checkpoints)
      }
    }
    // A full disk here must not cost the run.
    try Checkpoint.save(sae, optimizer, activity, in: checkpoints)
    try SAELensFormat.save(
      sae, inputScale: inputScale, firingFrequency: activity.frequencies, provenance: source.provenance,
      to: "\(folder)/sae")
    try FileManager.default.removeItem(atPath: checkpoints)
    return .finished
  }

  /// Writes data.json, or checks that the one in the folder names the same data.
  private func agreeOnData() throws {
    let path = "\(folder)/data.json"
    guard let text = FileManager.default.contents(atPath: path) else {
      let encoder = JSONEncoder()
      encoder.outputFormatting = [.sortedKeys, .prettyPrinted]
      try DurableFile.write([UInt8](try encoder.encode(source.identity)), to: path)
      return
    }
    let there: DataIdentity
    do { there = try JSONDecoder().decode(DataIdentity.self, from: text) } catch {
      throw TrainError.mismatch("\(path): not the data of a run; choose another --out, or remove \(folder)")
    }
    var (a, b) = (there, source.identity)
    let skipped = (a.skipped ?? [], b.skipped ?? [])
    // Which frames decides the order; what is wrong with them does not.
    let skipsTheSame = skipped.0.map(\.frame) == skipped.1.map(\.frame)
    (a.skipped, b.skipped) = (nil, nil)
    // A window as large as the cache has a frame less when one is left out.
    if !skipsTheSame { a.windowFrames = b.windowFrames }
    guard a == b else {
      func list(_ data: DataIdentity) -> String {
        "stream \(data.stream.prefix(12)), text \(data.text.prefix(12)), \(data.sequences) sequences, \(data.heldOut) held "
          + "out, windows of \(data.windowFrames) frames"
      }
      throw TrainError.mismatch(
        "\(folder): was trained on \(list(a)); this cache has \(list(b)); give the cache it was begun with, or another "
          + "--out")
    }
    guard skipsTheSame else {
      throw TrainError.mismatch(
        "\(folder): was begun with \(TrainRun.list(skipped.0)) left out as damaged, now it would be "
          + "\(TrainRun.list(skipped.1)), which changes the order of the tokens; repair the cache (`actcache repair`), "
          + "or choose another --out")
    }
  }

  private static func list(_ frames: [SkippedFrame]) -> String {
    if frames.isEmpty { return "no frame" }
    let shown = frames.prefix(8).map { String($0.frame) }.joined(separator: ", ")
    return "\(frames.count == 1 ? "frame" : "frames") \(shown)"
      + (frames.count > 8 ? " and \(frames.count - 8) more" : "")
  }

  /// The generation of the cache that the run in `folder` was begun on; nil if there is no such run.
  package static func generation(ofRun folder: String) throws -> Int? {
    let path = "\(folder)/config.yaml"
    guard let text = FileManager.default.contents(atPath: path) else { return nil }
    return try TrainConfiguration(yaml: String(decoding: text, as: UTF8.self), path: path).generation
  }

  /// The frames that the run in `folder` was begun without: it goes on without them, mended or not.
  package static func skippedFrames(ofRun folder: String) -> [SkippedFrame] {
    guard let text = FileManager.default.contents(atPath: "\(folder)/data.json") else { return [] }
    // `agreeOnData` says what is wrong with a file that cannot be read.
    return (try? JSONDecoder().decode(DataIdentity.self, from: text))?.skipped ?? []
  }

  /// Writes config.yaml, or checks that the one in the folder says the same.
  private func agreeOnConfiguration() throws {
    let path = "\(folder)/config.yaml"
    guard let text = FileManager.default.contents(atPath: path) else {
      try DurableFile.write([UInt8](try configuration.yaml.utf8), to: path)
      return
    }
    var there = try TrainConfiguration(yaml: String(decoding: text, as: UTF8.self), path: path)
    // How to read, log and save changes nothing in the result, and the folder may have been moved.
    there.out = configuration.out
    there.cache = configuration.cache
    there.io = configuration.io
    there.memory = configuration.memory
    there.logSteps = configuration.logSteps
    there.checkpointSteps = configuration.checkpointSteps
    guard there == configuration else {
      let (a, b) = (try there.yaml.split(separator: "\n"), try configuration.yaml.split(separator: "\n"))
      let difference = Set(a).symmetricDifference(b).sorted().joined(separator: "; ")
      throw TrainError.invalid(
        "\(folder): holds a run with other settings (\(difference)); choose another --out, or remove that folder")
    }
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
