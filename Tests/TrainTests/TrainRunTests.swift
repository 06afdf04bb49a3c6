import Foundation
import LinearAlgebra
import SAE
import TestSupport
import Testing
import Train

/// Batches computed from their index: sparse combinations of a fixed dictionary. With a target, some of it is linear in
/// them and some not.
struct ToyBatches: BatchSource {
  let width = 12
  let tokensPerEpoch = 1000
  let normalizationScale = 0.7
  let secondsWaited = 0.0
  var target: TargetShape?
  var identity = DataIdentity(stream: "toy", text: "toy", sequences: 125, heldOut: 0, windowFrames: 1)
  let provenance = SAELensFormat.Provenance(
    modelName: "toy", hookName: "blocks.0.hook_resid_post", context: 8, prependsBOS: false)

  func read(batch index: Int, into batch: inout Matrix, target: inout Matrix) throws {
    try read(batch: index, into: &batch)
    for row in 0..<target.rows {
      for column in 0..<target.columns {
        let (a, b) = (batch[row, column % width], batch[row, (column + 3) % width])
        target[row, column] = 2 * a + max(a - b, 0) + 1
      }
    }
  }

  func read(batch index: Int, into batch: inout Matrix) throws {
    var dictionary = SeededGenerator(seed: 1)
    let features = dictionary.floats(20 * width)
    var random = SeededGenerator(seed: UInt64(index + 100))
    batch.fill(0)
    for row in 0..<batch.rows {
      for feature in (0..<3).map({ _ in Int.random(in: 0..<20, using: &random) }) {
        let size = Float.random(in: 0.5...2, using: &random)
        for column in 0..<width { batch[row, column] += size * features[feature * width + column] }
      }
    }
  }
}

extension TrainConfiguration {
  /// Sets what decides how sparse its kind is.
  mutating func setSparsity(k: Int, l1: Double) {
    let usesK = arch.usesK || sparseLayer == .topk
    self.k = usesK ? k : nil
    self.l1 = usesK || arch == .jumprelu ? nil : l1
  }
}

@Suite struct TrainRunTests {
  private func configuration(_ out: String, _ arch: SAEConfiguration.Architecture) -> TrainConfiguration {
    var configuration = TrainConfiguration(cache: "toy", hook: "blocks.0.hook_resid_post", out: out)
    configuration.arch = arch
    configuration.latents = "3x"
    configuration.setSparsity(k: 3, l1: 0.3)
    configuration.batch = 32
    configuration.tokens = 32 * 40
    configuration.lr = 3e-3
    configuration.deadTokens = 100
    configuration.logSteps = 4
    configuration.checkpointSteps = 7
    return configuration
  }

  private func resultFiles(_ folder: String) throws -> [Data] {
    try ["sae/cfg.json", "sae/sae_weights.safetensors", "sae/sparsity.safetensors"].map {
      try #require(FileManager.default.contents(atPath: "\(folder)/\($0)"), "\($0) is missing")
    }
  }

  private func losses(_ folder: String) throws -> [Double] {
    let text = try #require(FileManager.default.contents(atPath: "\(folder)/metrics.jsonl"))
    return try text.split(separator: 0x0A).map { try JSONDecoder().decode(StepMetrics.self, from: $0).loss }
  }

  @Test(arguments: SAEConfiguration.Architecture.allCases)
  func interruptedAndResumedEqualsUninterruptedByteForByte(arch: SAEConfiguration.Architecture) throws {
    try checkResume(arch)
  }

