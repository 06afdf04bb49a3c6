import ActCache
import Foundation
import LinearAlgebra
import Memory
import SAE
import TestSupport
import Testing

@testable import Train
@testable import Transformer

/// Whole runs of objectives that run the model, on a cache of a small random one.
@Suite struct ModelRunTests {
  private static let hook = "blocks.1.hook_resid_mid"
  private static let target = "blocks.1.hook_mlp_out"
  private static let hooks = [
    hook, target, "blocks.1.hook_resid_pre", "blocks.2.hook_resid_pre", "blocks.3.hook_resid_pre",
  ]

  private func cache() throws -> TinyModelCache { try TinyModelCache(hooks: Self.hooks, logits: ["hidden", "topk:9"]) }

  private func run(
    _ configuration: TrainConfiguration, resuming: Bool = false, until last: Int = .max
  ) throws -> TrainRun.Outcome {
    var configuration = configuration
    let run = try TrainRun(configuration, RunData(for: &configuration))
    var steps = 0
    return try run.run(
      resuming: resuming,
      isInterrupted: {
        steps += 1
        return steps > last
      })
  }

  private func files(_ folder: String) throws -> [String: Data] {
    var files: [String: Data] = [:]
    for name in ["sae/cfg.json", "sae/sae_weights.safetensors", "half-layers.safetensors"] {
      files[name] = FileManager.default.contents(atPath: "\(folder)/\(name)")
    }
    return files
  }

  private func metrics(_ folder: String) throws -> [StepMetrics] {
    let text = try #require(FileManager.default.contents(atPath: "\(folder)/metrics.jsonl"))
    return try text.split(separator: 0x0A).map { try JSONDecoder().decode(StepMetrics.self, from: $0) }
  }

  @Test(arguments: ["e2e", "e2e+ds", "next-token", "intrusive", "non-intrusive", "local-kl"], [false, true])
  func interruptedAndResumedEqualsUninterrupted(objective: String, isTranscoder: Bool) throws {
    if isTranscoder && !["e2e", "local-kl"].contains(objective) { return }
    let cache = try cache()
    var whole = cache.configuration(objective, hook: Self.hook, out: "whole")
    if isTranscoder { (whole.targetHook, whole.skip) = (Self.target, true) }
    whole.arch = .relu
    whole.l1 = 0.05
    if objective == "local-kl" { whole.finetuneFraction = 0.5 }
    var parts = whole
    parts.out = cache.folder.path + "/parts"
    #expect(try run(whole) == .finished)
    // In the local half and in the other, for local-kl.
    #expect(try run(parts, until: 4) == .interrupted(step: 4))
    #expect(try run(parts, resuming: true, until: 3) == .interrupted(step: 7))
    #expect(try run(parts, resuming: true) == .finished)
    let (a, b) = (try files(whole.out), try files(parts.out))
    #expect(a == b && a.count == (objective.contains("intrusive") ? 3 : 2))
    let (x, y) = (try metrics(whole.out), try metrics(parts.out))
    #expect(x.map(\.loss) == y.map(\.loss) && x.map(\.kl) == y.map(\.kl) && x.count == 10)
    #expect(try run(whole) == .alreadyFinished)
  }

  /// Of teachers, tokens that pass by the SAE, padding and normalization; nothing of them is in a checkpoint.
  @Test(arguments: ["full", "mass:0.2:40", "padded", "unit", "without-sae"])
  func othersResumeAlike(what: String) throws {
    let isTeacher = what == "full" || what.hasPrefix("mass")
    let cache = try TinyModelCache(
      hooks: Self.hooks, logits: [isTeacher ? what : "hidden"], isPadded: what == "padded")
    var whole = cache.configuration(what == "without-sae" ? "mixed" : "e2e", hook: Self.hook, out: "whole")
    whole.k = 6
    if what == "padded" { (whole.skipBOS, whole.skipPositions) = (true, 2) }
    if what == "unit" { whole.normalization = "unit" }
    if what == "without-sae" {
      (whole.weights, whole.halfLayers) = ("next-token=1,next-token-without-sae=0.5", true)
    }
    var parts = whole
    parts.out = cache.folder.path + "/parts"
    #expect(try run(whole) == .finished)
    #expect(try run(parts, until: 4) == .interrupted(step: 4))
    #expect(try run(parts, resuming: true) == .finished)
    #expect(try files(whole.out) == files(parts.out))
    let (x, y) = (try metrics(whole.out), try metrics(parts.out))
    #expect(x.map(\.loss) == y.map(\.loss) && x.count == 10)
    #expect(x.allSatisfy { ($0.nextTokenWithoutSAE != nil) == (what == "without-sae") })
  }

