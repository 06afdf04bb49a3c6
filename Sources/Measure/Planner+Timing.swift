import ActCache
import Harvest
import LinearAlgebra
import Report
import SAE
import Train

extension Planner {
  /// Rates of training, and what follows from all of them.
  func time(_ plan: inout Plan, _ trial: TrialHarvest.Result?) throws {
    func data(_ hook: String) throws -> (reader: CacheReader, name: String) {
      if let cache = subject.cache, tokensThere(hook) > 0 { return (cache, "of the cache") }
      if let trial { return (trial.cache, "of that harvest") }
      throw MeasureError.invalid("\(runs[0].cache): no hook \(hook) there; add --model to measure it")
    }
    var forward: [String: Double] = [:]
    if let source = subject.source {
      for hook in Set(runs.map(\.hook)).sorted() {
        try checkInterruption()
        let (cache, name) = try data(hook)
        let spread = try liveForward(source, cache, hook)
        forward[hook] = spread.median
        plan.rates.append(
          Plan.Rate(
            what: "model in the loop", tokensPerSecond: spread.median, threads: Threads.count,
            how: "\(spread.range), tokens \(name)"))
      }
    }
    for hook in Set(runs.map(\.hook)).sorted() {
      let (cache, name) = try data(hook)
      for isCold in [false, true] {
        try checkInterruption()
        let row = try ReadBenchmark(cache: cache.path, hook: hook, maxValues: 1 << 24).row(
          .inOrder, io: .pread, isCold: isCold, threads: 1)
        plan.rates.append(
          Plan.Rate(
            what: "read and decode, \(isCold ? "cold" : "warm")", tokensPerSecond: row.tokensPerSecond.median,
            threads: 1,
            how: "\(row.tokensPerSecond.range), \(byteSize(Int(row.diskBytesPerSecond)))/s of disk, data \(name)"))
      }
    }
    var (cached, live, arithmetic) = (0.0, 0.0, 0.0)
    for group in Planner.groups(runs) {
      try checkInterruption()
      let run = group[0]
      let (cache, name) = try data(run.hook)
      let tokens = group.reduce(0) { $0 + $1.nSteps * $1.batch }
      let shape = try shape(run, group.count, tokens, cache, forward[run.hook])
      plan.shapes.append(shape.shape)
      plan.rates += shape.rates.map {
        var rate = $0
        rate.how += ", data \(name)"
        return rate
      }
      cached += Double(tokens) / shape.shape.cachedTokensPerSecond
      if let rate = shape.shape.liveTokensPerSecond, let pass = forward[run.hook] {
        live += Double(tokens) / rate
        arithmetic += Double(tokens) * (1 / rate - 1 / pass)
      }
    }
    plan.notes += notes(forward: forward, arithmetic: arithmetic)
    let harvest = plan.rates.first { $0.what == "harvest" }
    if plan.newTokens > 0, harvest == nil {
      plan.notes.append("\(grouped(plan.newTokens)) tokens are not in the cache; add --model to measure their harvest")
    }
    let cost = PlanCost(
      harvestSeconds: harvest.map { Double(plan.newTokens) / $0.tokensPerSecond } ?? 0, runs: runs.count,
      cachedSeconds: cached, liveSeconds: subject.source == nil ? nil : live)
    plan.cost = cost
    plan.sentence = cost.sentence
    let bytes = plan.streams.filter { $0.name.hasPrefix("hooks/") }.reduce(0) { $0 + $1.bytes }
    if bytes > plan.machine.memoryBytes / 2 {
      plan.notes.append(
        "the cache (\(byteSize(bytes))) will not stay in this machine's memory (\(byteSize(plan.machine.memoryBytes))); "
          + "steps were measured on data that does, and cannot be faster than cold reading")
    }
  }

  /// What the comparison rests on. `arithmetic`: seconds of all runs without reading and without the model.
  private func notes(forward: [String: Double], arithmetic: Double) -> [String] {
    var notes: [String] = []
    let passes = Double(runs.map { $0.nSteps * $0.batch }.max() ?? 0) / Double(harvestTokens)
    if passes > 1 {
      notes.append(
        "a run sees every token up to \(fixed(passes, 1)) times; with the model in the loop each time costs a forward pass"
      )
    }
    if runs.count > 1, !forward.isEmpty {
      let shared = forward.reduce(arithmetic) { sum, hook in
        sum + Double(runs.filter { $0.hook == hook.key }.map { $0.nSteps * $0.batch }.max() ?? 0) / hook.value
      }
      notes.append(
        "with the model in the loop, runs side by side in one process could share its passes and take "
          + "\(duration(shared)); actcache does not do that")
    }
    return notes
  }

