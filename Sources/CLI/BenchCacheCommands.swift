import ActCache
import ArgumentParser
import Harvest
import LinearAlgebra
import Measure
import Report
import SAE
import Train

struct BenchCodecCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "codec", abstract: "What storage types and codecs cost and keep, on real activations.",
    discussion: "With a model the activations are exact; those of a cache alone are rounded already.")

  @OptionGroup var options: BenchOptions
  @Option(parsing: .upToNextOption, help: "Storage types: \(StorageType.allowed).") var dtype: [String] = []
  @Option(parsing: .upToNextOption, help: "Codecs: \(ShardCodec.allowed).") var codec: [String] = []
  @Option(help: "Tokens to try them on; by default some four million values.") var tokens: Int?

  func run() throws {
    options.threads.apply()
    var report = BenchReport()
    let interruption = Interruption()
    report.codec = try CodecBenchmark.run(
      options.subject(), hook: options.hook, tokens: tokens, dtypes: dtype, codecs: codec,
      isInterrupted: { interruption.isRaised })
    try options.print(report)
  }
}

struct BenchReadCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "read", abstract: "Read a cache cold and warm, mapped and by pread, in order and shuffled.",
    discussion: """
      Cold: the files' pages are dropped before each run (posix_fadvise); what stayed in memory is measured and said.
      """)

  @OptionGroup var options: BenchOptions
  @Option(parsing: .upToNextOption, help: "How to read files: mmap, pread; by default both.") var io: [CacheIO] = []
  @Option(help: "Tokens per batch.") var batch = 4096
  @Option(help: "Values to read at most, in millions.") var millions = 64
  @Flag(help: "Before cold runs forget the contents of all files on this machine (root alone).") var dropCaches = false

  func run() throws {
    options.threads.apply()
    guard (1...1 << 20).contains(batch), (1...1 << 20).contains(millions) else {
      throw ValidationError("--batch \(batch) --millions \(millions): allowed are 1 to 1,048,576")
    }
    var report = BenchReport()
    let interruption = Interruption()
    let subject = try options.subject()
    let hook = try subject.hook(options.hook)
    let (path, holder) = try options.readable(subject, hook, tokens: 1 << 17, interruption.flag)
    report.read = try ReadBenchmark(
      cache: path, hook: hook, batch: batch, maxValues: millions << 20, ways: io.isEmpty ? CacheIO.allCases : io,
      dropsAll: dropCaches
    ).run(isInterrupted: { interruption.isRaised })
    try options.print(report)
    _ = holder
  }
}

extension CacheIO: ExpressibleByArgument {}

struct BenchHarvestCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "harvest", abstract: "Split a harvest: tokenizer, model, encoding, writing, fsync, and who waits.")

  @OptionGroup var options: BenchOptions
  @Option(help: "How activations are stored: \(StorageType.allowed).") var dtype = "bf16"
  @Option(help: "Compression, \(ShardCodec.allowed).") var codec = "zstd:1"
  @Option(help: "Tokens of each run; by default two seconds' worth.") var tokens: Int?

  func run() throws {
    options.threads.apply()
    var report = BenchReport()
    let subject = try options.subject()
    report.harvest = try HarvestBenchmark(
      subject, hooks: [subject.hook(options.hook)], dtype: dtype, codec: codec, tokens: tokens,
      interrupt: Interruption().flag
    ).run()
    try options.print(report)
  }
}

struct BenchLiveCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "live", abstract: "Train the same SAE from a cache and with the model in the loop.",
    discussion: "Local objective: the model runs up to the hook for each batch, or not at all.")

  @OptionGroup var options: BenchOptions
  @OptionGroup var sae: BenchSAEOptions
  @Option(help: "Steps of either kind to time, in three runs that take turns.") var steps = 9

  func run() throws {
    options.threads.apply()
    guard (1...10_000).contains(steps) else { throw ValidationError("--steps \(steps): allowed are 1 to 10,000") }
    var report = BenchReport()
    let interruption = Interruption()
    let subject = try options.subject()
    let hook = try subject.hook(options.hook)
    guard let source = subject.source else { throw ValidationError("a model in the loop needs --model") }
    let (path, holder) = try options.readable(subject, hook, tokens: 8 * sae.batch, interruption.flag)
    let cache = try CacheReader(path: path)
    report.residentBefore = try ReadBenchmark.residentShare(cache: path, hook: hook)
    report.live = try LiveBenchmark(
      sae.configuration(width: cache.hook(hook).width, latents: "8x"), batch: sae.batch, steps: steps
    ).run(cache, hook: hook, source: source, isInterrupted: { interruption.isRaised })
    try options.print(report)
    _ = holder
  }
}

