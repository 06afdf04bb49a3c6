import ActCache
import Foundation
import SAE
import TestSupport
import Testing
import Train

@testable import Measure

@Suite struct PlannerTests {
  @Test func runsThatDifferInWhatCostsNoTimeAreMeasuredOnce() throws {
    let yaml = "cache: c\nhook: h\nlatents: [4x, 8x]\nk: [16, 32]\nseed: [0, 1, 2]\nlr: [1e-3, 2e-3]\n"
    let groups = Planner.groups(try SweepGrid(yaml: yaml, path: "s.yaml").members.map(\.configuration))
    #expect(groups.map(\.count) == [6, 6, 6, 6])
    #expect(groups.map { "\($0[0].latents) \($0[0].k ?? 0)" } == ["4x 16", "4x 32", "8x 16", "8x 32"])
  }

  @Test func theTextSaysHowEveryNumberCameAbout() {
    let machine = Machine(cpu: "A CPU", cores: 4, threads: 2, blasCore: "SkylakeX", memoryBytes: 1 << 34, load: 0.5)
    let cost = PlanCost(harvestSeconds: 125, runs: 2, cachedSeconds: 20, liveSeconds: 200)
    let plan = Plan(
      machine: machine, cache: "smol/cache", objective: "local", context: 256, harvestTokens: 500_000,
      newTokens: 500_000,
      streams: [
        Plan.Stream(
          name: "hooks/h", why: "the SAE's input", width: 576, dtype: "bf16", codec: "zstd:1", bytesPerToken: 792.5,
          bytes: 396_250_000, tokensThere: 0, how: "measured on 8,192 tokens")
      ], newBytes: 396_250_000, freeBytes: 61_000_000_000,
      rates: [
        Plan.Rate(what: "harvest", tokensPerSecond: 4000, threads: 2, how: "one of 8,192 tokens in 4 shards, 2.0 s"),
        Plan.Rate(what: "  encode", tokensPerSecond: 500_000, threads: 4, how: "0.02 s of that harvest"),
      ],
      shapes: [
        Plan.Shape(
          hook: "h", arch: .topk, latents: 4608, k: 32, batch: 4096, runs: 2, tokens: 2_000_000,
          secondsPerStep: Spread([0.04], seconds: 1), cachedTokensPerSecond: 100_000, liveTokensPerSecond: 10_000)
      ], cost: cost, notes: ["a note"], sentence: cost.sentence)
    #expect(
      plan.text == """
        smol/cache: local training on 500,000 tokens, context 256; 396 MB to write, 61 GB are free
        stream   for              width  dtype  codec   B/token  on disk  there  how
        ─────────────────────────────────────────────────────────────────────────────────────────────────
        hooks/h  the SAE's input    576  bf16   zstd:1    792.5   396 MB         measured on 8,192 tokens

        A CPU, 4 cores, OpenBLAS SkylakeX, load 0.5 at the start
        measured here  threads  tokens/s  µs/token                    how
        ────────────────────────────────────────────────────────────────────────────────────────────────────
        harvest              2    4.00 k     250.0  ████████████████  one of 8,192 tokens in 4 shards, 2.0 s
          encode             4     500 k     2.000  ▏                 0.02 s of that harvest

        runs                                          tokens each  from the cache  model in the loop
        ────────────────────────────────────────────────────────────────────────────────────────────
           2  topk, 4,608 latents, k 32, batch 4,096    1,000,000       10 s each    1 min 40 s each

        note: a note

        caching pays for 2 runs: harvest 2 min 05 s and training 20 s, against 3 min 20 s with the model in the loop, 1.4 times as long; it pays from 2 runs on.
        """)
  }

  @Test func runsOfTwoObjectivesOrTooFewTokensAreRefused() throws {
    let folder = SharedInputs.packageRoot.path
    let subject = try Subject(cache: nil, model: folder + "/data/model", corpora: [folder + "/data/stories.jsonl.zst"])
    func message(_ runs: [TrainConfiguration], tokens: Int? = nil) -> String {
      do { _ = try Planner(runs, subject, harvestTokens: tokens) } catch { return "\(error)" }
      return ""
    }
    let run = TrainConfiguration(cache: "c", hook: "blocks.2.hook_resid_post", out: "")
    var other = run
    other.objective = "e2e"
    #expect(message([run, other]) == "a plan is for runs of one objective" && message([run]).isEmpty)
    #expect(message([]) == "a plan is for runs of one objective")
    #expect(message([run], tokens: 5) == "--harvest-tokens 5: allowed are 128 (a sequence) to 2^50")
    var bad = run
    bad.batch = 0
    #expect(message([bad]).hasPrefix("batch is 0"))
  }

  // In debug the model would take minutes.
  #if !DEBUG
    @Test func aPlanIsMadeWithACacheAndWithout() throws {
      let package = SharedInputs.packageRoot.path
      let folder = try TemporaryFolder()
      let text = [package + "/data/stories.jsonl.zst"]
      var run = TrainConfiguration(cache: folder.path + "/cache", hook: "blocks.0.hook_mlp_out", out: "")
      run.latents = "2x"
      run.batch = 512
      run.tokens = 100_000
      let model = package + "/data/model"
      let subject = try Subject(cache: nil, model: model, corpora: text, scratch: folder.path)
      let plan = try Planner([run, run], subject, harvestTokens: 50_000).run()
      #expect(plan.streams.map(\.name) == ["tokens", "hooks/blocks.0.hook_mlp_out"] && plan.newTokens == 50_000)
      #expect(plan.shapes.count == 1 && plan.shapes[0].runs == 2 && plan.shapes[0].tokens == 2 * 100_352)
      let cost = try #require(plan.cost)
      #expect(cost.runs == 2 && cost.harvestSeconds > 0 && (cost.liveSeconds ?? 0) > 0)
      #expect(plan.rates.allSatisfy { $0.tokensPerSecond > 0 && !$0.how.isEmpty })
      #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path).isEmpty, "scratch folders are removed")

      var e2e = run
      e2e.objective = "e2e"
      let streams = try Planner([e2e], subject).run()
      #expect(streams.streams.count == 3 && streams.cost == nil && streams.sentence.contains("local objective only"))

      // With a cache, what is there costs nothing more, and no model is needed.
      let trial = try TrialHarvest(subject, hooks: [run.hook]).run(tokens: 20_000)
      let there = try Subject(cache: trial.cache.path, model: nil, scratch: folder.path)
      let cached = try Planner([run], there).run()
      #expect(cached.newTokens == 0 && cached.cost?.harvestSeconds == 0 && cached.cost?.liveSeconds == nil)
      #expect(cached.streams[1].how == "the cache's manifest" && cached.streams[1].tokensThere >= 19_000)
      withExtendedLifetime(trial) {}
    }
  #endif
}
