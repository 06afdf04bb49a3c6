import ActCache
import Harvest
import LinearAlgebra
import Report
import Train
import Transformer

/// Measures what a plan needs, on the machine and the disk where it is to run: a small harvest in a scratch folder,
/// training steps on what it wrote (or on the cache that is there), and the model in the loop.
package struct Planner {
  let runs: [TrainConfiguration]
  let subject: Subject
  let harvestTokens: Int
  private let dtype: String
  private let codec: String
  let interrupt: InterruptFlag

  /// - Parameters:
  ///   - runs: at least one, all with one objective.
  ///   - harvestTokens: tokens that the cache is to have; nil for what it has, or for one pass of the longest run.
  ///   - dtype, codec: of streams that are not there.
  package init(
    _ runs: [TrainConfiguration], _ subject: Subject, harvestTokens: Int? = nil, dtype: String = "bf16",
    codec: String = "zstd:1", interrupt: InterruptFlag = InterruptFlag()
  ) throws {
    guard let first = runs.first, Set(runs.map(\.objective)).count == 1 else {
      throw MeasureError.invalid("a plan is for runs of one objective")
    }
    for var run in runs {
      if run.out.isEmpty { run.out = "run" }
      // A plan for what this version cannot train yet still says which streams and how many bytes.
      run.objective = "local"
      try run.validate()
    }
    let wanted = harvestTokens ?? subject.cache?.manifest.nTokens ?? runs.map(\.tokens).max() ?? first.tokens
    guard wanted >= subject.context, wanted < 1 << 50 else {
      throw MeasureError.invalid("--harvest-tokens \(wanted): allowed are \(subject.context) (a sequence) to 2^50")
    }
    self.runs = runs
    self.subject = subject
    self.harvestTokens = wanted
    self.dtype = dtype
    self.codec = codec
    self.interrupt = interrupt
  }

  package func run() throws -> Plan {
    let objective = runs[0].objective
    let isParallel = subject.source?.model.configuration.isParallel ?? false
    var needs: [HookClosure.Need] = []
    for run in runs {
      for need in try HookClosure.needs(
        objective: objective, hook: run.hook, targetHook: run.targetHook, isParallel: isParallel)
      where !needs.contains(where: { $0.stream == need.stream }) {
        needs.append(need)
      }
    }
    let hooks = needs.compactMap { $0.stream.hasPrefix("hooks/") ? String($0.stream.dropFirst(6)) : nil }
    let missing = hooks.filter { tokensThere($0) < harvestTokens }
    var plan = Plan(
      machine: .here, cache: runs[0].cache, objective: objective, context: subject.context,
      harvestTokens: harvestTokens, newTokens: missing.map { harvestTokens - tokensThere($0) }.max() ?? 0,
      streams: [], newBytes: 0, freeBytes: nil, rates: [], shapes: [], cost: nil, notes: [], sentence: "")
    var trial: TrialHarvest.Result?
    if !missing.isEmpty, subject.source != nil {
      trial = try self.trial(hooks: missing)
      plan.rates += trial.map(Planner.rates) ?? []
    }
    let scratch = try trial?.folder ?? subject.scratch()
    plan.freeBytes = scratch.freeBytes
    for need in needs { plan.streams.append(try stream(need, trial)) }
    plan.newBytes = plan.streams.reduce(0) {
      $0 + Int($1.bytesPerToken * Double(max(0, harvestTokens - $1.tokensThere)))
    }
    if let free = plan.freeBytes, free < plan.newBytes {
      plan.notes.append(
        "the disk has \(byteSize(free)) free, \(byteSize(plan.newBytes)) are needed: harvest fewer tokens, or elsewhere"
      )
    }
    guard objective == "local" else {
      plan.sentence = "This version trains the local objective only, so there is no time to measure for \(objective)."
      return plan
    }
    try time(&plan, trial)
    return plan
  }

  /// Tokens of the hook's stream in the cache.
  func tokensThere(_ hook: String) -> Int {
    guard let cache = subject.cache, let stream = cache.manifest.hooks[hook] else { return 0 }
    return stream.nSequences * cache.manifest.context
  }

  private func trial(hooks: [String]) throws -> TrialHarvest.Result {
    let trial = TrialHarvest(subject, hooks: hooks, dtype: dtype, codec: codec, interrupt: interrupt)
    let largest = runs.map(\.batch).max() ?? 0
    return try trial.run(tokens: trial.tokens(forSeconds: 2.5, atLeast: 2 * largest))
  }

  /// What the stages of a harvest did, each by itself.
  private static func rates(_ trial: TrialHarvest.Result) -> [Plan.Rate] {
    func rate(_ what: String, _ lane: String, _ activity: Activity, threads: Int) -> Plan.Rate? {
      let seconds = trial.lane(lane).seconds(activity)
      guard seconds > 0 else { return nil }
      return Plan.Rate(
        what: what, tokensPerSecond: Double(trial.tokens) / seconds, threads: threads,
        how: "\(fixed(seconds, 2)) s of that harvest")
    }
    let all = Threads.count
    let harvest = Plan.Rate(
      what: "harvest", tokensPerSecond: trial.tokensPerSecond, threads: all,
      how: "one of \(grouped(trial.tokens)) tokens in \(trial.shards) shards, \(fixed(trial.seconds, 1)) s")
    return [harvest]
      + [
        rate("  read and tokenize", "text", .tokenize, threads: 1),
        rate("  forward to the hook", "model", .forward, threads: all),
        rate("  encode", "writer", .encode, threads: CPU.availableCores),
        rate("  write", "writer", .write, threads: 1), rate("  fsync", "writer", .sync, threads: 1),
      ].compactMap { $0 }
  }

  private func stream(_ need: HookClosure.Need, _ trial: TrialHarvest.Result?) throws -> Plan.Stream {
    func entry(_ cache: CacheReader, there: Int, how: String) -> Plan.Stream? {
      let manifest = cache.manifest
      let files = manifest.shards.flatMap(\.files).filter { $0.path.hasPrefix(need.stream + "/") }
      guard !files.isEmpty else { return nil }
      let bytes = files.reduce(0) { $0 + $1.bytes }
      let hook = manifest.hooks[String(need.stream.dropFirst(6))]
      let perToken = Double(bytes) / Double(max(1, (hook?.nSequences ?? manifest.nSequences) * manifest.context))
      return Plan.Stream(
        name: need.stream, why: need.why, width: hook?.width ?? 1, dtype: hook?.dtype ?? manifest.spec.tokenType,
        codec: hook?.codec ?? "zstd", bytesPerToken: perToken, bytes: Int(perToken * Double(harvestTokens)),
        tokensThere: there, how: how)
    }
    if let cache = subject.cache {
      let there = need.stream == "tokens" ? cache.manifest.nTokens : tokensThere(String(need.stream.dropFirst(6)))
      if let there = entry(cache, there: there, how: "the cache's manifest") { return there }
    }
    if let trial {
      let how = "measured on \(grouped(trial.tokens)) tokens"
      if let measured = entry(trial.cache, there: 0, how: how) { return measured }
    }
    throw MeasureError.invalid("\(runs[0].cache): no \(need.stream) there; add --model to measure what it takes")
  }
}