struct BenchTrainCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "train", abstract: "Time training steps, on a cache or on synthetic activations.",
    discussion: "With --cache: waiting for data, decoding, gathering, losses and gradients, optimizer.")

  @OptionGroup var options: BenchOptions
  @OptionGroup var sae: BenchSAEOptions
  @OptionGroup var objective: BenchObjectiveOptions
  @Option(name: [.customLong("width"), .customLong("d")], help: "Width of synthetic activations.") var d = 768
  @Option(help: "adam, adamw, sgd, signum or sparse-adam.") var optimizer = OptimizerConfiguration.Kind.adam
  @Option(help: "Decay of the average of weights; 0: none.") var ema: Float = 0
  @Option(help: "Steps to time, after two that are not counted; by default 8, or 60 on a cache.") var steps: Int?

  func run() throws {
    options.threads.apply()
    var optimizer = OptimizerConfiguration()
    optimizer.kind = self.optimizer
    guard ema >= 0 && ema < 1 else { throw ValidationError("--ema \(ema): allowed is from 0 to below 1") }
    optimizer.ema = ema
    let steps = steps ?? (options.cache == nil ? 8 : 60)
    guard (1...10_000).contains(steps) else { throw ValidationError("--steps \(steps): allowed are 1 to 10,000") }
    if objective.runsModel { return try objective.run(options, sae, steps: steps) }
    var report = BenchReport()
    func addMachine(to result: inout TrainBenchmark.Result) {
      result.profile.machineGFLOPs = MachineSpeed.gemmGFLOPs()
      result.profile.machineGBs = MachineSpeed.copyGBs()
    }
    if options.cache == nil && options.model == nil {
      var result = try TrainBenchmark(
        sae.configuration(width: d, latents: "24576"), batch: sae.batch, steps: steps, optimizer: optimizer,
        startL0: sae.startL0
      ).run()
      addMachine(to: &result)
      if options.json && options.out == nil { return try printJSON(result) }
      report.train = result
      guard options.out == nil else { return try options.print(report) }
      print(
        """
        \(result.arch.rawValue), d \(d), \(result.latents) latents, k \(result.k), batch \(result.batch), \(result.threads) \
        threads, OpenBLAS \(BLASLibrary.coreName)
        \(Int(result.tokensPerSecond)) tokens/s; \(fixed(result.medianSecondsPerStep * 1e3, 1)) ms/step \
        (\(fixed(result.minSecondsPerStep * 1e3, 1)) to \(fixed(result.maxSecondsPerStep * 1e3, 1)) of \(steps)); \
        L0 \(fixed(result.l0, 1)); encoder's share of arithmetic \(Int(result.encoderGFLOPs)) GFLOP/s; \
        optimizer \(fixed(result.medianSecondsPerOptimization * 1e3, 1)) ms, \(fixed(result.optimizerGBs, 1)) GB/s
        \(result.profile.text)
        """)
      return
    }
    let subject = try options.subject()
    let hook = try subject.hook(options.hook)
    let (path, holder) = try options.readable(subject, hook, tokens: 16 * sae.batch, Interruption().flag)
    let cache = try CacheReader(path: path)
    report.residentBefore = try ReadBenchmark.residentShare(cache: path, hook: hook)
    var result = try TrainBenchmark(
      sae.configuration(width: cache.hook(hook).width, latents: "8x"), batch: sae.batch, steps: steps,
      optimizer: optimizer,
      source: CacheBatches(cache, hook: hook, batchSize: sae.batch, seed: 0), startL0: sae.startL0
    ).run()
    addMachine(to: &result)
    report.train = result
    try options.print(report)
    _ = holder
  }
}

struct BenchAllCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "all", abstract: "All that applies: harvest and live with a model, the others with either.")

  @OptionGroup var options: BenchOptions
  @OptionGroup var sae: BenchSAEOptions

  func run() throws {
    options.threads.apply()
    var report = BenchReport()
    let interruption = Interruption()
    func isInterrupted() -> Bool { interruption.isRaised }
    let subject = try options.subject()
    let hook = try subject.hook(options.hook)
    if subject.source != nil {
      report.harvest = try HarvestBenchmark(subject, hooks: [hook], interrupt: interruption.flag).run()
    }
    let (path, holder) = try options.readable(subject, hook, tokens: 1 << 17, interruption.flag)
    report.read = try ReadBenchmark(cache: path, hook: hook, batch: sae.batch).run(isInterrupted: isInterrupted)
    let cache = try CacheReader(path: path)
    let configuration = try sae.configuration(width: cache.hook(hook).width, latents: "8x")
    if isInterrupted() { throw MeasureError.interrupted }
    report.residentBefore = try ReadBenchmark.residentShare(cache: path, hook: hook)
    let batches = try CacheBatches(cache, hook: hook, batchSize: sae.batch, seed: 0)
    let first = try TrainBenchmark(configuration, batch: sae.batch, steps: 1, source: batches).run()
    let steps = min(200, max(Spread.leastRepeats, Int(2 / first.medianSecondsPerStep)))
    report.train = try TrainBenchmark(configuration, batch: sae.batch, steps: steps, source: batches).run()
    if let source = subject.source {
      report.live = try LiveBenchmark(configuration, batch: sae.batch, steps: 9).run(
        cache, hook: hook, source: source, isInterrupted: isInterrupted)
    }
    report.codec = try CodecBenchmark.run(subject, hook: hook, isInterrupted: isInterrupted)
    try options.print(report)
    _ = holder
  }
}
