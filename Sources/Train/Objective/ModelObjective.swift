import ActCache
import LinearAlgebra
import SAE
import Transformer

/// Losses of a batch, beside the SAE's own; nil what the objective does not have.
package struct ObjectiveLosses: Sendable, Equatable {
  package var sae: StepLosses
  /// Mean over the tokens of text, nats.
  package var kl: Double?
  /// Cross-entropy of the next token, mean over the tokens that have one, nats.
  package var nextToken: Double?
  /// Per later stream, in its normalised units.
  package var downstream: [Double]?
  package var klWithoutSAE: Double?
  package var nextTokenWithoutSAE: Double?

  package init(_ sae: StepLosses) { self.sae = sae }
}

/// Seconds of the parts of a step with the model.
package struct ObjectiveSeconds: Codable, Sendable, Equatable {
  /// The SAE, forward and back.
  package var sae = 0.0
  /// The layers after the hook, forward and back; of the teacher, too, if it is run.
  package var layers = 0.0
  /// Unembedding, softmax, losses and their gradients.
  package var output = 0.0

  static func + (a: Self, b: Self) -> Self {
    Self(sae: a.sae + b.sae, layers: a.layers + b.layers, output: a.output + b.output)
  }
  static func - (a: Self, b: Self) -> Self {
    Self(sae: a.sae - b.sae, layers: a.layers - b.layers, output: a.output - b.output)
  }
  static func / (a: Self, n: Double) -> Self { Self(sae: a.sae / n, layers: a.layers / n, output: a.output / n) }
}

/// An SAE that an objective trains.
package struct Student {
  package var sae: any Autoencoder
  /// Of raw activations.
  package var normalization: InputNormalization
  /// Factor on a transcoder's raw targets; nil for others.
  package var targetScale: Float?
}

