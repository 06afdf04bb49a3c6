import ActCache
import LinearAlgebra
import SAE
import Transformer

/// Times steps of an objective that runs the model: from the cache, and the same steps with the model run from the tokens
/// in the place of the cache.
package struct ObjectiveBenchmark {
  package struct Result: Codable, Sendable {
    package var objective: String
    package var teacher: String
    package var arch: SAEConfiguration.Architecture
    package var d, latents, batch, context: Int
    package var threads: Int
    package var secondsPerStep: [Double]
    package var medianSecondsPerStep: Double
    package var tokensPerSecond: Double
    /// Active latents per token in the last step.
    package var l0: Double
    /// Of all steps.
    package var costs: StepCosts
    /// The median step from tokens: the original's pass over the whole model, then a step as above from what it gave.
    package var medianSecondsLive: Double
  }

  private static let uncounted = 1
  private var configuration: TrainConfiguration
  private let steps: Int
  private let startL0: Double?

  /// - Parameters:
  ///   - configuration: as for a run; nothing is written.
  ///   - startL0: see `TrainBenchmark`.
  package init(_ configuration: TrainConfiguration, steps: Int, startL0: Double? = nil) {
    (self.configuration, self.steps, self.startL0) = (configuration, steps, startL0)
  }

  package func run() throws -> Result {
    var configuration = configuration
    try configuration.validate()
    let cache = try CacheReader(path: configuration.cache, io: configuration.io)
    let model = try ModelSteps(for: &configuration, cache: cache)
    let (objective, plan) = (model.objective, model.objective.plan)
    let width = objective.model.configuration.width(of: plan.hook)
    let sae = try configuration.saeConfiguration(width: width).makeAutoencoder(seed: configuration.seed)
    let student = Student(
      sae: sae, normalization: try configuration.inputNormalization(cacheScale: model.scale))
    var sample = try model.sample()
    student.normalization.apply(to: &sample)
    sae.prepare(from: sample)
    if let startL0, let sae = sae as? SparseAutoencoder { sae.lowerBias(toL0: startL0, on: sample) }
    let optimizer = Optimizer(
      sae.parameters + objective.halfLayers.flatMap { $0.weights.map(\.parameter) },
      configuration.optimizerConfiguration)
    var (optimizing, l0) = (0.0, 0.0)
    var last: ModelObjective.Found?
    func step(on batch: SequenceBatch) throws {
      let found = try objective.computeGradients([student], batch, progress: 1)[0]
      l0 = found.losses.sae.l0
      last = found
      let start = ContinuousClock.now
      optimizer.apply(learningRate: 1e-4)
      optimizing += (ContinuousClock.now - start) / .seconds(1)
    }
    func median(_ body: (Int) throws -> Void) throws -> (all: [Double], median: Double) {
      var seconds: [Double] = []
      for i in 0..<steps + Self.uncounted {
        let start = ContinuousClock.now
        try body(i)
        if i >= Self.uncounted { seconds.append((ContinuousClock.now - start) / .seconds(1)) }
      }
      return (seconds, seconds.sorted()[seconds.count / 2])
    }
    let cached = try median { try step(on: model.sequences.read(batch: $0)) }
    var costs = StepCosts(
      parts: objective.seconds, optimizer: optimizing, reading: model.sequences.secondsWaited)
    if let last {
      let seconds = try LocalStepTime.seconds(sae, configuration.optimizerConfiguration, step: 0, of: 1, last)
      costs.local = seconds * Double(cached.all.count + Self.uncounted)
    }
    let batches = try (0..<steps + Self.uncounted).map { try model.sequences.read(batch: $0) }
    let workspace = ForwardWorkspace()
    let live = try median { i in
      let batch = batches[i]
      let tokens = TokenBatch(ids: batch.tokens, nSequences: batch.nSequences, nPositions: batch.nPositions)
      let hooks = plan.streams.hooks + (plan.needsTeacher ? [.finalNormalized] : [])
      (batch.targets, batch.codes) = (nil, nil)
      try objective.model.forward(tokens, hooks: hooks, workspace: workspace) { hook, values in
        let copy = SharedMatrix(values.copy())
        if hook == .finalNormalized { batch.hidden = copy } else { batch.streams[hook] = copy }
      }
      try step(on: batch)
    }
    return Result(
      objective: configuration.objective, teacher: plan.needsTeacher ? plan.teacher?.name ?? "none" : "–",
      arch: configuration.arch, d: width, latents: sae.configuration.dSAE, batch: configuration.batch,
      context: model.sequences.context, threads: Threads.count, secondsPerStep: cached.all,
      medianSecondsPerStep: cached.median, tokensPerSecond: Double(configuration.batch) / cached.median, l0: l0,
      costs: costs, medianSecondsLive: live.median)
  }
}