  @Test(arguments: SAEConfiguration.Architecture.allCases)
  func standardizedTokensResumeTooAndTheirFileReconstructsRawOnes(arch: SAEConfiguration.Architecture) throws {
    try checkResume(arch) { $0.normalization = "unit" }
    let folder = try TemporaryFolder()
    var configuration = configuration("\(folder.path)/run", arch)
    configuration.normalization = "unit"
    configuration.logSteps = 40
    _ = try TrainRun(configuration, source: ToyBatches()).run(resuming: false)
    let sae = try SAELensFormat.open(run: configuration.out).sae
    #expect(sae.standardizesTokens)
    // Tokens times any number, plus any number, are the same to it.
    var x = Matrix(32, 12)
    try ToyBatches().read(batch: 5000, into: &x)
    let moved = Matrix(32, 12, x.values.map { 5 * $0 - 3 })
    let (a, b) = (sae.encode(x), sae.encode(moved))
    let first = sae.decode(a)
    let second = sae.decode(b)
    for (p, q) in zip(first.values, second.values) { #expect(abs(5 * p - 3 - q) < 1e-2) }
    let log = try #require(FileManager.default.contents(atPath: "\(configuration.out)/metrics.jsonl"))
    let last = try JSONDecoder().decode(StepMetrics.self, from: log.split(separator: 0x0A)[0])
    var error = first.copy()
    error.add(x, times: -1)
    // The batch of the last step had about this error, in its units.
    #expect(sumOfSquares(error) / totalVariance(x) < 2 * last.fvu + 0.1)
  }

  @Test func annealedKMultiTopKAndHiddenLayersResumeToo() throws {
    try checkResume(.topk) {
      $0.kStart = 9
      $0.kAnnealFraction = 0.7
      $0.multiTopK = true
    }
    try checkResume(.matryoshka) {
      $0.kStart = 9
      $0.groups = "1/4,1/4"
    }
    try checkResume(.deep) {
      $0.sparseLayer = .topk
      $0.setSparsity(k: 3, l1: 0.3)
      $0.kStart = 9
      $0.encoderHidden = "5,1x"
      $0.decoderHidden = "2x,3"
      $0.optimizer = .adamw
    }
  }

  @Test(arguments: SAEConfiguration.Architecture.allCases.filter(\.canTranscode))
  func transcodersResumeToo(arch: SAEConfiguration.Architecture) throws {
    let target = TargetShape(width: 9, normalizationScale: 0.4)
    var source = ToyBatches(target: target)
    source.identity.target = "toy target"
    try checkResume(arch, source: source) {
      $0.targetHook = "blocks.0.hook_mlp_out"
      $0.skip = arch != .topk
    }
  }

  @Test func oneMatrixResumesWithSparseAdam() throws {
    try checkResume(.tied) {
      ($0.optimizer, $0.sparseAdamSteps, $0.l1) = (.sparseAdam, .row, 2)
      ($0.dead, $0.resampleSteps, $0.deadTokens) = (.resample, "9,20", 40)
    }
  }

  private func checkResume(
    _ arch: SAEConfiguration.Architecture, source: ToyBatches = ToyBatches(),
    changing change: (inout TrainConfiguration) -> Void = { _ in }
  ) throws {
    let folder = try TemporaryFolder()
    func configuration(_ out: String, _ arch: SAEConfiguration.Architecture) -> TrainConfiguration {
      var configuration = self.configuration(out, arch)
      change(&configuration)
      return configuration
    }
    let whole = configuration("\(folder.path)/whole", arch)
    #expect(try TrainRun(whole, source: source).run(resuming: false) == .finished)
    for stop in [0, 1, 13, 38] {
      let parts = configuration("\(folder.path)/parts-\(stop)", arch)
      var steps = 0
      let first = try TrainRun(parts, source: source).run(
        resuming: false,
        isInterrupted: {
          steps += 1; return steps > stop
        })
      #expect(first == .interrupted(step: stop))
      #expect(try TrainRun(parts, source: source).run(resuming: true) == .finished)
      #expect(try resultFiles(parts.out) == resultFiles(whole.out), "stopped at \(stop)")
      #expect(try losses(parts.out) == losses(whole.out))
    }
  }

  /// Settings of every optimizer, with and without an average of weights.
  static let optimizers: [@Sendable (inout TrainConfiguration) -> Void] = [
    { $0.optimizer = .adamw },
    {
      $0.optimizer = .sgd
      $0.lr = 0.3
      $0.weightDecay = 0.01
    },
    { $0.optimizer = .signum },
    { $0.optimizer = .sparseAdam },
    {
      $0.optimizer = .sparseAdam
      $0.sparseAdamSteps = .row
      $0.schedule = .cosine
      $0.ema = 0.9
    },
    { $0.ema = 0.5 },
  ]

  @Test(arguments: optimizers.indices)
  func everyOptimizerResumesByteForByteAndDoesNotDependOnThreads(index: Int) throws {
    let folder = try TemporaryFolder()
    let before = Threads.count
    defer { Threads.count = before }
    // Few latents per batch, so that rows without gradient are many.
    func settings(_ name: String) -> TrainConfiguration {
      var settings = configuration("\(folder.path)/\(name)", .topk)
      settings.latents = "10x"
      settings.k = 1
      settings.batch = 16
      settings.tokens = 16 * 40
      Self.optimizers[index](&settings)
      return settings
    }
    let whole = settings("whole")
    #expect(try TrainRun(whole, source: ToyBatches()).run(resuming: false) == .finished)
    Threads.count = 3
    for stop in [1, 13] {
      let parts = settings("parts-\(stop)")
      var steps = 0
      let first = try TrainRun(parts, source: ToyBatches()).run(
        resuming: false,
        isInterrupted: {
          steps += 1; return steps > stop
        })
      #expect(first == .interrupted(step: stop))
      #expect(try TrainRun(parts, source: ToyBatches()).run(resuming: true) == .finished)
      #expect(try resultFiles(parts.out) == resultFiles(whole.out), "stopped at \(stop)")
      #expect(try losses(parts.out) == losses(whole.out))
    }
  }

  @Test(arguments: SAEConfiguration.Architecture.allCases)
  func resultDoesNotDependOnThreads(arch: SAEConfiguration.Architecture) throws {
    let folder = try TemporaryFolder()
    let before = Threads.count
    defer { Threads.count = before }
    for threads in 1...3 {
      Threads.count = threads
      _ = try TrainRun(configuration("\(folder.path)/\(threads)", arch), source: ToyBatches()).run(resuming: false)
      #expect(try resultFiles("\(folder.path)/\(threads)") == resultFiles("\(folder.path)/1"))
    }
  }

  @Test func lossFallsAndSavedSAEReconstructsRawActivations() throws {
    let folder = try TemporaryFolder()
    var configuration = configuration("\(folder.path)/run", .topk)
    configuration.tokens = 32 * 400
    _ = try TrainRun(configuration, source: ToyBatches()).run(resuming: false)
    let (sae, provenance) = try SAELensFormat.load("\(folder.path)/run/sae")
    #expect(provenance.hookName == "blocks.0.hook_resid_post" && provenance.context == 8)
    var x = Matrix(64, 12)
    try ToyBatches().read(batch: 5000, into: &x)
    let recon = sae.decode(sae.encode(x))
    var error = recon.copy()
    error.add(x, times: -1)
    let fvu = sumOfSquares(error) / totalVariance(x)
    #expect(fvu < 0.35, "FVU \(fvu)")
    let last = try #require(losses(configuration.out).last)
    #expect(last < 0.5 * (try losses(configuration.out)[0]))
  }

  /// The saved transcoder makes raw targets of raw activations; a skip makes them better.
  @Test func aSavedTranscoderMakesRawTargets() throws {
    let folder = try TemporaryFolder()
    let source = ToyBatches(target: TargetShape(width: 9, normalizationScale: 0.4))
    var errors: [Double] = []
    for skip in [false, true] {
      var configuration = configuration("\(folder.path)/\(skip)", .topk)
      configuration.tokens = 32 * 400
      (configuration.targetHook, configuration.skip) = ("blocks.0.hook_mlp_out", skip)
      _ = try TrainRun(configuration, source: source).run(resuming: false)
      let sae = try SAELensFormat.open(run: configuration.out).sae
      var x = Matrix(64, 12)
      var y = Matrix(64, 9)
      try source.read(batch: 5000, into: &x, target: &y)
      var error = sae.decode(sae.encode(x), of: x)
      error.add(y, times: -1)
      errors.append(sumOfSquares(error) / totalVariance(y))
    }
    #expect(errors[0] < 0.6 && errors[1] < 0.5 * errors[0], "FVU \(errors)")
  }

  @Test func moreThanTheMachineHoldsIsRefused() throws {
    var huge = configuration("/nowhere", .topk)
    huge.latents = "16777216"
    (huge.batch, huge.tokens) = (1 << 20, 1 << 20)
    struct Wide: BatchSource {
      let width = 65_536
      let tokensPerEpoch = 1
      let normalizationScale = 1.0
      let secondsWaited = 0.0
      let provenance = SAELensFormat.Provenance(modelName: nil, hookName: "h", context: nil, prependsBOS: nil)
      let identity = DataIdentity(stream: "", text: "", sequences: 1, heldOut: 0, windowFrames: 1)
      func read(batch index: Int, into batch: inout Matrix) throws {}
    }
    do {
      _ = try TrainRun(huge, source: Wide())
      Issue.record("35 TB were accepted")
    } catch { #expect("\(error)".hasPrefix("16777216 latents of width 65536 with batches of 1048576 need 36009 GB")) }
  }

  @Test func secondRunDoesNothingAndUnfinishedOrDifferentRunsAreRefused() throws {
    let folder = try TemporaryFolder()
    let done = configuration("\(folder.path)/done", .topk)
    #expect(try TrainRun(done, source: ToyBatches()).run(resuming: false) == .finished)
    #expect(try TrainRun(done, source: ToyBatches()).run(resuming: false) == .alreadyFinished)

    var other = done
    other.seed = 7
    #expect(
      throws: TrainError.invalid(
        "\(other.out): holds a run with other settings (seed: 0; seed: 7); choose another --out, or remove that folder")
    ) {
      _ = try TrainRun(other, source: ToyBatches()).run(resuming: true)
    }

    let open = configuration("\(folder.path)/open", .topk)
    _ = try TrainRun(open, source: ToyBatches()).run(resuming: false, isInterrupted: { true })
    #expect(
      throws: TrainError.invalid(
        "\(open.out): holds an unfinished run at step 0 of 40; add --resume to continue it, or choose another --out")
    ) {
      _ = try TrainRun(open, source: ToyBatches()).run(resuming: false)
    }
  }

