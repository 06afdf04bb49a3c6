import ActCache
import Foundation
import LinearAlgebra
import SAE
import Transformer

/// Evaluates SAEs of one hook together: the model runs once per held-out batch up to the hook, then once per SAE and
/// ablation from there on. A transcoder's code is computed from the activation at its own hook in the model's original pass,
/// and its reconstruction takes the place of the activation at the target hook. An SAE whose half-layers were trained with it
/// is spliced into the model with these, which runs once more without the SAE; what it is compared with is the original all
/// the same.
package final class Evaluation {
  package struct Subject {
    /// The name in results: the run's folder.
    package var name: String
    package var sae: any SparseCoder
    /// Of the model that the SAE was trained on, if its files say so.
    package var weightsDigest: String?
    /// The file of the half-layers that were trained beside the SAE; nil: the model is as it was.
    package var halfLayers: String?

    package init(
      name: String, sae: any SparseCoder, weightsDigest: String? = nil, halfLayers: String? = nil
    ) {
      self.name = name
      self.sae = sae
      self.weightsDigest = weightsDigest
      self.halfLayers = halfLayers
    }
  }

  private let model: TransformerModel
  private let reader: HeldOutReader
  /// Where codes are computed, and where reconstructions are put in: the same but for transcoders.
  private let inputHook: HookPoint
  private let hook: HookPoint
  private let stream: Manifest.Stream
  /// Mean of each channel over the cache, which mean-ablation puts in.
  private let channelMean: [Double]
  private let later: LaterStreams
  private let subjects: [Subject]
  /// Per subject the model that it was trained with, where that is not the original.
  package let changed: [ChangedModel?]
  private let workspace = ForwardWorkspace()
  private let sequencesPerBatch: Int

  /// - Parameters:
  ///   - targetHook: of transcoders.
  ///   - modelPath: for the command that adds the hook to a cache that lacks it.
  /// - Throws: `ActCacheError.mismatch` if model and cache, `EvaluateError.mismatch` if an SAE and the hook do not belong
  ///   together, or trained half-layers cannot be used.
  package init(
    _ subjects: [Subject], hook inputName: String, targetHook: String? = nil, cache: CacheReader,
    model: TransformerModel, modelPath: String = "MODEL", tokensPerBatch: Int = 2048
  ) throws {
    let digest = try model.weightsDigest()
    try cache.manifest.identity.require(
      weights: digest, modelConfiguration: model.configuration.canonicalDescription,
      numerics: TransformerModel.numerics, path: cache.path)
    self.model = model
    let name = targetHook ?? inputName
    // Mean-ablation and the unit of MSE are of the whole cache, so that its stream is needed although the model runs.
    stream = try cache.hook(
      HookPoint.storedName(of: name, among: cache.manifest.hooks.keys), orAddItWith: modelPath)
    channelMean = stream.statistics?.channelMean ?? [Double](repeating: 0, count: stream.width)
    hook = try model.configuration.hook(named: name)
    later = LaterStreams(after: hook, in: model.configuration)
    inputHook = try model.configuration.hook(named: inputName)
    let inputWidth = model.configuration.width(of: inputHook)
    for subject in subjects where subject.sae.configuration.dIn != inputWidth {
      throw EvaluateError.mismatch(
        "\(subject.name): the SAE is for activations of width \(subject.sae.configuration.dIn), \(inputName) has "
          + "\(inputWidth); evaluate it on the hook it was trained on")
    }
    for subject in subjects where subject.sae.configuration.outWidth != stream.width {
      throw EvaluateError.mismatch(
        "\(subject.name): makes activations of width \(subject.sae.configuration.outWidth), \(name) has \(stream.width); "
          + "evaluate it on the hooks it was trained on")
    }
    for subject in subjects {
      if let trainedOn = subject.weightsDigest, trainedOn != digest {
        throw EvaluateError.mismatch(
          "\(subject.name): the SAE was trained on the model of weights \(trainedOn.prefix(12)), this one has "
            + "\(digest.prefix(12)); evaluate it with its own model and cache")
      }
    }
    let point = hook
    changed = try subjects.map { try $0.halfLayers.map { try ChangedModel($0, of: model, at: point) } }
    reader = try HeldOutReader(cache)
    self.subjects = subjects
    sequencesPerBatch = max(1, tokensPerBatch / reader.context)
  }

  /// The numbers of one SAE, and the sums they were made of.
  package struct Evaluated: Codable, Sendable {
    package var result: EvaluationResult
    package var sums: SequenceSums

    package init(result: EvaluationResult, sums: SequenceSums) {
      (self.result, self.sums) = (result, sums)
    }
  }

  /// What one SAE did, batch by batch.
  private struct Record {
    var sums: SequenceSums
    /// How often each latent was active.
    var uses: [Int]
    /// Seconds.
    var times = EvaluationResult.Times()
    /// Of what goes into the SAE, where that is not the original's.
    var variance: RunningVariance?
  }

  /// Sums and variances of the model as it was harvested and of its ablations: the same for every SAE.
  private struct Baseline {
    var rows = 0
    var tokens: [Int] = []
    var scored: [Int] = []
    var original: [Double] = []
    var zero: [Double] = []
    var mean: [Double] = []
    var variance: RunningVariance
    var later: [HookPoint: RunningVariance]
  }

  /// Runs over `limit` held-out sequences (all of them by default); `progress` hears how many are done.
  package func run(limit: Int? = nil, progress: (Int, Int) -> Void = { _, _ in }) throws -> [Evaluated] {
    let nSequences = min(reader.count, limit ?? reader.count)
    let dModel = model.configuration.dModel
    var records = zip(subjects, changed).map { subject, changed in
      var record = Record(
        sums: SequenceSums(
          own: .init(hook: hook.name, width: stream.width),
          downstream: later.measured.map { .init(hook: $0.name, width: dModel) }),
        uses: [Int](repeating: 0, count: subject.sae.configuration.dSAE))
      if changed != nil {
        record.sums.withoutSAE = .init()
        record.variance = RunningVariance(around: channelMean)
      }
      return record
    }
    let kept = later.observed.union(changed.compactMap { $0?.input })
    let centers = [Double](repeating: 0, count: dModel)
    var baseline = Baseline(
      variance: RunningVariance(around: channelMean),
      later: Dictionary(uniqueKeysWithValues: later.measured.map { ($0, RunningVariance(around: centers)) }))
    for start in stride(from: 0, to: nSequences, by: sequencesPerBatch) {
      let sequences = try (start..<min(nSequences, start + sequencesPerBatch)).map { try reader.sequence($0) }
      let batch = HeldOutBatch(sequences, context: reader.context)
      let original = try UnsplicedPass(
        model, batch.tokens, input: inputHook, hook: hook, keeping: kept, workspace: workspace)
      try add(batch, original, to: &baseline)
      for (i, subject) in subjects.enumerated() {
        let pass = try changed[i].map { try addWithoutSAE(batch, original, $0, to: &records[i]) } ?? original
        try add(batch, original, pass, subject.sae, to: &records[i])
      }
      progress(min(nSequences, start + sequencesPerBatch), nSequences)
    }
    guard baseline.scored.contains(where: { $0 > 0 }) else {
      throw EvaluateError.mismatch("the held-out sequences hold no position that predicts a next token")
    }
    return try zip(subjects, records).map { try evaluated($0, $1, baseline) }
  }

  private func add(_ batch: HeldOutBatch, _ pass: UnsplicedPass, to baseline: inout Baseline) throws {
    let rows = pass.activations.rows
    baseline.rows += rows
    baseline.tokens += batch.sumsOverText { _ in 1 }.map { Int($0) }
    baseline.scored += batch.sumsOverScored { _, _ in 1 }.map { Int($0) }
    baseline.variance.add(pass.activations, rows: batch.textRows)
    for point in later.measured {
      if let values = pass.streams[point] { baseline.later[point]?.add(values.matrix, rows: batch.textRows) }
    }
    func sums(_ losses: [Float]) -> [Double] { batch.sumsOverScored { row, _ in Double(losses[row]) } }
    baseline.original += sums(
      try model.crossEntropy(pass.finalState, targets: batch.targets, scratch: workspace.unembedding))
    baseline.zero += sums(try pass.crossEntropy(replacing: Matrix(rows, stream.width), targets: batch.targets))
    let channelMean = channelMean.map { Float($0) }
    let means = Matrix(rows, stream.width, (0..<rows).flatMap { _ in channelMean })
    baseline.mean += sums(try pass.crossEntropy(replacing: means, targets: batch.targets))
  }

  /// The changed model's pass over the batch, from the last stream that it shares with the original, and how far its
  /// predictions are from the original's: the alignment tax.
  private func addWithoutSAE(
    _ batch: HeldOutBatch, _ original: UnsplicedPass, _ changed: ChangedModel, to record: inout Record
  ) throws -> UnsplicedPass {
    guard let input = original.streams[changed.input] else { preconditionFailure("\(changed.input) was not kept") }
    let pass = try UnsplicedPass(
      changed.model, batch.tokens, input: hook, hook: hook, keeping: later.entry.map { [$0] } ?? [],
      from: (changed.input, input),
      workspace: workspace)
    record.variance?.add(pass.activations, rows: batch.textRows)
    let change = try divergence(batch, from: original)
    record.sums.withoutSAE?.ce += batch.sumsOverScored { row, _ in Double(change.spliced[row]) }
    record.sums.withoutSAE?.kl += batch.sumsOverScored { row, _ in Double(change.kl[row]) }
    return pass
  }

  /// - Parameter pass: of the model that the SAE belongs to; the original's, unless its half-layers were trained.
  private func add(
    _ batch: HeldOutBatch, _ original: UnsplicedPass, _ pass: UnsplicedPass, _ sae: any SparseCoder,
    to record: inout Record
  ) throws {
    let clock = ContinuousClock()
    let start = clock.now
    let code = sae.encode(pass.inputs)
    let recon = sae.decode(code, of: pass.inputs)
    record.times.encodeDecode += (clock.now - start).seconds

    var active = [Int](repeating: 0, count: pass.activations.rows)
    for row in batch.textRows {
      let entries = code.row(Int(row))
      for (latent, _) in entries { record.uses[latent] += 1 }
      active[Int(row)] = entries.count
    }
    record.sums.active += batch.sumsOverText { Double(active[$0]) }
    let squares = squaredDistances(recon, pass.activations)
    record.sums.own.squares += batch.sumsOverText { squares[$0] }

    // The splice; what is observed on the way does not count as its time.
    let spliced = clock.now
    var observing = Duration.zero
    var downstream: [HookPoint: [Double]] = [:]
    var error = Matrix(0, 0)
    var halfway = Matrix(0, 0)
    try pass.run(replacing: recon, observing: later.observed) { point, values in
      let start = clock.now
      defer { observing += clock.now - start }
      if let there = original.streams[point] { downstream[point] = squaredDistances(values, there.matrix) }
      if point == later.entry, let whole = pass.streams[point] {
        error = whole.matrix.copy()
        error.add(values, times: -1)
      }
      if point == later.halfway { halfway = values.copy() }
    }
    record.times.layers += (clock.now - spliced - observing).seconds
    for (i, point) in later.measured.enumerated() {
      let squares = downstream[point] ?? []
      record.sums.downstream[i].squares += batch.sumsOverText { squares[$0] }
    }
    let compared = clock.now
    try addPredictions(batch, original, to: &record.sums)
    record.times.predictions += (clock.now - compared).seconds

    guard let point = later.halfway else { return }
    halfway.add(error)
    try pass.run(from: point, halfway)
    let losses = try model.crossEntropy(
      workspace.finalState, targets: batch.targets, scratch: workspace.unembedding)
    record.sums.ceErrorHalfway += batch.sumsOverScored { row, _ in Double(losses[row]) }
  }

  /// Of the predictions from the final state in the workspace, whatever made it.
  private func divergence(_ batch: HeldOutBatch, from original: UnsplicedPass) throws -> Divergence {
    try model.divergence(
      original: original.finalState, spliced: workspace.finalState, targets: batch.targets,
      scratch: workspace.unembedding)
  }

  private func addPredictions(_ batch: HeldOutBatch, _ original: UnsplicedPass, to sums: inout SequenceSums) throws {
    let change = try divergence(batch, from: original)
    sums.ceSpliced += batch.sumsOverScored { row, _ in Double(change.spliced[row]) }
    sums.kl += batch.sumsOverScored { row, _ in Double(change.kl[row]) }
    sums.distance += batch.sumsOverScored { row, _ in Double(change.distance[row]) }
    sums.agreeing += batch.sumsOverScored { row, _ in change.originalTop[row] == change.splicedTop[row] ? 1 : 0 }
    sums.correctOriginal += batch.sumsOverScored { row, next in change.originalTop[row] == next ? 1 : 0 }
    sums.correctSpliced += batch.sumsOverScored { row, next in change.splicedTop[row] == next ? 1 : 0 }
  }

  private func evaluated(_ subject: Subject, _ record: Record, _ baseline: Baseline) throws -> Evaluated {
    var sums = record.sums
    (sums.tokens, sums.scored) = (baseline.tokens, baseline.scored)
    (sums.ceOriginal, sums.ceZeroAblated, sums.ceMeanAblated) = (baseline.original, baseline.zero, baseline.mean)
    sums.own.variance = (record.variance ?? baseline.variance).perRow
    for (i, point) in later.measured.enumerated() {
      sums.downstream[i].variance = baseline.later[point]?.perRow ?? 0
    }
    guard (sums.withoutSAE?.kl ?? []).allSatisfy(\.isFinite) else {
      throw EvaluateError.mismatch(
        "\(subject.name): the predictions with its trained half-layers are not finite; they are damaged or diverged, "
          + "train it again")
    }
    guard (sums.own.squares + sums.ceSpliced + sums.kl).allSatisfy(\.isFinite) else {
      throw EvaluateError.mismatch(
        "\(subject.name): its reconstructions are not finite; the SAE is damaged or diverged, train it again")
    }
    var result = EvaluationResult(
      run: subject.name, hook: inputHook.name, targetHook: hook == inputHook ? nil : hook.name,
      subject.sae.configuration, kind: subject.sae.kind, sums: sums, scale: stream.scale,
      alive: record.uses.count { $0 > 0 })
    let perToken = 1e6 / Double(baseline.rows)
    result.microsecondsPerToken = .init(
      encodeDecode: record.times.encodeDecode * perToken, layers: record.times.layers * perToken,
      predictions: record.times.predictions * perToken)
    return Evaluated(result: result, sums: sums)
  }
}

extension Duration {
  fileprivate var seconds: Double {
    Double(components.seconds) + Double(components.attoseconds) * 1e-18
  }
}
