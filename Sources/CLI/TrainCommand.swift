import ActCache
import ArgumentParser
import Foundation
import LinearAlgebra
import Report
import SAE
import Train

struct TrainCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "train",
    abstract:
      "Train a sparse autoencoder from a cache. Objective local opens no model, the others run its layers after the hook.",
    discussion: "Options given here win over --config; what neither says has its default.")

  @Option(help: "YAML with the same names as these options.") var config: String?
  @Option(help: "The cache's folder.") var cache: String?
  @Option(help: "Hook point to train on.") var hook: String?
  @Option(help: "For a transcoder: hook point whose activations are made from those at --hook.") var targetHook: String?
  @Flag(inversion: .prefixedNo, help: "A transcoder's: add a linear map of the input to the reconstruction.")
  var skip: Bool?
  @Option(help: "Generation of a cache that has grown; by default the newest, or that of the run.") var generation: Int?
  @Option(help: "Folder of the run.") var out: String?
  @Option(help: "topk, batchtopk, matryoshka, relu, jumprelu, gated, panneal, deep, tied or rica.") var arch:
    SAEConfiguration.Architecture?
  @Option(help: "Latents: a number, or a multiple of the width such as 8x.") var latents: String?
  @Option(help: "topk, batchtopk, matryoshka: active latents per token; 32.") var k: Int?
  @Option(help: "The same: k of the first step, from which it goes to --k.") var kStart: Int?
  @Option(help: "Share of the steps in which k goes from --k-start to --k; by default 0.1.") var kAnnealFraction:
    Double?
  @Flag(inversion: .prefixedNo, help: "topk: add the error of the 4k largest latents, weight 1/8.")
  var multiTopk: Bool?
  @Option(help: "matryoshka: groups of latents, shares or numbers; by default 1/32,1/16,1/8,1/4 and the rest.")
  var groups: String?
  @Option(help: "topk, batchtopk, matryoshka: dead latents per token in AuxK; by default half the width.") var kAux:
    Int?
  @Option(help: "The same: weight of AuxK; 1/32, 0 switches it off.") var auxCoefficient: Double?
  @Option(
    help: "relu, tied, gated, panneal, rica: λ of the L1 penalty, λ · mean ‖c‖₁ / width, in normalised units; 1.")
  var l1: Double?
  @Option(help: "jumprelu: λ of the penalty on the number of active latents, λ · L0 / width; 1.") var l0: Double?
  @Option(help: "jumprelu: what λ multiplies: step (L0) or tanh.") var sparsity: SAEConfiguration.Sparsity?
  @Option(help: "jumprelu: s of tanh(s · c); 4.") var tanhScale: Double?
  @Option(help: "relu, tied: p of the penalty λ · mean ‖c‖_p / width; 1.") var p: Double?
  @Option(help: "Decoder rows: unit (held at norm 1), graph (divided by it in the loss, as e2e_sae) or free.")
  var decoderNorm: SAEConfiguration.DecoderNorm?
  @Option(help: "jumprelu: penalise λ · (L0 / target − 1)² / width instead.") var targetL0: Double?
  @Option(help: "jumprelu: width of the band in which pre-activations move their threshold; 0.05.")
  var bandwidth: Double?
  @Option(help: "jumprelu: thresholds at the start; 0.01.") var threshold: Double?
  @Option(help: "panneal: p of the penalty's norm at the start; 1.") var pStart: Double?
  @Option(help: "panneal: what p falls to; 0.2.") var pEnd: Double?
  @Option(help: "panneal: whether the penalty is of ‖c‖_p^p (true or false).") var pPower: Bool?
  @Option(help: "panneal: share of the steps before p begins to fall; 0.1.") var annealStart: Double?
  @Option(help: "panneal: updates of p and λ; 10.") var annealUpdates: Int?
  @Option(help: "deep: what the sparse layer is: relu (with --l1) or topk (with --k); relu.")
  var sparseLayer: DeepShape.Sparse?
  @Option(help: "deep: widths of the hidden layers before the sparse one, such as 128, 2x,1x or none; 1x.")
  var encoderHidden: String?
  @Option(help: "deep: widths of the hidden layers after it; 1x.") var decoderHidden: String?
  @Option(help: "deep: tanh or relu; tanh.") var encoderActivation: HiddenActivation?
  @Option(help: "deep: tanh or relu; relu.") var decoderActivation: HiddenActivation?
  @Flag(inversion: .prefixedNo, help: "deep: a LayerNorm after each of the encoder's hidden layers; by default yes.")
  var layerNorm: Bool?
  @Flag(inversion: .prefixedNo, help: "deep: add the input to the sparse layer's; by default yes.") var residual: Bool?
  @Option(help: "Tokens without activity after which a latent is dead.") var deadTokens: Int?
  @Option(help: "What is done about dead latents: auxk (topk, batchtopk, matryoshka), resample or none.")
  var dead: DeadLatents?
  @Option(help: "resample: after which steps, such as 1000,2000; by default 25000,50000,75000,100000.")
  var resampleSteps: String?
  @Option(
    name: .customLong("init"),
    help: "First weights: identity (reconstruction = input), or the folder of a run to take them from; else random.")
  var initialWeights: String?
  @Option(help: "First encoder: transpose (of the decoder) or random.") var encoderInit: Initialization.Encoder?
  @Option(help: "First decoder rows: random or orthogonal.") var decoderInit: Initialization.Decoder?
  @Option(help: "First decoder bias, of the first batch: median, mean or zero.") var biasInit: Initialization.Bias?
  @Option(
    help: "What is minimised: local, e2e, e2e+ds, next-token, intrusive, non-intrusive, local-kl or mixed (--weights).")
  var objective: String?
  @Option(help: "Weights of terms, such as kl=1,downstream=0>2@0..0.1; terms: local, kl, next-token, downstream, …")
  var weights: String?
  @Option(help: "At the model's output: kl or next-token (cross-entropy).") var outputLoss:
    TrainConfiguration.OutputLoss?
  @Option(help: "e2e+ds: later residual streams: all, next, a number of them, or names.") var downstream: String?
  @Option(help: "The original's predictions: a logit policy of the cache, or none (run the layers above).")
  var teacher: String?
  @Option(help: "local-kl: share of the steps, at the end, that have KL; 0.05.") var finetuneFraction: Double?
  @Flag(inversion: .prefixedNo, help: "Multiply kl and next-token by MSE over the term in the batch; local-kl does.")
  var balance: Bool?
  @Flag(inversion: .prefixedNo, help: "Train the half-layers next to the hook, too; intrusive objectives do.")
  var halfLayers: Bool?
  @Option(help: "Folder or GGUF file of the model, for all objectives but local.") var model: String?
  @Option(help: "Tokens to train on, over as many epochs as that takes.") var tokens: Int?
  @Option(help: "Tokens per step.") var batch: Int?
  @Option(help: "adam, adamw, sgd, signum or sparse-adam.") var optimizer: OptimizerConfiguration.Kind?
  @Option(help: "sparse-adam: bias corrected by the steps of the run (global) or of each row (row).")
  var sparseAdamSteps: OptimizerConfiguration.SparseSteps?
  @Option(help: "Peak learning rate; auto: 2e-4 / √(latents / 16384), for signum 5e-3 / √(…), for sgd none.")
  var lr: LearningRate?
  @Option(help: "The learning rate after the warm-up: linear, cosine or constant.") var schedule: Schedule.Kind?
  @Option(help: "Share of the steps in which the learning rate rises.") var warmupFraction: Double?
  @Option(help: "Share of the steps, at the end, in which it falls; linear: 0.2, cosine: all after the warm-up.")
  var decayFraction: Double?
  @Option(name: .customLong("min-lr-factor"), help: "Share of the peak that it falls to; 0.") var minLRFactor: Double?
  @Option(help: "adam kinds: decay of the first moment; 0.9.") var beta1: Double?
  @Option(help: "adam kinds: decay of the second moment; 0.999.") var beta2: Double?
  @Option(help: "sgd (0.9), signum (0.95): decay of the momentum.") var momentum: Double?
  @Option(help: "adamw (0.01), sgd, signum: weight decay of the encoder and of a decoder not held at unit norm.")
  var weightDecay: Double?
  @Option(help: "Decay per step of the average of weights that becomes the result; 0: the last weights do.")
  var ema: Double?
  @Option(help: "Gradient norm above which gradients are scaled down; 0: never.") var clip: Double?
  @Option(
    help: "Activations: scale (times the cache's factor), unit (each token: mean 0, deviation 1), none, or factor:<c>.")
  var normalization: String?
  @Option(help: "Decides the initial weights, and the order of the tokens unless --order-seed does.") var seed: UInt64?
  @Option(help: "Decides the order of the tokens; by default --seed.") var orderSeed: UInt64?
  @Option(help: "How files are read: mmap or pread. Changes no result.") var io: CacheIO?
  @Option(help: "Bytes for decoded activations, such as 256MiB. Changes no result.") var memory: String?
  @Option(help: "Bytes of activations that are shuffled together, such as 128MiB: more mix better.") var window: String?
  @Option(help: "Damaged data: stop, or skip (leave those frames out, and record it in data.json).") var onCorrupt:
    CorruptionPolicy?
  @Flag(inversion: .prefixedNo, help: "Pass over the BOS tokens of the cache.") var skipBos: Bool?
  @Option(help: "Pass over so many positions at the start of each sequence.") var skipPositions: Int?
  @Option(help: "Pass over tokens whose norm is above so many times the hook's median norm, such as 10.")
  var skipOutliers: Double?
  @Option(help: "Steps between two lines of metrics.jsonl.") var logSteps: Int?
  @Option(help: "Steps between two checkpoints.") var checkpointSteps: Int?
  @OptionGroup var threads: ThreadsOption
  @Flag(help: "Continue an interrupted run from its checkpoint.") var resume = false
  @Flag(help: "Print one JSON object.") var json = false

  private func settings() throws -> TrainConfiguration {
    var settings = TrainConfiguration.defaults
    if let config {
      guard let text = FileManager.default.contents(atPath: config) else {
        throw TrainError.missing("\(config): no file that can be read; check --config")
      }
      settings = try TrainConfiguration(yaml: String(decoding: text, as: UTF8.self), path: config)
    }
    func set<T>(_ path: WritableKeyPath<TrainConfiguration, T>, _ value: T?) {
      if let value { settings[keyPath: path] = value }
    }
    func set<T>(_ path: WritableKeyPath<TrainConfiguration, T?>, _ value: T?) {
      if let value { settings[keyPath: path] = value }
    }
    set(\.cache, cache)
    set(\.hook, hook)
    set(\.targetHook, targetHook)
    set(\.skip, skip)
    set(\.out, out)
    set(\.arch, arch)
    set(\.latents, latents)
    set(\.k, k)
    set(\.auxCoefficient, auxCoefficient)
    set(\.l1, l1)
    set(\.deadTokens, deadTokens)
    set(\.objective, objective)
    set(\.weights, weights)
    set(\.outputLoss, outputLoss)
    set(\.downstream, downstream)
    set(\.teacher, teacher)
    set(\.finetuneFraction, finetuneFraction)
    set(\.balance, balance)
    set(\.halfLayers, halfLayers)
    set(\.model, model)
    set(\.tokens, tokens)
    set(\.batch, batch)
    set(\.optimizer, optimizer)
    set(\.lr, lr)
    set(\.schedule, schedule)
    set(\.warmupFraction, warmupFraction)
    set(\.minLRFactor, minLRFactor)
    set(\.ema, ema)
    set(\.beta1, beta1)
    set(\.beta2, beta2)
    set(\.clip, clip)
    set(\.normalization, normalization)
    set(\.seed, seed)
    set(\.io, io)
    set(\.memory, memory)
    set(\.window, window)
    set(\.onCorrupt, onCorrupt)
    set(\.skipBOS, skipBos)
    set(\.skipPositions, skipPositions)
    set(\.skipOutliers, skipOutliers)
    set(\.logSteps, logSteps)
    set(\.checkpointSteps, checkpointSteps)
    set(\.generation, generation)
    set(\.orderSeed, orderSeed)
    set(\.dead, dead)
    set(\.resampleSteps, resampleSteps)
    set(\.initialWeights, initialWeights)
    set(\.encoderInit, encoderInit)
    set(\.decoderInit, decoderInit)
    set(\.biasInit, biasInit)
    set(\.kStart, kStart)
    set(\.kAnnealFraction, kAnnealFraction)
    set(\.multiTopK, multiTopk)
    set(\.groups, groups)
    set(\.kAux, kAux)
    set(\.l0, l0)
    set(\.sparsity, sparsity)
    set(\.tanhScale, tanhScale)
    set(\.targetL0, targetL0)
    set(\.p, p)
    set(\.decoderNorm, decoderNorm)
    set(\.bandwidth, bandwidth)
    set(\.threshold, threshold)
    set(\.pStart, pStart)
    set(\.pEnd, pEnd)
    set(\.pPower, pPower)
    set(\.annealStart, annealStart)
    set(\.annealUpdates, annealUpdates)
    set(\.sparseLayer, sparseLayer)
    set(\.encoderHidden, encoderHidden)
    set(\.decoderHidden, decoderHidden)
    set(\.encoderActivation, encoderActivation)
    set(\.decoderActivation, decoderActivation)
    set(\.layerNorm, layerNorm)
    set(\.residual, residual)
    set(\.sparseAdamSteps, sparseAdamSteps)
    set(\.decayFraction, decayFraction)
    set(\.momentum, momentum)
    set(\.weightDecay, weightDecay)
    return settings
  }

  func run() throws {
    threads.apply()
    var settings = try settings()
    try settings.validate()
    let data = try RunData(for: &settings)
    note(data)
    let run = try TrainRun(settings, data)
    let dead = settings.deadLatents
    let help = dead == .resample ? "resampling" : dead == .auxk && settings.auxCoefficient != 0 ? "AuxK" : nil
    if let help, settings.deadTokens >= settings.tokens {
      printError(
        "note: \(help) cannot act: no latent counts as dead before \(grouped(settings.deadTokens)) tokens without activity, and "
          + "the run has \(grouped(settings.tokens)); lower --dead-tokens to use it")
    }
    let line = ProgressLine(quiet: json)
    let interruption = Interruption()
    var last: StepMetrics?
    let outcome = try run.run(
      resuming: resume,
      progress: { metrics in
        last = metrics
        let left = Double(run.nSteps - metrics.step) * Double(settings.batch) / max(metrics.tokensPerSecond, 1)
        line.update(
          fraction: Double(metrics.step) / Double(run.nSteps),
          "loss \(fixed(metrics.loss, 4)), " + predictions(metrics)
            + "FVU \(fixed(metrics.fvu, 3)), L0 \(fixed(metrics.l0, 1)), "
            + mixing(metrics) + "\(grouped(Int(metrics.tokensPerSecond))) tokens/s, \(duration(left)) left")
      }, isInterrupted: { interruption.isRaised })
    line.finish()
    try report(outcome, last, settings, data)
  }

  private func partsOfTheTime(_ costs: StepCosts) -> String {
    func share(_ seconds: Double) -> String { "\(fixed(100 * seconds / costs.total, 0)) %" }
    return "steps with the model: SAE \(share(costs.parts.sae)), layers \(share(costs.parts.layers)), unembedding and "
      + "losses \(share(costs.parts.output)), optimizer \(share(costs.optimizer)), reading \(share(costs.reading))"
      + (costs.relativeToLocal.map { "; \(fixed($0, 1)) times the time per token of \(StepCosts.localSteps)" } ?? "")
  }

  private func predictions(_ metrics: StepMetrics) -> String {
    (metrics.kl.map { "KL \(fixed($0, 4)), " } ?? "") + (metrics.nextToken.map { "CE \(fixed($0, 3)), " } ?? "")
  }

  private func mixing(_ metrics: StepMetrics) -> String {
    guard let measured = metrics.sequences, let expected = metrics.sequencesExpected else { return "" }
    return "\(grouped(measured)) sequences per batch (expected \(grouped(Int(expected.rounded())))), "
  }

  private struct Output: Encodable {
    var run, outcome, sae: String
    /// After filters, held-out sequences and damaged frames.
    var tokensPerEpoch: Int
    var skippedFrames: Int
    /// Tokens left out because of their norm.
    var skippedOutliers: Int
    var last: StepMetrics?
    /// Of steps that ran the model.
    var costs: StepCosts?
  }

  private func report(
    _ outcome: TrainRun.Outcome, _ last: StepMetrics?, _ settings: TrainConfiguration, _ data: RunData
  ) throws {
    let (word, sentence) =
      switch outcome {
      case .finished: ("finished", "trained; the SAE is in \(settings.out)/sae")
      case .alreadyFinished:
        ("alreadyFinished", "was finished before; nothing to do, the SAE is in \(settings.out)/sae")
      case .interrupted(let step): ("interrupted", "interrupted at step \(step); add --resume to continue")
      }
    if json {
      try printJSON(
        Output(
          run: settings.out, outcome: word, sae: "\(settings.out)/sae", tokensPerEpoch: data.tokensPerEpoch,
          skippedFrames: data.skipped.count, skippedOutliers: data.outliers?.tokens ?? 0, last: last,
          costs: data.steps?.costs))
    } else {
      print("\(settings.out): \(sentence)")
      if let last {
        print(
          "\(grouped(last.tokens)) tokens in \(duration(last.seconds)); loss \(fixed(last.loss, 4)), "
            + "MSE \(fixed(last.mse, 4)), FVU \(fixed(last.fvu, 4)), L0 \(fixed(last.l0, 1)), \(grouped(last.dead)) dead"
        )
      }
      if let costs = data.steps?.costs, costs.parts.layers > 0 { print(partsOfTheTime(costs)) }
    }
    if case .interrupted = outcome { throw ExitCode(ExitStatus.interrupted) }
  }
}