  /// Digests of all that the model in memory has.
  private func digests(_ model: TransformerModel) -> [String: String] {
    var found: [String: String] = [:]
    for layer in 0..<model.configuration.nLayers {
      for half in [HalfLayer.attention(layer), .mlp(layer)] {
        found["\(half)"] = TrainedHalfLayer(half, of: model).digest
      }
    }
    func add(_ name: String, _ strip: Strip) {
      let copy = Matrix(strip.rows, strip.columns)
      copy.strip.assign(strip)
      // FNV-1a over words.
      let hash = copy.values.reduce(0xCBF2_9CE4_8422_2325 as UInt64) { ($0 ^ UInt64($1.bitPattern)) &* 0x100_0000_01B3 }
      found[name] = String(hash, radix: 16)
    }
    add("embedding", model.tokenEmbedding.matrix.strip)
    add("unembedding", model.unembedding)
    add("norm", model.finalNorm.weight.strip)
    if let positions = model.positions { add("positions", positions) }
    return found
  }

  @Test func halfLayerModesChangeThoseAndNothingElse() throws {
    let cache = try cache()
    var configuration = cache.configuration("non-intrusive", hook: Self.hook)
    configuration.arch = .relu
    let data = try RunData(for: &configuration)
    let objective = try #require(data.steps).objective
    let before = digests(objective.model)
    #expect(try TrainRun(configuration, data).run(resuming: false) == .finished)
    // The model that the teacher and the layers above ran on.
    #expect(digests(objective.model) == before && before.count == 2 * objective.model.configuration.nLayers + 4)
    // The one that comes out.
    let halves = try TrainedHalfLayer.read(configuration.out + "/half-layers.safetensors", of: objective.model)
    #expect(halves.map(\.halfLayer) == [.attention(1), .mlp(1)])
    let after = digests(TransformerModel(objective.model, replacing: halves))
    #expect(Set(before.keys.filter { before[$0] != after[$0] }) == Set(halves.map { "\($0.halfLayer)" }))
    for half in halves {
      let before = TrainedHalfLayer(half.halfLayer, of: objective.model)
      for (a, b) in zip(half.weights, before.weights) {
        #expect(difference(a.value.values, b.value.values) != nil, "\(a.name) was not trained")
      }
    }
    // And the model on disk is what it was.
    #expect(try TransformerModel.load(path: cache.model).weightsDigest() == cache.reader.manifest.identity.weights)
  }

