import ActCache
import Foundation
import SAE
import Testing
import Train

@Suite struct TrainConfigurationTests {
  @Test func yamlRoundTripKeepsEveryField() throws {
    var configuration = TrainConfiguration(cache: "c", hook: "blocks.0.hook_resid_pre", out: "o")
    configuration.kAux = 5
    configuration.targetHook = "blocks.1.hook_mlp_out"
    configuration.skip = true
    configuration.lr = 0.25
    configuration.kStart = 64
    configuration.kAnnealFraction = 0.25
    configuration.multiTopK = true
    configuration.groups = "1/2"
    configuration.sparsity = .tanh
    configuration.targetL0 = 5
    configuration.pPower = true
    configuration.normalization = "factor:2.5"
    configuration.io = .pread
    configuration.memory = "1048576"
    configuration.window = "64KiB"
    configuration.onCorrupt = .skip
    configuration.skipBOS = true
    configuration.skipPositions = 3
    configuration.skipOutliers = 7.5
    #expect(try TrainConfiguration(yaml: configuration.yaml, path: "config.yaml") == configuration)
  }

  @Test(arguments: [
    ("tokens: many", "x.yaml: tokens is many; expected a whole number"),
    ("tokens: 1.5", "x.yaml: tokens is 1.5; expected a whole number"),
    ("seed: -1", "x.yaml: seed is -1; expected a whole number from 0 to 2^64 - 1"),
    ("clip: small", "x.yaml: clip is small; expected a number"),
    ("skip-bos: maybe", "x.yaml: skip-bos is maybe; expected true or false"),
    ("k: [5, 6]", "x.yaml: k is a list; give one value here (lists are for actcache sweep)"),
    ("k: {a: 6}", "x.yaml: k is a mapping; give one value"),
    ("schedule: steps", "x.yaml: schedule is steps; expected one of constant, linear, cosine"),
    ("decoder-norm: one", "x.yaml: decoder-norm is one; expected one of unit, graph, free"),
    ("runs:\n- k: 4", "x.yaml: runs is for actcache sweep, not for a single run"),
    ("", "x.yaml: not a YAML mapping of names to values"),
    ("k: 5\nk: 6", "x.yaml: not YAML ("), ("k: [1,\n", "x.yaml: not YAML ("),
  ]) func whatDoesNotFitInYAMLIsNamed(text: String, message: String) {
    do {
      _ = try TrainConfiguration(yaml: text, path: "x.yaml")
      Issue.record("\(text) was read")
    } catch { #expect(message.hasSuffix("(") ? "\(error)".hasPrefix(message) : "\(error)" == message, "\(error)") }
  }

  @Test func missingKeysAreDefaults() throws {
    let configuration = try TrainConfiguration(yaml: "cache: c\nk: 7\n", path: "x.yaml")
    #expect(configuration.k == 7 && configuration.cache == "c" && configuration.batch == 4096)
  }

  @Test func memoryCountsHiddenLayers() throws {
    var configuration = TrainConfiguration(cache: "c", hook: "h", out: "o")
    (configuration.latents, configuration.batch) = ("10", 3)
    // Four copies (value, gradient, two moments) of 2·5·10 weights, and 3·5 floats per token.
    #expect(try configuration.memoryBytes(width: 5) == 4 * (4 * 100 + 15 * 3))
    configuration.arch = .deep
    (configuration.encoderHidden, configuration.decoderHidden) = ("7,5", "6")
    // 5→7→5, 10 latents between widths 5 and 6, 6→5; twice the widths 7, 5, 6 per token besides.
    let weights: Double = 5 * 7 + 7 * 5 + 10 * (5 + 6) + 6 * 5
    #expect(try configuration.memoryBytes(width: 5) == 4 * (4 * weights + (15 + 36) * 3))
    configuration.decoderHidden = "none"
    #expect(try configuration.memoryBytes(width: 5) == 4 * (4 * (70 + 100) + (15 + 24) * 3))
  }

  @Test func unknownKeySuggestsTheNearest() {
    #expect(throws: TrainError.self) { _ = try TrainConfiguration(yaml: "latent: 5", path: "x.yaml") }
    do {
      _ = try TrainConfiguration(yaml: "latent: 5", path: "x.yaml")
    } catch {
      #expect("\(error)".hasPrefix("x.yaml: unknown key latent; did you mean latents? Known: cache, hook"))
    }
  }

  @Test func valuesThatMakeNoSenseAreNamed() throws {
    func message(_ change: (inout TrainConfiguration) -> Void) -> String {
      var configuration = TrainConfiguration(cache: "c", hook: "h", out: "o")
      change(&configuration)
      do { try configuration.validate() } catch { return "\(error)" }
      return "valid"
    }
    #expect(message { _ in } == "valid")
    #expect(message { $0.latents = "99999999" } == "latents is 99999999; 1 to 16,777,216 are allowed")
    #expect(message { $0.logSteps = 0 } == "log-steps is 0; it must be at least 1")
    #expect(message { $0.checkpointSteps = -1 } == "checkpoint-steps is -1; it must be at least 1")
    #expect(message { $0.batch = 0 } == "batch is 0; 1 to 1,048,576 are allowed")
    #expect(
      message { ($0.tokens, $0.batch) = (200_000, 400_000) }
        == "batch is 400000, but the run has 200000 tokens; a batch of 1 to 200000 is allowed, or give more tokens")
    #expect(message { ($0.tokens, $0.batch) = (1, 1) } == "valid")
    #expect(
      message { $0.latents = "x8" }
        == "latents is x8; expected a number such as 4096 or a multiple of the width such as 8x")
    #expect(
      message { $0.normalization = "unit-ish" }
        == "normalization is unit-ish; expected scale, none, unit or factor:<c> with c above 0")
    for ratio in [-10, 0.9, Double.nan, .infinity] {
      #expect(
        message { $0.skipOutliers = ratio }
          == "skip-outliers is \(ratio); expected how many times the median norm a token's may be, such as 10, at least 1"
      )
    }
    #expect(message { $0.skipPositions = -1 } == "skip-positions is -1; it must not be negative")
    for text in ["", "0", "-1", "1MB", "MiB", "1.5GiB", "2 GiB", "99999999999GiB", "+5"] {
      #expect(
        message { $0.memory = text }
          == "memory is \(text); expected bytes such as 268435456, 256MiB or 1GiB (KiB, MiB, GiB), up to 2^50")
    }
    #expect(message { $0.window = "x" }.hasPrefix("window is x; expected bytes"))
    #expect(
      message {
        $0.arch = .relu
        $0.kStart = 64
      }
        == "k-start is given, but arch is relu; it belongs to topk, batchtopk, matryoshka and deep with sparse-layer topk"
    )
    #expect(message { $0.kAnnealFraction = 0.1 } == "k-anneal-fraction is given without k-start; add --k-start K")
    #expect(
      message {
        $0.arch = .batchtopk
        $0.multiTopK = false
      } == "multi-topk is given, but arch is batchtopk; it belongs to topk")
    #expect(message { $0.groups = "1/2" } == "groups is given, but arch is topk; it belongs to matryoshka")
    for (change, expected) in Self.optimizerMessages { #expect(message(change) == expected) }
    #expect(message { $0.hook = "" } == "no hook given; add --hook NAME (`actcache info CACHE` lists them)")
  }

  @Test func readingOptionsAreTakenFromTheirKeys() throws {
    let configuration = try TrainConfiguration(
      yaml: "memory: 4096\nwindow: 3KiB\non-corrupt: skip\nskip-bos: true\nskip-positions: 2\nskip-outliers: 9\n"
        + "io: pread", path: "x")
    let options = try configuration.readingOptions()
    #expect(options.memoryBytes == 4096 && options.windowBytes == 3072 && options.onCorrupt == .skip)
    #expect(
      options.filter.maxNormRatio == 9 && options.filter.skipsBOS && options.filter.positions?.lowerBound == 2
        && configuration.io == .pread)
    #expect(throws: TrainError.self) { try TrainConfiguration(yaml: "io: fread", path: "x") }
    let defaults = try TrainConfiguration(yaml: "cache: c", path: "x").readingOptions()
    #expect(defaults.memoryBytes == ReadingOptions().memoryBytes && defaults.windowBytes == 128 << 20)
    #expect(defaults.filter == TokenFilter() && defaults.onCorrupt == .stop)
  }

  @Test func optionsOfKAreChecked() throws {
    var configuration = TrainConfiguration(cache: "c", hook: "h", out: "o")
    configuration.kStart = 99
    #expect(throws: SAEError.invalid("k-start is 99; it must be from 1 to the number of latents, 80")) {
      _ = try configuration.saeConfiguration(width: 10)
    }
    configuration.kStart = 64
    configuration.kAnnealFraction = 1.5
    #expect(throws: SAEError.invalid("k-anneal-fraction is 1.5; it must be from 0 to 1")) {
      _ = try configuration.saeConfiguration(width: 10)
    }
    configuration.kAnnealFraction = 0.5
    configuration.arch = .matryoshka
    configuration.groups = "1/4"
    #expect(try configuration.saeConfiguration(width: 10).prefixes == [20, 80])
  }

  @Test func optionsThatMeanNothingToTheArchitectureAreRefused() throws {
    func message(_ arch: SAEConfiguration.Architecture, _ change: (inout TrainConfiguration) -> Void) -> String {
      var configuration = TrainConfiguration(cache: "c", hook: "h", out: "o")
      configuration.arch = arch
      change(&configuration)
      do {
        try configuration.validate()
        _ = try configuration.saeConfiguration(width: 8)
      } catch { return "\(error)" }
      return "valid"
    }
    #expect(message(.topk) { $0.l0 = 1 } == "l0 is given, but arch is topk; it belongs to jumprelu")
    #expect(message(.topk) { $0.p = 0.5 } == "p is given, but arch is topk; it belongs to relu and tied")
    #expect(message(.relu) { ($0.p, $0.decoderNorm) = (0.5, .graph) } == "valid")
    #expect(message(.relu) { $0.p = 0 } == "p is 0.0; it must be positive")
    #expect(
      message(.deep) { $0.decoderNorm = .free }
        == "decoder-norm is given, but arch is deep; it belongs to relu, topk, batchtopk, matryoshka, jumprelu, gated and panneal"
    )
    #expect(
      message(.deep) { ($0.sparseLayer, $0.l1) = (.topk, 1) }
        == "l1 is given, but arch is deep with sparse-layer topk; it belongs to relu, tied, rica, gated, panneal and "
        + "deep with sparse-layer relu")
    #expect(
      message(.deep) { ($0.encoderHidden, $0.residual) = ("none", true) }
        == "residual is given, but there is no hidden layer on its side; leave it out")
    #expect(
      message(.deep) { $0.initialWeights = "identity" }
        == "init is given, but arch is deep, whose layers have their own start; leave it out")
    #expect(message(.deep) { $0.dead = .resample } == "dead is resample, but arch is deep, which has only none")
    #expect(message(.relu) { $0.bandwidth = 1 } == "bandwidth is given, but arch is relu; it belongs to jumprelu")
    #expect(message(.relu) { $0.residual = false } == "residual is given, but arch is relu; it belongs to deep")
    #expect(
      message(.deep) { $0.encoderHidden = "wide" }
        == "encoder-hidden is wide; expected widths of layers such as 128 or 2x,1x (times the input's), or none")
    #expect(message(.jumprelu) { $0.pStart = 1 } == "p-start is given, but arch is jumprelu; it belongs to panneal")
    #expect(
      message(.jumprelu) { ($0.targetL0, $0.sparsity) = (20, .step) }
        == "target-l0 and sparsity are two kinds of penalty; leave one of them out")
    #expect(message(.jumprelu) { $0.tanhScale = 2 } == "tanh-scale is 2.0; it belongs to sparsity tanh")
    #expect(
      message(.jumprelu) { $0.targetL0 = 65 }
        == "target-l0 is 65.0; it must be above 0 and at most the number of latents, 64")
    #expect(message(.jumprelu) { $0.bandwidth = 0 } == "bandwidth is 0.0; it must be positive")
    #expect(message(.jumprelu) { $0.threshold = -1 } == "threshold is -1.0; expected a finite number, 0 or more")
    #expect(message(.jumprelu) { $0.l0 = -1 } == "l0 is -1.0; expected a finite number, 0 or more")
    #expect(
      message(.panneal) { $0.pEnd = 0 }
        == "p-start is 1.0 and p-end 0.0; p-end must be above 0 and p-start not below it")
    #expect(message(.panneal) { $0.annealStart = 1 } == "anneal-start is 1.0; from 0 to below 1 are allowed")
    #expect(message(.panneal) { $0.annealUpdates = 0 } == "anneal-updates is 0; 1 to 10,000 are allowed")
    #expect(message(.jumprelu) { ($0.l0, $0.sparsity, $0.tanhScale, $0.bandwidth) = (2, .tanh, 4, 2) } == "valid")
    #expect(message(.panneal) { ($0.pEnd, $0.pPower) = (0.5, true) } == "valid")
    #expect(message(.tied) { ($0.p, $0.l1) = (0.5, 2) } == "valid")
    #expect(
      message(.rica) { $0.decoderNorm = .unit }
        == "decoder-norm is given, but arch is rica; it belongs to relu, topk, batchtopk, matryoshka, jumprelu, gated and panneal"
    )
    #expect(
      message(.tied) { $0.encoderInit = .transpose }
        == "encoder-init is given, but arch is tied, which has one matrix for both; leave it out")
    #expect(
      message(.rica) { $0.initialWeights = "identity" }
        == "init is identity, but arch is rica, which has one matrix for both; leave it out")
    #expect(message(.rica) { $0.dead = .resample } == "dead is resample, but arch is rica, which has only none")
    #expect(message(.rica) { $0.p = 1 } == "p is given, but arch is rica; it belongs to relu and tied")
  }

  @Test func whatATranscoderCannotHaveIsNamed() {
    func message(
      _ arch: SAEConfiguration.Architecture, _ target: String? = "t",
      _ change: (inout TrainConfiguration) -> Void = { _ in }
    ) -> String {
      var configuration = TrainConfiguration(cache: "c", hook: "h", out: "o")
      (configuration.arch, configuration.targetHook) = (arch, target)
      change(&configuration)
      do { try configuration.validate() } catch { return "\(error)" }
      return "valid"
    }
    for arch in SAEConfiguration.Architecture.allCases where arch.canTranscode {
      #expect(message(arch) { $0.skip = true } == "valid")
    }
    for arch in [SAEConfiguration.Architecture.deep, .tied, .rica] {
      #expect(
        message(arch)
          == "target-hook is given, but arch is \(arch.rawValue); it belongs to relu, topk, batchtopk, matryoshka, "
          + "jumprelu, gated and panneal")
    }
    #expect(message(.topk, nil) { $0.skip = false } == "skip is given without target-hook; add --target-hook NAME")
    #expect(message(.topk, "h") == "target-hook is h, the hook itself; leave it out for an autoencoder")
    #expect(
      message(.relu) { $0.encoderInit = .transpose }
        == "encoder-init is transpose, but a transcoder's decoder is of other activations; leave it out")
    #expect(
      message(.relu) { $0.dead = .resample }
        == "dead is resample, but a target-hook is given; transcoders have auxk (with k) and none")
    #expect(
      message(.relu) { $0.initialWeights = "identity" }
        == "init is identity, but a target-hook is given, whose activations are others; leave one of them out")
    #expect(
      message(.relu) { $0.normalization = "unit" }
        == "normalization is unit, but a target-hook is given: nothing in the input says which mean and deviation a token "
        + "has there; choose another normalization")
    for objective in ["e2e", "mixed", "local-kl"] {
      func set(_ configuration: inout TrainConfiguration) {
        (configuration.objective, configuration.weights, configuration.model) = (objective, "local=1,kl=1", "m")
      }
      #expect(message(.topk, "t", set) == "valid")
      #expect(
        message(.gated, "t", set)
          == "target-hook is given, but arch is gated, whose gates learn from the target in --objective local alone; "
          + "choose another arch")
    }
    #expect(
      message(.topk) { ($0.objective, $0.model) = ("intrusive", "m") }
        == "target-hook is given, but half-layers are trained (objective intrusive), which is for autoencoders; leave one "
        + "of them out")
  }

  private static let optimizerMessages: [(@Sendable (inout TrainConfiguration) -> Void, String)] = [
    ({ $0.lr = .fixed(0) }, "lr is 0.0; it must be positive, or auto"),
    ({ $0.optimizer = .sgd }, "lr is auto; sgd has no rule for it, give a number with --lr"),
    (
      { $0.decayFraction = 0.99 },
      "warmup-fraction 0.05 and decay-fraction 0.99 must not be negative, nor more than 1 together"
    ),
    ({ $0.minLRFactor = 1.5 }, "min-lr-factor is 1.5; it must be from 0 to 1"),
    ({ $0.beta1 = 1 }, "beta1 is 1.0; it must be in [0, 1)"),
    ({ $0.momentum = 1 }, "momentum is 1.0; it must be in [0, 1)"),
    ({ $0.weightDecay = -1 }, "weight-decay is -1.0; expected a finite number, 0 or more"),
    ({ $0.ema = 1 }, "ema is 1.0; it must be in [0, 1) (0 keeps no average)"),
    ({ $0.clip = -1 }, "clip is -1.0; expected a finite number, 0 or more (0 switches it off)"),
    (
      {
        $0.optimizer = .signum
        $0.beta2 = 0.999
      }, "beta2 is given, but signum has none; it belongs to adam, adamw and sparse-adam"
    ),
    ({ $0.momentum = 0.9 }, "momentum is given, but adam has none; it belongs to sgd and signum"),
    ({ $0.weightDecay = 0 }, "weight-decay is given, but adam has none; it belongs to adamw, sgd and signum"),
    (
      { $0.sparseAdamSteps = .global }, "sparse-adam-steps is given, but adam has none; it belongs to sparse-adam"
    ),
    (
      {
        $0.schedule = .constant
        $0.decayFraction = 0.2
      }, "decay-fraction is given, but a constant schedule does not fall; it belongs to linear and cosine"
    ),
    (
      {
        $0.schedule = .constant
        $0.minLRFactor = 0
      }, "min-lr-factor is given, but a constant schedule does not fall; it belongs to linear and cosine"
    ),
  ]

  @Test func optimizerSettingsAreReadFromYAML() throws {
    let text = """
      optimizer: sparse-adam
      sparse-adam-steps: row
      schedule: cosine
      lr: auto
      min-lr-factor: 0.1
      ema: 0.99
      """
    let configuration = try TrainConfiguration(yaml: text, path: "x.yaml")
    #expect(configuration.optimizer == .sparseAdam && configuration.sparseAdamSteps == .row)
    #expect(configuration.schedule == .cosine && configuration.lr == .auto && configuration.ema == 0.99)
    #expect(try TrainConfiguration(yaml: configuration.yaml, path: "config.yaml") == configuration)
    #expect(try TrainConfiguration(yaml: "lr: 3e-4", path: "x.yaml").lr == 3e-4)
    #expect(
      throws: TrainError.invalid("x.yaml: the value of lr does not fit (fast is neither auto nor a number)")
    ) { try TrainConfiguration(yaml: "lr: fast", path: "x.yaml") }
  }

  @Test func automaticLearningRateIsTheRuleOfTheOptimizer() {
    #expect(LearningRate.auto.peak(.adam, dSAE: 16_384) == 2e-4)
    #expect(LearningRate.auto.peak(.sparseAdam, dSAE: 65_536) == 1e-4)
    #expect(LearningRate.auto.peak(.signum, dSAE: 4096) == 1e-2)
    #expect(LearningRate.auto.peak(.sgd, dSAE: 4096) == nil)
    #expect(LearningRate.fixed(0.5).peak(.sgd, dSAE: 4096) == 0.5)
  }

  @Test func cosineFallsToItsFloorAndConstantDoesNot() {
    let cosine = Schedule(.cosine, peak: 2, nSteps: 110, warmupFraction: 0.1, floor: 0.25)
    #expect(cosine.warmupSteps == 11 && cosine.decaySteps == 99)
    #expect(cosine.learningRate(step: 10) == 2 && cosine.learningRate(step: 11) == 2)
    // transformers' get_cosine_with_min_lr_schedule: floor + (1 − floor) · (1 + cos πt) / 2.
    for step in [12, 50, 61, 109] {
      let t = Double(step - 11) / 99
      let expected = 2 * (0.25 + 0.75 * (1 + cos(Double.pi * t)) / 2)
      #expect(abs(Double(cosine.learningRate(step: step)) - expected) < 1e-6)
    }
    let late = Schedule(.cosine, peak: 1, nSteps: 100, warmupFraction: 0, decayFraction: 0.5)
    #expect(late.learningRate(step: 50) == 1 && late.learningRate(step: 75) == 0.5)
    let constant = Schedule(.constant, peak: 1, nSteps: 100, warmupFraction: 0.02)
    #expect([0, 1, 50, 99].map { constant.learningRate(step: $0) } == [0.5, 1, 1, 1])
    let linear = Schedule(peak: 1, nSteps: 100, warmupFraction: 0, floor: 0.5)
    #expect(linear.learningRate(step: 90) == 0.75)
  }

  @Test func scheduleRisesHoldsAndFalls() {
    let schedule = Schedule(peak: 1, nSteps: 100, warmupFraction: 0.1, decayFraction: 0.2)
    #expect(schedule.learningRate(step: 0) == 0.1)
    #expect(schedule.learningRate(step: 9) == 1)
    #expect(schedule.learningRate(step: 50) == 1)
    #expect(schedule.learningRate(step: 79) == 1)
    #expect(schedule.learningRate(step: 99) == 0.05)
  }
}
