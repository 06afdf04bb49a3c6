import ArgumentParser
import Report
import SAE
import Train

/// Options of `bench train` for objectives that run the model.
struct BenchObjectiveOptions: ParsableArguments {
  @Option(help: "With --cache and --model: local, e2e, e2e+ds or another objective of train.") var objective: String?
  @Option(help: "The original's predictions: a logit policy of the cache, or none.") var teacher: String?
  @Option(help: "e2e+ds: later residual streams: all, next, a number of them, or names.") var downstream: String?

  /// Whether steps run the model.
  var runsModel: Bool { objective.map { $0 != "local" } ?? false }

  /// Times steps on the cache and from tokens, and prints the parts.
  func run(_ options: BenchOptions, _ sae: BenchSAEOptions, steps: Int) throws {
    guard let cache = options.cache, let hook = options.hook else {
      throw ValidationError("--objective \(objective ?? "") needs --cache, --hook and --model")
    }
    var configuration = TrainConfiguration(cache: cache, hook: hook, out: "bench")
    configuration.objective = objective ?? "local"
    configuration.model = options.model
    configuration.teacher = teacher
    configuration.downstream = downstream
    configuration.arch = sae.arch
    configuration.latents = sae.latents ?? "8x"
    if sae.arch.usesK { configuration.k = sae.k } else { configuration.l1 = Double(sae.l1) }
    configuration.batch = sae.batch
    let result = try ObjectiveBenchmark(configuration, steps: steps, startL0: sae.startL0).run()
    if options.json { return try printJSON(result) }
    let costs = result.costs
    let sorted = result.secondsPerStep.sorted()
    func part(_ name: String, _ seconds: Double) -> String {
      "  \(name) \(fixed(1e3 * seconds / Double(steps + 1), 1)) ms, \(fixed(100 * seconds / costs.total, 0)) %"
    }
    print(
      """
      \(result.objective), teacher \(result.teacher); \(result.arch.rawValue), d \(result.d), \(result.latents) latents, \
      L0 \(fixed(result.l0, 1)); batch \(result.batch / result.context) × \(result.context), \(result.threads) threads
      \(grouped(Int(result.tokensPerSecond))) tokens/s; \(fixed(1e3 * result.medianSecondsPerStep, 1)) ms/step \
      (\(fixed(1e3 * sorted[0], 1)) to \(fixed(1e3 * sorted[sorted.count - 1], 1)) of \(steps))
      \(part("SAE", costs.parts.sae))
      \(part("layers", costs.parts.layers))
      \(part("unembedding, softmax, losses", costs.parts.output))
      \(part("optimizer", costs.optimizer))
      \(part("reading", costs.reading))
      \(fixed(costs.relativeToLocal ?? 0, 1)) times the time per token of \(StepCosts.localSteps)
      from tokens, without the cache: \(fixed(1e3 * result.medianSecondsLive, 1)) ms/step; the cache saves \
      \(fixed(100 * (1 - result.medianSecondsPerStep / result.medianSecondsLive), 0)) %
      """)
  }
}
