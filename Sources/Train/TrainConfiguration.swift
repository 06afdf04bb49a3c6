import ActCache
import Foundation
import LinearAlgebra
import Memory
import SAE

/// Everything that `actcache train` can be told; fields, flags and YAML keys have the same names.
package struct TrainConfiguration: Codable, Sendable, Equatable {
  /// The cache's folder.
  package var cache: String
  /// The stream to train on, for instance `blocks.3.hook_resid_post`.
  package var hook: String
  /// For a transcoder: the stream whose activations are made from those at `hook`.
  package var targetHook: String?
  /// A transcoder's: whether a linear map of the input is added to the reconstruction.
  package var skip: Bool?
  /// Generation of the cache, for one that has grown; not set: the newest when the run begins.
  package var generation: Int?
  /// The run's folder.
  package var out: String
  /// `topk`, `batchtopk`, `matryoshka`, `relu`, `jumprelu`, `gated`, `panneal`, `deep`, `tied` or `rica`.
  package var arch: SAEConfiguration.Architecture
  /// Latents: a number, or a multiple of the activations' width such as `8x`.
  package var latents: String
  /// topk, batchtopk, matryoshka: active latents per token; 32 where not set.
  package var k: Int?
  /// The same three: k of the first step, from which it goes to `k`; not set: it is `k` all along.
  package var kStart: Int?
  /// Share of the steps in which k goes from `k-start` to `k`, linearly; 0.1 where not set.
  package var kAnnealFraction: Double?
  /// topk: add the error of the 4k largest latents, with weight 1/8 (Multi-TopK).
  package var multiTopK: Bool?
  /// matryoshka: groups of latents that end its prefixes, as shares or numbers of latents, such as `1/32,1/16,1/8,1/4`
  /// (the default); what is left is the last.
  package var groups: String?
  /// topk, batchtopk, matryoshka: dead latents per token in AuxK; half the width where not set.
  package var kAux: Int?
  /// The same three: weight of AuxK; 1/32 where not set, 0 switches it off.
  package var auxCoefficient: Double?
  /// relu, tied, gated, panneal: λ of λ · mean over tokens of ‖c‖₁ / dIn, in normalised units; rica: of Σ log cosh c / dIn;
  /// 1 where not set.
  package var l1: Double?
  /// jumprelu: λ of the penalty on the number of active latents; 1 where not set.
  package var l0: Double?
  /// jumprelu: what λ multiplies, `step` (L0, where not set) or `tanh`.
  package var sparsity: SAEConfiguration.Sparsity?
  /// jumprelu: s of `tanh(s · c)`; 4 where not set.
  package var tanhScale: Double?
  /// jumprelu: the penalty is λ · (L0 / target − 1)² / dIn instead.
  package var targetL0: Double?
  /// relu, tied: p of the penalty's norm; 1 where not set.
  package var p: Double?
  /// What keeps decoder rows from growing: `unit`, `graph` or `free`; unit where not set.
  package var decoderNorm: SAEConfiguration.DecoderNorm?
  /// jumprelu: width of the band in which pre-activations move their threshold; 0.05 where not set.
  package var bandwidth: Double?
  /// jumprelu: thresholds at the start; 0.01 where not set.
  package var threshold: Double?
  /// panneal: p of the penalty's norm at the start, 1 where not set, and what it falls to, 0.2.
  package var pStart: Double?
  package var pEnd: Double?
  /// panneal: whether the penalty is of ‖c‖_p^p.
  package var pPower: Bool?
  /// panneal: share of the steps before p begins to fall; 0.1 where not set.
  package var annealStart: Double?
  /// panneal: updates of p and λ; 10 where not set.
  package var annealUpdates: Int?
  /// deep: what the sparse layer is, `relu` (where not set) or `topk`.
  package var sparseLayer: DeepShape.Sparse?
  /// deep: widths of the hidden layers before and after the sparse one, such as `128`, `2x,1x` or `none`; `1x` where not set.
  package var encoderHidden: String?
  package var decoderHidden: String?
  /// deep: `tanh` (the encoder's, where not set) or `relu` (the decoder's).
  package var encoderActivation: HiddenActivation?
  package var decoderActivation: HiddenActivation?
  /// deep: whether a LayerNorm follows each of the encoder's hidden layers, and whether the input is added after them.
  package var layerNorm: Bool?
  package var residual: Bool?
  /// Tokens without activity after which a latent is dead.
  package var deadTokens: Int
  /// What is done about them: `auxk` (where the arch has it, some steps are local and this is not set), `resample` or `none`.
  package var dead: DeadLatents?
  /// resample: after which steps, such as `1000,2000`; 25,000, 50,000, 75,000 and 100,000 where not set.
  package var resampleSteps: String?
  /// `identity` (x̂ ≈ x before training), or the folder of a run or SAE whose weights are taken; not set: random weights.
  package var initialWeights: String?
  /// Encoder at the start: `transpose` of the decoder (where not set) or `random`.
  package var encoderInit: Initialization.Encoder?
  /// Decoder rows at the start: `random` (where not set) or `orthogonal`.
  package var decoderInit: Initialization.Decoder?
  /// bDec at the start, of the first batch: `median` (where not set), `mean` or `zero`.
  package var biasInit: Initialization.Bias?
  /// What is minimised: `local`, `e2e`, `e2e+ds`, `next-token`, `intrusive`, `non-intrusive`, `local-kl` or `mixed`; see
  /// `Objective`.
  package var objective: String
  /// Weights of its terms, such as `kl=1,downstream=0>2@0..0.1`, over those of the objective.
  package var weights: String?
  /// `kl` (where not set) or `next-token`.
  package var outputLoss: OutputLoss?
  /// Later residual streams: `all` (where not set), `next`, a number of them, or names.
  package var downstream: String?
  /// Where the original's predictions come from: a logit policy of the cache, or `none`: the layers after the hook run on
  /// its activations. Not set: the first of hidden, full, mass, topk that the cache has, else none.
  package var teacher: String?
  /// local-kl: share of the steps, at the end, that have KL; 0.05 where not set.
  package var finetuneFraction: Double?
  /// Whether kl and next-token are multiplied by MSE over the term in the batch; local-kl does.
  package var balance: Bool?
  /// Whether the half-layers next to the hook are trained, too; intrusive and non-intrusive do.
  package var halfLayers: Bool?
  /// Folder or GGUF file of the model, for objectives that run it.
  package var model: String?
  /// Tokens to train on, over as many epochs as that takes.
  package var tokens: Int
  /// Tokens per step; no more than `tokens`.
  package var batch: Int
  /// `adam`, `adamw`, `sgd`, `signum` or `sparse-adam`.
  package var optimizer: OptimizerConfiguration.Kind
  /// sparse-adam: whether the bias of its moments is corrected by the steps of the run or of each row; `global` where not set.
  package var sparseAdamSteps: OptimizerConfiguration.SparseSteps?
  /// Peak learning rate; `auto`: the optimizer's rule, ∝ 1/√n (`LearningRate`).
  package var lr: LearningRate
  /// `linear`, `cosine` or `constant`, after the warm-up.
  package var schedule: Schedule.Kind
  /// Share of the steps in which the learning rate rises linearly from 0, at most 1,000 steps.
  package var warmupFraction: Double
  /// Share of the steps, at the end, in which it falls; where not set 0.2 for `linear`, all after the warm-up for `cosine`.
  package var decayFraction: Double?
  /// Share of the peak that it falls to; 0 where not set.
  package var minLRFactor: Double?
  /// Of the adam kinds; 0.9 and 0.999 where not set.
  package var beta1: Double?
  package var beta2: Double?
  /// sgd (0.9 where not set) and signum (0.95).
  package var momentum: Double?
  /// adamw (0.01 where not set), sgd and signum (0). Acts on the encoder, on a decoder that is not held at unit norm, and on
  /// no biases.
  package var weightDecay: Double?
  /// Decay per step of the moving average of weights that becomes the result; 0: none, the last weights do.
  package var ema: Double
  /// Joint gradient norm above which gradients are scaled down; 0: never.
  package var clip: Double
  /// `scale` (the cache's factor for the hook), `none`, `unit` (each token: mean 0, standard deviation 1), or `factor:<c>`.
  package var normalization: String
  /// Decides the initial weights, and the order of the tokens unless `orderSeed` does.
  package var seed: UInt64
  /// Decides the order of the tokens; the members of a sweep share one.
  package var orderSeed: UInt64?
  /// How files are read. Changes no result.
  package var io: CacheIO
  /// Bytes for decoded activations, such as `256MiB`. Changes no result.
  package var memory: String
  /// Bytes of decoded activations that are shuffled together, such as `128MiB`: decides the order of the tokens.
  package var window: String
  /// `stop`, or `skip`: damaged frames are left out of the order.
  package var onCorrupt: CorruptionPolicy
  /// Pass over the token that the cache's sequences begin with.
  package var skipBOS: Bool
  /// Pass over so many positions at the start of each sequence.
  package var skipPositions: Int
  /// Pass over tokens whose norm is above so many times the hook's median norm; not set: over none.
  package var skipOutliers: Double?
  /// Steps between two lines of metrics.jsonl.
  package var logSteps: Int
  /// Steps between two checkpoints.
  package var checkpointSteps: Int

  enum CodingKeys: String, CodingKey, CaseIterable {
    case cache, hook
    case targetHook = "target-hook"
    case skip, generation, out, arch, latents, k
    case kStart = "k-start"
    case kAnnealFraction = "k-anneal-fraction"
    case multiTopK = "multi-topk"
    case groups
    case kAux = "k-aux"
    case auxCoefficient = "aux-coefficient"
    case l1, l0, sparsity
    case tanhScale = "tanh-scale"
    case targetL0 = "target-l0"
    case p
    case decoderNorm = "decoder-norm"
    case bandwidth, threshold
    case pStart = "p-start"
    case pEnd = "p-end"
    case pPower = "p-power"
    case annealStart = "anneal-start"
    case annealUpdates = "anneal-updates"
    case sparseLayer = "sparse-layer"
    case encoderHidden = "encoder-hidden"
    case decoderHidden = "decoder-hidden"
    case encoderActivation = "encoder-activation"
    case decoderActivation = "decoder-activation"
    case layerNorm = "layer-norm"
    case residual
    case deadTokens = "dead-tokens"
    case dead
    case resampleSteps = "resample-steps"
    case initialWeights = "init"
    case encoderInit = "encoder-init"
    case decoderInit = "decoder-init"
    case biasInit = "bias-init"
    case objective, weights
    case outputLoss = "output-loss"
    case downstream, teacher
    case finetuneFraction = "finetune-fraction"
    case balance
    case halfLayers = "half-layers"
    case model, tokens, batch, optimizer
    case sparseAdamSteps = "sparse-adam-steps"
    case lr, schedule
    case warmupFraction = "warmup-fraction"
    case decayFraction = "decay-fraction"
    case minLRFactor = "min-lr-factor"
    case beta1, beta2, momentum
    case weightDecay = "weight-decay"
    case ema, clip, normalization, seed
    case orderSeed = "order-seed"
    case io, memory, window
    case onCorrupt = "on-corrupt"
    case skipBOS = "skip-bos"
    case skipPositions = "skip-positions"
    case skipOutliers = "skip-outliers"
    case logSteps = "log-steps"
    case checkpointSteps = "checkpoint-steps"
  }

  package static let defaults = TrainConfiguration(cache: "", hook: "", out: "")

  package init(cache: String, hook: String, out: String) {
    self.cache = cache
    self.hook = hook
    self.out = out
    arch = .topk
    latents = "8x"
    deadTokens = 10_000_000
    objective = "local"
    tokens = 10_000_000
    batch = 4096
    optimizer = .adam
    lr = .auto
    schedule = .linear
    warmupFraction = 0.05
    ema = 0
    clip = 1
    normalization = "scale"
    seed = 0
    io = .mmap
    memory = "256MiB"
    window = "128MiB"
    onCorrupt = .stop
    skipBOS = false
    skipPositions = 0
    logSteps = 10
    checkpointSteps = 1000
  }

  /// Whether every batch of `other`, as it was read, is one of this run, too.
  func sharesBatches(with other: Self) -> Bool {
    let (mine, theirs) = (try? makeObjective(), try? other.makeObjective())
    if mine?.runsModel ?? false || theirs?.runsModel ?? false {
      // Weights follow the progress, and half-layers belong to one SAE.
      let sharesSteps = mine == theirs && (tokens, model, teacher) == (other.tokens, other.model, other.teacher)
      if !sharesSteps || mine?.trainsHalfLayers ?? true { return false }
    }
    return (cache, hook, targetHook, generation, batch, orderSeed ?? seed) == (
      other.cache, other.hook, other.targetHook, other.generation, other.batch, other.orderSeed ?? other.seed
    )
      && (io, memory, window, onCorrupt) == (other.io, other.memory, other.window, other.onCorrupt)
      && (skipBOS, skipPositions, skipOutliers) == (other.skipBOS, other.skipPositions, other.skipOutliers)
  }

  /// Throws `TrainError.invalid` for the first value that makes no sense.
  package func validate() throws(TrainError) {
    func check(_ holds: Bool, _ what: String) throws(TrainError) { if !holds { throw .invalid(what) } }
    try check(!cache.isEmpty, "no cache given; add --cache CACHE")
    try check(!hook.isEmpty, "no hook given; add --hook NAME (`actcache info CACHE` lists them)")
    try check(!out.isEmpty, "no run folder given; add --out RUN")
    _ = try makeObjective()
    try check(tokens >= 1 && tokens <= 1 << 50, "tokens is \(tokens); 1 to 2^50 are allowed")
    try check(batch >= 1 && batch <= 1 << 20, "batch is \(batch); 1 to 1,048,576 are allowed")
    try check(
      batch <= tokens,
      "batch is \(batch), but the run has \(tokens) tokens; a batch of 1 to \(tokens) is allowed, or give more tokens")
    try validateArchitecture()
    try validateTarget()
    try validateOptimizer()
    try validateInitialization()
    try validateDeadLatents()
    try check(logSteps >= 1, "log-steps is \(logSteps); it must be at least 1")
    try check(checkpointSteps >= 1, "checkpoint-steps is \(checkpointSteps); it must be at least 1")
    _ = try readingOptions()
    _ = try inputNormalization(cacheScale: 1)
    _ = try latentCount(width: 1)
  }

  /// The number of latents for activations of `width`.
  package func latentCount(width: Int) throws(TrainError) -> Int {
    let isMultiple = latents.hasSuffix("x")
    guard let number = Int(isMultiple ? String(latents.dropLast()) : latents) else {
      throw .invalid("latents is \(latents); expected a number such as 4096 or a multiple of the width such as 8x")
    }
    guard (1...1 << 24).contains(number) else {
      throw .invalid("latents is \(latents); 1 to 16,777,216 are allowed")
    }
    return isMultiple ? number * width : number
  }

  /// What becomes of raw activations, given the factor that the cache recommends for the hook.
  package func inputNormalization(cacheScale: Double) throws(TrainError) -> InputNormalization {
    switch normalization {
    case "scale": return .factor(Float(cacheScale))
    case "none": return .factor(1)
    case "unit": return .perToken
    default:
      if normalization.hasPrefix("factor:"), let factor = Float(normalization.dropFirst(7)), factor > 0, factor.isFinite
      {
        return .factor(factor)
      }
      throw .invalid("normalization is \(normalization); expected scale, none, unit or factor:<c> with c above 0")
    }
  }

  /// The factor on raw activations at a transcoder's target; `normalization` is that of both.
  func targetScale(of source: any BatchSource) throws(TrainError) -> Float? {
    guard targetHook != nil, let target = source.target,
      case .factor(let factor) = try inputNormalization(cacheScale: target.normalizationScale)
    else { return nil }
    return factor
  }

  /// The SAE for activations of `width`, or the transcoder from those to `targetWidth`.
  package func saeConfiguration(width: Int, targetWidth: Int? = nil) throws -> SAEConfiguration {
    var configuration = SAEConfiguration(
      architecture: arch, dIn: width, dSAE: try latentCount(width: width), kAux: kAux, deadTokens: deadTokens)
    if let k { configuration.k = k }
    if let l1 { configuration.l1 = Float(l1) }
    if let auxCoefficient { configuration.auxCoefficient = Float(auxCoefficient) }
    if deadLatents != .auxk { configuration.auxCoefficient = 0 }
    (configuration.dOut, configuration.skip) = (targetWidth, skip ?? false)
    configuration.kStart = kStart
    if let kAnnealFraction { configuration.kAnnealFraction = kAnnealFraction }
    configuration.multiTopK = multiTopK ?? false
    if let groups {
      configuration.prefixes = try Matryoshka.prefixes(groups: groups, nLatents: configuration.dSAE)
    }
    if let l0 { configuration.l0 = Float(l0) }
    if let sparsity { configuration.sparsity = sparsity }
    if let tanhScale { configuration.tanhScale = Float(tanhScale) }
    configuration.targetL0 = targetL0.map { Float($0) }
    if let p { configuration.p = Float(p) }
    if let decoderNorm { configuration.decoderNorm = decoderNorm }
    if let bandwidth { configuration.bandwidth = Float(bandwidth) }
    if let threshold { configuration.initialThreshold = Float(threshold) }
    if let pStart { configuration.pStart = Float(pStart) }
    if let pEnd { configuration.pEnd = Float(pEnd) }
    if let pPower { configuration.pPower = pPower }
    if let annealStart { configuration.annealStart = Float(annealStart) }
    if let annealUpdates { configuration.annealUpdates = annealUpdates }
    configuration.initialization = initialization
    if arch == .deep {
      (configuration.deep.encoder, configuration.deep.decoder) = try hiddenWidths(width: width)
    }
    if let sparseLayer { configuration.deep.sparse = sparseLayer }
    if let encoderActivation { configuration.deep.encoderActivation = encoderActivation }
    if let decoderActivation { configuration.deep.decoderActivation = decoderActivation }
    if let layerNorm { configuration.deep.layerNorm = layerNorm }
    if let residual { configuration.deep.residual = residual }
    try configuration.validate()
    return configuration
  }

  /// deep: widths of the layers before and after the sparse one.
  private func hiddenWidths(width: Int) throws -> (encoder: [Int], decoder: [Int]) {
    (
      try DeepShape.widths(encoderHidden ?? "1x", of: "encoder-hidden", dIn: width),
      try DeepShape.widths(decoderHidden ?? "1x", of: "decoder-hidden", dIn: width)
    )
  }

  /// Memory that training takes for activations of `width`, at least: encoder and decoder, each with gradient and what
  /// the optimizer keeps, in f32; then the batch, centred, and its residual; those of a transcoder with their widths. Hidden
  /// layers have weights of their own, and each its results and their gradient.
  package func memoryBytes(width: Int, targetWidth: Int? = nil) throws -> Double {
    let latents = Double(try latentCount(width: width))
    let widths = Double(width + (targetWidth ?? width))
    var weights = widths * latents
    var perToken = 1.5 * widths
    if arch == .deep {
      let (encoder, decoder) = try hiddenWidths(width: width)
      func sum(_ widths: [Int]) -> Double {
        zip(widths, widths.dropFirst()).reduce(0) { $0 + Double($1.0) * Double($1.1) }
      }
      weights =
        latents * Double((encoder.last ?? width) + (decoder.first ?? width)) + sum([width] + encoder)
        + sum(decoder + (decoder.isEmpty ? [] : [width]))
      perToken += (encoder + decoder).reduce(0) { $0 + 2 * Double($1) }
    }
    return 4 * (Double(2 + optimizerConfiguration.nCopies) * weights + perToken * Double(batch))
  }

  /// Throws `TrainError.invalid` or `SAEError.invalid` for what makes no sense with activations of `width`, or needs more
  /// memory than there is: before anything is written.
  func check(width: Int, targetWidth: Int?, objective: ModelObjective?) throws {
    let (bytes, memory) = (
      try memoryBytes(width: width, targetWidth: targetWidth), ProcessInfo.processInfo.physicalMemory
    )
    guard bytes < Double(memory) else {
      throw TrainError.invalid(
        "\(try latentCount(width: width)) latents of width \(width) with batches of \(batch) need \(Int(bytes / 1e9)) GB "
          + "of memory, this machine has \(memory / 1_000_000_000); choose fewer --latents or a smaller --batch")
    }
    _ = try saeConfiguration(width: width, targetWidth: targetWidth)
    if width < 2, try inputNormalization(cacheScale: 1) == .perToken {
      throw TrainError.invalid("normalization is unit, but activations of width \(width) have no deviation; use scale")
    }
    try checkInitialRun(width: width, targetWidth: targetWidth, objective: objective)
  }

  private func validateTarget() throws(TrainError) {
    guard let targetHook else {
      if skip != nil { throw .invalid("skip is given without target-hook; add --target-hook NAME") }
      return
    }
    guard targetHook != hook else {
      throw .invalid("target-hook is \(targetHook), the hook itself; leave it out for an autoencoder")
    }
    if normalization == "unit" {
      throw .invalid(
        "normalization is unit, but a target-hook is given: nothing in the input says which mean and deviation a token has "
          + "there; choose another normalization")
    }
    if encoderInit == .transpose {
      throw .invalid("encoder-init is transpose, but a transcoder's decoder is of other activations; leave it out")
    }
    if dead == .resample {
      throw .invalid("dead is resample, but a target-hook is given; transcoders have auxk (with k) and none")
    }
  }

  package var nSteps: Int { (tokens + batch - 1) / batch }
}