  private func checkInterruption() throws { if interrupt.isRaised { throw MeasureError.interrupted } }

  private func liveForward(_ source: any ActivationSource, _ cache: CacheReader, _ hook: String) throws -> Spread {
    let live = try LiveBatches(source, sequencesOf: cache, hook: hook, scale: 1)
    let rows = max(1, 4096 / cache.manifest.context) * cache.manifest.context
    var batch = Matrix(rows, live.width)
    var index = 0
    return try Spread.seconds {
      try live.read(batch: index, into: &batch)
      index += 1
    }.rate(Double(rows))
  }

  /// Runs that differ only in what costs no time.
  static func groups(_ runs: [TrainConfiguration]) -> [[TrainConfiguration]] {
    func key(_ run: TrainConfiguration) -> String {
      "\(run.hook) \(run.arch) \(run.latents) \(run.k ?? 0) \(run.batch)"
    }
    var order: [String] = []
    var groups: [String: [TrainConfiguration]] = [:]
    for run in runs {
      if groups[key(run)] == nil { order.append(key(run)) }
      groups[key(run), default: []].append(run)
    }
    return order.compactMap { groups[$0] }
  }

  private func shape(
    _ run: TrainConfiguration, _ nRuns: Int, _ tokens: Int, _ cache: CacheReader, _ forward: Double?
  ) throws -> (shape: Plan.Shape, rates: [Plan.Rate]) {
    let configuration = try run.saeConfiguration(
      width: cache.hook(run.hook).width, targetWidth: run.targetHook.map { try cache.hook($0).width })
    func steps(_ n: Int) throws -> TrainBenchmark.Result {
      try TrainBenchmark(
        configuration, batch: run.batch, steps: n,
        source: CacheBatches(
          cache, hook: run.hook, targetHook: run.targetHook, batchSize: run.batch, seed: run.seed)
      ).run()
    }
    let first = try steps(1)
    let n = min(200, max(Spread.leastRepeats, Int(1.5 / first.medianSecondsPerStep)))
    let result = try steps(n)
    let step = Spread(result.secondsPerStep, seconds: result.secondsPerStep.reduce(0, +))
    let lane = result.lanes[0]
    // Shares of the middle step, so that the parts add up to it.
    func perToken(_ seconds: Double) -> Double { Verdict.share(seconds, of: lane) * step.median / Double(run.batch) }
    let arithmetic = perToken(lane.seconds(.compute) + lane.seconds(.optimize))
    let cachedRate = Double(run.batch) / step.median
    let name =
      "\(run.arch.rawValue) \(grouped(configuration.dSAE))" + (run.arch.usesK ? ", k \(configuration.k)" : "")
    func rate(_ what: String, _ perToken: Double, _ how: String, threads: Int = Threads.count) -> Plan.Rate {
      Plan.Rate(what: what, tokensPerSecond: 1 / perToken, threads: threads, how: how)
    }
    var rates = [
      rate("training step, \(name)", 1 / cachedRate, step.rate(Double(run.batch)).range),
      rate("  losses, gradients, Adam", arithmetic, "\(n) steps"),
    ]
    let gather = perToken(lane.seconds(.gather))
    if gather > 0 { rates.append(rate("  gather", gather, "\(n) steps", threads: 1)) }
    return (
      Plan.Shape(
        hook: run.hook, arch: run.arch, latents: configuration.dSAE, k: configuration.k, batch: run.batch,
        runs: nRuns, tokens: tokens, secondsPerStep: step, cachedTokensPerSecond: cachedRate,
        liveTokensPerSecond: forward.map { 1 / (1 / $0 + arithmetic) }), rates
    )
  }
}

extension Spread {
  /// For people: how many, the ends, and how long it took.
  package var range: String {
    "median of \(repeats) (\(threeDigits(min)) to \(threeDigits(max))), \(fixed(seconds, 1)) s"
  }
}