/// Says on standard error what a run leaves out of the cache, and what it may want to leave out.
func note(_ data: RunData) {
  guard let source = data.source as? CacheBatches else { return }
  if let first = source.skipped.first {
    let nSequences = source.skipped.reduce(0) { $0 + $1.end - $1.first }
    printError(
      "note: frames left out as damaged: \(grouped(source.skipped.count)), with \(grouped(nSequences)) sequences; data.json "
        + "lists them. The first: \(first.reason)")
  }
  let far = source.farTokens
  if let outliers = source.outliers {
    printError(
      "note: tokens left out because of their norm: \(grouped(outliers.tokens)), above "
        + "\(fixed(outliers.maxNorm, 3))")
  } else if far.count > 0 {
    printError(
      "note: \(grouped(far.count)) of the hook's \(grouped(far.of)) tokens have norms above 10 times the median, up to "
        + "\(fixed(far.largest, 0)) times; --skip-outliers 10 passes over them")
  }
}

extension CorruptionPolicy: ExpressibleByArgument {}
extension TrainConfiguration.OutputLoss: ExpressibleByArgument {}
extension OptimizerConfiguration.Kind: ExpressibleByArgument {}
extension OptimizerConfiguration.SparseSteps: ExpressibleByArgument {}
extension Schedule.Kind: ExpressibleByArgument {}
extension Initialization.Encoder: ExpressibleByArgument {}
extension Initialization.Decoder: ExpressibleByArgument {}
extension Initialization.Bias: ExpressibleByArgument {}
extension DeadLatents: ExpressibleByArgument {}
extension SAEConfiguration.DecoderNorm: ExpressibleByArgument {}
extension DeepShape.Sparse: ExpressibleByArgument {}
extension HiddenActivation: ExpressibleByArgument {}
extension LearningRate: ExpressibleByArgument {
  package init?(argument: String) { self.init(argument) }
}