/// The terms of an objective that run layers of the model: from sequences of a cache to the gradients of SAEs, and of
/// the half-layers next to the hook.
///
/// With x the cached activation, s its factor (or the token's own, `InputNormalization`) and f the layers after the hook:
///
///     x̂ = SAE(s·x)/s      q = softmax(f(x̂))      L = Σ weight · term + the SAE's own
///
/// A transcoder reads another hook's activation of the original, and x̂ is in the units of its target.
/// The layers before the hook are never run. One objective serves several SAEs at once: they share the batch and the
/// teacher's part of the losses. Trained half-layers belong to one SAE.
package final class ModelObjective {
  package let objective: Objective
  package let plan: ObjectivePlan
  package internal(set) var seconds = ObjectiveSeconds()
  /// Trained half-layers, the one before the hook first.
  package let halfLayers: [TrainedHalfLayer]
  let model: TransformerModel
  /// One per student.
  var passes: [DifferentiablePass] = []
  /// From the input of the half-layer before the hook to the hook.
  let lead: DifferentiablePass?
  /// Of the downstream streams, s².
  let squaredScales: [Double]
  let logits = OutputLossScratch()
  private let workspace = ForwardWorkspace()

  /// Throws `TransformerError` for hooks that no gradient goes back to.
  package init(_ objective: Objective, _ plan: ObjectivePlan, model: TransformerModel, cache: CacheReader) throws {
    (self.objective, self.plan, self.model) = (objective, plan, model)
    halfLayers = [plan.before, plan.after].compactMap(\.self).map { TrainedHalfLayer($0, of: model) }
    lead = try halfLayers.first.map {
      try DifferentiablePass(model, hook: $0.halfLayer.input, downstream: [plan.hook], trained: [$0])
    }
    squaredScales = try plan.downstream.map { hook in
      let scale = try cache.hook(hook.name).scale
      return scale * scale
    }
    passes = [try makePass()]
  }

  private func makePass() throws -> DifferentiablePass {
    try DifferentiablePass(
      model, hook: plan.hook, downstream: plan.downstream, trained: Array(halfLayers.dropFirst()))
  }

  /// One batch as the objective works on it.
  struct Step {
    let batch: SequenceBatch
    /// Of the step's terms.
    let weights: [Objective.Term: Double]
    /// At the hook, raw, [rows, dModel].
    let x: SharedMatrix
    /// What the SAE reads: x, or of a transcoder its own hook.
    let source: SharedMatrix
    let base: SharedMatrix?
    let teacher: TeacherPredictions?
    /// 1 / tokens of text for rows of text, else 0.
    let rowWeights: [Float]

    func weight(_ term: Objective.Term) -> Double { weights[term] ?? 0 }
    var readsOutput: Bool { weight(.kl) > 0 || weight(.nextToken) > 0 }
  }

  /// What a step found of a student.
  struct Found {
    let losses: ObjectiveLosses
    /// What went into its SAE, and what it was to reconstruct, in normalised units.
    let input, target: SharedMatrix
    /// What the step took for it: its own SAE and layers, and of what all share an equal part.
    let seconds: ObjectiveSeconds
  }

  /// Losses of a batch for every student, and exact gradients of the parameters of SAEs and half-layers.
  ///
  /// - Parameter progress: share of the steps that have been taken, which decides the weights.
  ///
  /// Throws `TrainError.invalid` if no token of the batch goes through the SAE.
  func computeGradients(_ students: [Student], _ batch: SequenceBatch, progress: Double) throws -> [Found] {
    precondition(halfLayers.isEmpty || students.count == 1, "half-layers are trained with one SAE")
    guard !batch.saeRows.isEmpty else {
      throw TrainError.invalid("a batch has no token for the SAE; use less of --skip-positions, or a larger --batch")
    }
    while passes.count < students.count { passes.append(try makePass()) }
    let start = seconds
    var own = students.map { _ in ObjectiveSeconds() }
    func counted<R>(of student: Int, _ body: () throws -> R) rethrows -> R {
      let before = seconds
      defer { own[student] = own[student] + (seconds - before) }
      return try body()
    }
    for half in halfLayers { half.clearGradients() }
    var weights: [Objective.Term: Double] = [:]
    for term in Objective.Term.allCases { weights[term] = objective.weight(term, at: progress) }
    let step = try prepare(batch, weights, withTeacher: objective.needsTeacher(at: progress))
    var losses = students.map { _ in ObjectiveLosses(StepLosses()) }
    let dLead = try withoutSAE(step, &losses[0])

    var tasks: [Task] = []
    for (i, student) in students.enumerated() {
      tasks.append(try counted(of: i) { try forward(student, passes[i], step) })
    }
    let outputs = output(tasks, step)
    for (i, task) in tasks.enumerated() {
      if let found = outputs?[i] {
        (losses[i].kl, losses[i].nextToken) = (found.kl, found.nextToken)
        losses[i].sae.total += found.total
      }
      losses[i] = counted(of: i) { backward(task, step, dFinal: outputs?[i].gradient, losses[i], dLead: dLead) }
    }
    let shared = own.reduce(into: seconds - start) { $0 = $0 - $1 } / Double(students.count)
    return students.indices.map {
      Found(losses: losses[$0], input: tasks[$0].input, target: tasks[$0].target, seconds: own[$0] + shared)
    }
  }

  /// The cached activations of a batch at the hook, raw; with trained half-layers what the one before the hook makes.
  func activations(of batch: SequenceBatch) throws -> SharedMatrix {
    guard let input = batch.streams[plan.input] else { preconditionFailure("the batch lacks \(plan.input)") }
    guard let lead else { return input }
    try lead.forward(input.matrix, nSequences: batch.nSequences, nPositions: batch.nPositions, toFinalState: false)
    return SharedMatrix(lead.value(at: plan.hook).matrix.copy())
  }

  /// One student's pass over a batch.
  struct Task {
    let student: Student
    let pass: DifferentiablePass
    /// The SAE's input, [rows of the SAE, its width], in normalised units.
    let input: SharedMatrix
    let moments: TokenMoments?
    /// What it reconstructs, [rows of the SAE, dModel]: the same, or a transcoder's target.
    let target: SharedMatrix
    /// x̂ less that, and the mean of its squares.
    let error: SharedMatrix
    let mse: Double
  }

  private func prepare(
    _ batch: SequenceBatch, _ weights: [Objective.Term: Double], withTeacher: Bool
  ) throws -> Step {
    guard let input = batch.streams[plan.input] else { preconditionFailure("the batch lacks \(plan.input)") }
    let base = plan.base.flatMap { batch.streams[$0] }
    let (x, states) = try timed(\.layers) {
      (try activations(of: batch), withTeacher ? try teacherStates(batch, input, base) : nil)
    }
    let teacher: TeacherPredictions? =
      if let states {
        .states(states)
      } else if let codes = batch.codes {
        .logits(codes)
      } else if let targets = batch.targets {
        .buckets(
          BucketTargets(
            starts: targets.starts, tokens: targets.indices, probabilities: targets.probabilities,
            tailMasses: targets.tailMasses))
      } else {
        nil
      }
    var rowWeights = [Float](repeating: 0, count: batch.nRows)
    for row in batch.textRows { rowWeights[Int(row)] = 1 / Float(batch.textRows.count) }
    let source = plan.source.flatMap { batch.streams[$0] } ?? x
    return Step(
      batch: batch, weights: weights, x: x, source: source, base: base, teacher: teacher, rowWeights: rowWeights)
  }

  /// The teacher's final states, where they are kept or the teacher is run; nil where its targets are kept.
  private func teacherStates(
    _ batch: SequenceBatch, _ input: SharedMatrix, _ base: SharedMatrix?
  ) throws -> SharedMatrix? {
    if let hidden = batch.hidden { return SharedMatrix(model.finalState(normalized: hidden.matrix)) }
    if plan.teacher != nil { return nil }
    if lead != nil {
      try model.forward(
        from: plan.input, input.matrix, nSequences: batch.nSequences, nPositions: batch.nPositions,
        wantsFinalState: true, workspace: workspace)
      return SharedMatrix(workspace.finalState.copy())
    }
    try passes[0].forward(
      input.matrix, base: base?.matrix.strip, nSequences: batch.nSequences, nPositions: batch.nPositions)
    return SharedMatrix(passes[0].finalState.copy())
  }
}