  @Test func aDamagedCheckpointIsNamedWithWhatToDo() throws {
    let folder = try TemporaryFolder()
    for (file, what) in [
      ("state.json", "state.json: not the state of a run"), ("state.safetensors", "state.safetensors: SHA-256 is "),
    ] {
      let run = configuration("\(folder.path)/\(file)", .topk)
      _ = try TrainRun(run, source: ToyBatches()).run(resuming: false, isInterrupted: { true })
      let step = "\(run.out)/checkpoints/step-0"
      let whole = try #require(FileManager.default.contents(atPath: "\(step)/\(file)"))
      try whole.prefix(100).write(to: URL(fileURLWithPath: "\(step)/\(file)"))
      do {
        _ = try TrainRun(run, source: ToyBatches()).run(resuming: true)
        Issue.record("it went on")
      } catch TrainError.mismatch(let message) {
        #expect(
          message.hasPrefix("\(step)/\(what)")
            && message.hasSuffix(
              "; this checkpoint is damaged or of another run: remove \(step) and give --resume again, which goes on from an "
                + "older checkpoint, or begins anew where none is left"),
          "\(message)")
      }
      try FileManager.default.removeItem(atPath: step)
      #expect(try TrainRun(run, source: ToyBatches()).run(resuming: true) == .finished)
    }
  }

  @Test func aFileInThePlaceOfARunIsNotOverwritten() throws {
    let folder = try TemporaryFolder()
    let path = "\(folder.path)/run"
    try Data([1]).write(to: URL(fileURLWithPath: path))
    #expect(throws: TrainError.invalid("\(path): a file of that name is there; choose another --out")) {
      _ = try TrainRun(configuration(path, .topk), source: ToyBatches()).run(resuming: false)
    }
  }

  @Test func otherDataIsRefusedOnResume() throws {
    let folder = try TemporaryFolder()
    let open = configuration("\(folder.path)/open", .topk)
    _ = try TrainRun(open, source: ToyBatches()).run(resuming: false, isInterrupted: { true })
    var other = ToyBatches()
    other.identity.text = "another"
    #expect(
      throws: TrainError.mismatch(
        "\(open.out): was trained on stream toy, text toy, 125 sequences, 0 held out, windows of 1 frames; this cache has "
          + "stream toy, text another, 125 sequences, 0 held out, windows of 1 frames; give the cache it was begun with, "
          + "or another --out")
    ) { _ = try TrainRun(open, source: other).run(resuming: true) }
  }

  @Test func lossesAndGradientsThatAreNotFiniteEndTheRun() throws {
    let folder = try TemporaryFolder()
    var wild = configuration("\(folder.path)/wild", .relu)
    wild.lr = 1e30
    do {
      _ = try TrainRun(wild, source: ToyBatches()).run(resuming: false)
      Issue.record("the run went on")
    } catch TrainError.diverged(let message) {
      #expect(message.contains("lower --lr"))
    }
    wild.lr = 1e300
    #expect(throws: TrainError.self) { try wild.validate() }
  }
}