  /// The hooks of Alignment Forum's "whole-model reconstruction loss" post lie at very different scales: one setting
  /// trains all of them.
  @Test(arguments: ["blocks.0.hook_resid_mid", "blocks.1.hook_resid_pre", "blocks.3.hook_resid_post"])
  func oneLearningRateWorksAtEveryHook(hook: String) throws {
    let cache = try TinyModelCache(hooks: [hook], logits: ["hidden"])
    var configuration = cache.configuration("e2e", hook: hook)
    configuration.arch = .topk
    configuration.k = 6
    configuration.tokens = 150 * configuration.batch
    #expect(try run(configuration) == .finished)
    let found = try metrics(configuration.out)
    let (first, last) = (try #require(found.first?.kl), try #require(found.last?.kl))
    #expect(last < 0.7 * first, "\(hook): KL from \(first) to \(last)")
  }

  /// Steps without a term that compares predictions neither read nor run the teacher.
  @Test func theTeacherIsLeftOutWhereNoTermNeedsIt() throws {
    let cache = try cache()
    var configuration = cache.configuration("mixed", hook: Self.hook)
    (configuration.weights, configuration.teacher, configuration.k) = ("next-token=1,kl=1@0.5", "hidden", 6)
    let steps = try #require(try RunData(for: &configuration).steps)
    #expect(try steps.sequences.read(batch: 0, withTeacher: false).hidden == nil)
    #expect(try steps.sequences.read(batch: 0).hidden != nil)
    #expect(try run(configuration) == .finished)
    let found = try metrics(configuration.out)
    #expect(found.map { $0.kl != nil } == (1...10).map { $0 > 5 } && found.allSatisfy { $0.nextToken != nil })
    // Up to there as if there were no such term.
    var plain = cache.configuration("next-token", hook: Self.hook, out: "plain")
    plain.k = 6
    #expect(try run(plain) == .finished)
    #expect(try metrics(plain.out).prefix(5).map(\.loss) == found.prefix(5).map(\.loss))
  }

  /// Whole sequences are enough, also where too few of their tokens go through the SAE for a batch of those alone.
  @Test func wholeSequencesNeedNoBatchOfShuffledTokens() throws {
    let cache = try cache()
    let nSequences = try SequenceReader(cache.reader, seed: 0).count
    func configuration(_ objective: String) -> TrainConfiguration {
      var configuration = cache.configuration(objective, hook: Self.hook, out: objective)
      configuration.batch = nSequences * TinyModelCache.context
      (configuration.tokens, configuration.skipPositions, configuration.k) = (2 * configuration.batch, 1, 6)
      return configuration
    }
    #expect(try run(configuration("e2e")) == .finished)
    #expect {
      try run(configuration("local-kl"))
    } throws: {
      "\($0)".contains("only \(nSequences * (TinyModelCache.context - 1)) to train on")
    }
  }

  @Test func whatTheCacheLacksIsNamedWithTheCommandThatAddsIt() throws {
    let cache = try TinyModelCache(hooks: ["blocks.1.hook_resid_post"])
    func problem(_ objective: String, _ hook: String, _ change: (inout TrainConfiguration) -> Void = { _ in }) -> String
    {
      var configuration = cache.configuration(objective, hook: hook)
      change(&configuration)
      do { _ = try RunData(for: &configuration) } catch { return "\(error)" }
      return ""
    }
    let command =
      "\(cache.path): this objective needs what the cache does not have; add it with: actcache harvest --model "
      + "\(cache.model) "
    let end = " --out \(cache.path) --dtype f32"
    // blocks.2.hook_resid_pre is the hook itself; blocks.3.hook_resid_pre is not there.
    #expect(problem("e2e+ds", "blocks.1.hook_resid_post") == command + "--hook blocks.3.hook_resid_pre" + end)
    #expect(
      problem("e2e+ds", "blocks.1.hook_attn_out") { $0.teacher = "hidden" }
        == command + "--hook blocks.1.hook_attn_out --hook blocks.1.hook_resid_pre --hook blocks.3.hook_resid_pre "
        + "--logits hidden" + end)
    #expect(problem("intrusive", "blocks.1.hook_resid_post") == command + "--hook blocks.1.hook_resid_mid" + end)
    #expect(
      problem("e2e", "blocks.1.hook_resid_post") { $0.batch = 20 }
        == "batch is 20, but this objective takes whole sequences of 8 tokens; choose 16 or 24")
    #expect(problem("e2e", "blocks.1.attn.hook_z").contains("no gradients go back to blocks.1.attn.hook_z"))
    #expect(
      problem("e2e+ds", "blocks.1.hook_resid_post") { $0.downstream = "7" }
        == "downstream is 7, but only 1 layers begin after blocks.1.hook_resid_post; choose less, or all")
    #expect(
      problem("e2e+ds", "blocks.3.hook_resid_mid")
        == "downstream: no layer begins after blocks.3.hook_resid_mid; name the streams, for instance "
        + "blocks.3.hook_resid_post")
    #expect(
      problem("e2e+ds", "blocks.3.hook_resid_post")
        == "downstream: no residual stream comes after blocks.3.hook_resid_post; choose another objective")
    for (names, problems) in [
      ("blocks.3.hook_resid_pre,blocks.3.hook_resid_pre", "blocks.3.hook_resid_pre twice"),
      (
        "blocks.3.hook_resid_pre,blocks.2.hook_resid_post",
        "blocks.3.hook_resid_pre and blocks.2.hook_resid_post, one stream"
      ),
    ] {
      #expect(
        problem("e2e+ds", "blocks.1.hook_resid_post") { $0.downstream = names }
          == "downstream names \(problems); name each once")
    }
  }

  /// What a block leaves is what the next one reads: either name will do, for whatever reads the stream.
  @Test(arguments: [
    ("local", "blocks.2.hook_resid_pre"), ("e2e", "blocks.2.hook_resid_pre"), ("e2e+ds", "blocks.2.hook_resid_pre"),
    // The base that its value is added to, and the input of the half-layer before the hook.
    ("e2e", "blocks.2.hook_attn_out"), ("intrusive", "blocks.2.hook_resid_mid"),
  ])
  func bothNamesOfAStreamWillDo(objective: String, hook: String) throws {
    func train(_ streams: [String], at hook: String) throws -> TinyModelCache {
      let cache = try TinyModelCache(hooks: streams)
      var configuration = cache.configuration(objective, hook: hook)
      if objective == "e2e+ds" { configuration.downstream = "blocks.3.hook_resid_pre" }
      #expect(try run(configuration) == .finished)
      return cache
    }
    let streams = ["blocks.2.hook_resid_pre", "blocks.3.hook_resid_pre"]
    let others = ["blocks.1.hook_resid_post", "blocks.2.hook_resid_post"]
    let more = hook == "blocks.2.hook_attn_out" ? [hook] : []
    let whole = try train(streams + more, at: hook)
    let same = try train(others + more, at: hook)
    let (a, b) = (try files(whole.folder.path + "/run"), try files(same.folder.path + "/run"))
    #expect(a["sae/sae_weights.safetensors"] == b["sae/sae_weights.safetensors"] && !a.isEmpty)
    #expect(a["half-layers.safetensors"] == b["half-layers.safetensors"])
    guard hook == streams[0] else { return }
    let named = try train(streams, at: others[0])
    let c = try files(named.folder.path + "/run")
    #expect(a["sae/sae_weights.safetensors"] == c["sae/sae_weights.safetensors"])
  }

  @Test func trainedHalfLayersAreTakenWithTheirSAE() throws {
    let cache = try cache()
    func configuration(_ objective: String, _ out: String, hook: String = Self.hook) -> TrainConfiguration {
      var configuration = cache.configuration(objective, hook: hook, out: out)
      configuration.arch = .relu
      return configuration
    }
    let first = configuration("intrusive", "first")
    #expect(try run(first) == .finished)
    var next = configuration("non-intrusive", "next")
    next.initialWeights = first.out
    #expect(try run(next, until: 0) == .interrupted(step: 0))
    let state = try SafetensorsFile(path: next.out + "/checkpoints/step-0/state.safetensors")
    let model = try TransformerModel.load(path: cache.model)
    let halves = try TrainedHalfLayer.read(first.out + "/half-layers.safetensors", of: model)
    for weight in halves.flatMap(\.weights) {
      let (rows, columns) = (weight.value.rows, weight.value.columns)
      let taken = try state.matrix(weight.name, shape: [rows, columns], rows: rows)
      #expect(difference(taken.values, weight.value.values) == nil, "\(weight.name)")
    }
    let data = try String(contentsOf: URL(fileURLWithPath: next.out + "/data.json"), encoding: .utf8)
    #expect(data.contains("halfLayers"))
    // What the run begins with is in its checkpoint.
    try FileManager.default.moveItem(atPath: first.out, toPath: first.out + "-moved")
    #expect(try run(next, resuming: true) == .finished)
    try FileManager.default.moveItem(atPath: first.out + "-moved", toPath: first.out)

    func problem(_ objective: String, hook: String = Self.hook) -> String {
      var other = configuration(objective, "other", hook: hook)
      other.initialWeights = first.out
      do { _ = try run(other) } catch { return "\(error)" }
      return ""
    }
    let file = first.out + "/half-layers.safetensors"
    for objective in ["local", "e2e"] {
      #expect(
        problem(objective)
          == "init \(first.out): its SAE belongs to the half-layers that were trained with it, and objective \(objective) trains "
          + "none; choose an objective that trains them (--half-layers), or give \(first.out)/sae for the SAE alone")
    }
    #expect(
      problem("intrusive", hook: "blocks.2.hook_resid_pre")
        == "init \(first.out): trained the attention of layer 1 and the MLP of layer 1, this run trains the MLP of layer 1 and "
        + "the attention of layer 2; choose the hook of that run, or give \(first.out)/sae for the SAE alone")
    try Data(Data(contentsOf: URL(fileURLWithPath: file)).dropLast()).write(to: URL(fileURLWithPath: file))
    #expect(problem("intrusive").hasPrefix("init \(first.out): "))
    try FileManager.default.removeItem(atPath: file)
    #expect(problem("intrusive").hasPrefix("\(file): no such file, but half-layers were trained"))
    // Nothing was written.
    #expect(!FileManager.default.fileExists(atPath: cache.folder.path + "/other"))
    var alone = configuration("local", "alone")
    alone.initialWeights = first.out + "/sae"
    #expect(try run(alone) == .finished)
  }

  @Test func anotherModelIsRefused() throws {
    let cache = try cache()
    var configuration = cache.configuration("e2e", hook: Self.hook)
    configuration.model = cache.model.replacing("gpt-neo", with: "llama-tied")
    #expect {
      try RunData(for: &configuration)
    } throws: { error in
      "\(error)".contains("made with another model: it has weights: ")
        && "\(error)".hasSuffix(". Give the model that was harvested")
    }
  }

  @Test func theSameWeightsWithAnotherConfigurationAreAnotherModel() throws {
    let hook = "blocks.1.hook_resid_pre"
    let cache = try TinyModelCache("llama-tied", hooks: [hook], logits: ["hidden"])
    let other = cache.folder.path + "/other"
    try copyModel(cache.model, to: other, changing: ["rms_norm_eps": 0.25, "rope_parameters": ["rope_theta": 4]])
    let models = try [cache.model, other].map { try TransformerModel.load(path: $0) }
    #expect(try models[0].weightsDigest() == models[1].weightsDigest())
    let expected = ActCacheError.mismatch(
      "\(cache.path): this cache was made with another model: it has model configuration: epsilon 1e-05, not 0.25, "
        + "rotary {\"nRotary\": 6, \"theta\": 10000}, not {\"nRotary\": 6, \"theta\": 4}. Give the model that was harvested"
    )
    var begun = cache.configuration("e2e", hook: hook)
    begun.model = other
    #expect(throws: expected) { try run(begun) }
    begun.model = cache.model
    #expect(try run(begun, until: 2) == .interrupted(step: 2))
    begun.model = other
    #expect(throws: expected) { try run(begun, resuming: true) }
  }

  @Test func membersOfASweepEqualRunsAlone() throws {
    let cache = try cache()
    let configurations = [0.02, 0.2].enumerated().map { i, l1 in
      var configuration = cache.configuration("e2e", hook: Self.hook, out: "alone\(i)")
      configuration.arch = .relu
      configuration.l1 = l1
      return configuration
    }
    for configuration in configurations { #expect(try run(configuration) == .finished) }
    let grid = try SweepGrid(
      yaml: """
        cache: \(cache.path)
        hook: \(Self.hook)
        out: \(cache.folder.path)/sweep
        model: \(cache.model)
        objective: e2e
        arch: relu
        latents: 3x
        batch: 32
        tokens: 320
        lr: 0.003
        log-steps: 1
        checkpoint-steps: 3
        l1: [0.02, 0.2]
        """, path: "sweep.yaml")
    let results = try SweepRun(grid).run(resuming: false)
    #expect(results.map(\.outcome) == [.finished, .finished])
    for result in results {
      let costs = try #require(result.costs)
      #expect(min(costs.parts.sae, costs.parts.layers, costs.parts.output, costs.optimizer, costs.reading) > 0)
      #expect(try #require(costs.relativeToLocal) > 1 && abs(costs.total - result.seconds) < 1e-6)
    }
    let table = SweepTable(results, of: grid)
    #expect(table.csv.hasPrefix("run,l1,outcome,") && table.csv.contains(",seconds,times-local,reason\n"))
    #expect(try table.jsonl.split(separator: "\n").allSatisfy { $0.contains("\"costs\":{\"local\":") })
    for (member, configuration) in zip(grid.members, configurations) {
      let (mine, alone) = (try files(member.configuration.out), try files(configuration.out))
      for (name, data) in alone { #expect(mine[name] == data, "\(member.name): \(name)") }
    }
  }
}
