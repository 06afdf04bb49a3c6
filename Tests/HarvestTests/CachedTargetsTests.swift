import Foundation
import LinearAlgebra
import TestSupport
import Testing
import Transformer

@testable import ActCache
@testable import Harvest

/// Teacher targets on their way through a cache, with the embedded model.
@Suite struct CachedTargetsTests {
  private static let model = SharedInputs.packageRoot.appendingPathComponent("data/model").path
  private static let context = 16

  private func harvest(
    _ folder: TemporaryFolder, _ name: String, _ logits: [String], hooks: [String] = [], dtype: String = "f32",
    nSequences: Int = 44
  ) throws -> CacheReader {
    // What the model was trained on.
    let text = SharedInputs.packageRoot.appendingPathComponent("data/stories.jsonl.zst").path
    var configuration = HarvestConfiguration()
    configuration.model = CachedTargetsTests.model
    configuration.corpora = [text]
    configuration.hooks = hooks
    configuration.logits = logits
    configuration.context = CachedTargetsTests.context
    configuration.tokens = CachedTargetsTests.context * nSequences
    configuration.shardTokens = CachedTargetsTests.context * 20
    configuration.dtype = dtype
    configuration.out = folder.path + "/" + name
    let run = try HarvestRun(
      configuration, source: ModelSource(TransformerModel.load(path: CachedTargetsTests.model)),
      tokenizer: try ModelTokenizer.load(model: CachedTargetsTests.model), minFrameBytes: 4096)
    guard case .finished = try run.run() else { throw HarvestError.system("not finished") }
    return try CacheReader(path: configuration.out)
  }

  private func finalState(_ model: TransformerModel, _ tokens: [UInt32]) throws -> Matrix {
    let workspace = ForwardWorkspace()
    try model.forward(
      TokenBatch(ids: tokens, nSequences: 1, nPositions: tokens.count), wantsFinalState: true, workspace: workspace)
    return workspace.finalState.copy()
  }

  private func logProbabilities(_ logits: borrowing Matrix) -> [[Double]] {
    (0..<logits.rows).map { row in
      let values = (0..<logits.columns).map { Double(logits[row, $0]) }
      let top = values.max() ?? 0
      let sum = top + log(values.reduce(0) { $0 + exp($1 - top) })
      return values.map { $0 - sum }
    }
  }

  /// All files but locks and what was moved aside.
  private func files(_ cache: CacheReader) throws -> [String: Data] {
    try tree(cache.path).filter { !$0.key.hasSuffix(".bad") }
  }

  @Test func damagedTargetsAreFoundAndHarvestedAgain() throws {
    let folder = try TemporaryFolder()
    let cache = try harvest(folder, "cache", ["hidden", "topk:4"], hooks: ["hook_embed"], dtype: "bf16")
    let whole = try files(cache)
    #expect(try Verification(cache: cache.path, level: .digest, threads: 2).findings.isEmpty)
    let names = whole.keys.filter { $0.hasPrefix("logits/") || $0.hasPrefix("receipts/logits/") }.sorted()
    #expect(names.count == 12)
    // Of different ranges.
    for name in [0, 4, 7, 11].map({ names[$0] }) {
      var data = try #require(whole[name])
      data[data.count / 2] ^= 1
      try data.write(to: URL(fileURLWithPath: cache.path + "/" + name))
    }
    let receipt = try #require(CacheContents(cache: cache.path).receipts["logits/topk:4"]?.first)
    var faults: [String] = []
    // As if one position of each sequence were text.
    try ShardCheck(cache: cache.path, receipt: receipt).checkFrames(
      0..<1, lengths: [UInt32](repeating: 1, count: 20)
    ) { frame, error in faults.append("\(error)") }
    #expect(faults.count == 1 && faults[0].contains("frame 0: sequence 0, position 1 has targets, but it is padding"))
    let found = try Verification(cache: cache.path, level: .frames, threads: 2).findings
    #expect(found.count == 4 && found.allSatisfy { $0.kind == .corrupt }, "\(found)")
    var configuration = CacheRepair.Configuration()
    configuration.cache = cache.path
    let model = try TransformerModel.load(path: CachedTargetsTests.model)
    let report = try CacheRepair(configuration).run(
      (ModelSource(model), ModelTokenizer.load(model: CachedTargetsTests.model)))
    let now = try files(cache)
    #expect(Set(whole.keys).union(now.keys).filter { whole[$0] != now[$0] } == [], "\(report)")
    let recomputed = try Recomputation(cache: cache, source: ModelSource(model), count: 5, seed: 0)
    #expect(recomputed.streams.map(\.name) == ["hooks/hook_embed", "logits/hidden", "logits/topk:4"])
    #expect(recomputed.streams.map(\.values) == [5 * 16 * 128, 5 * 16 * 128, 5 * 16 * 6])
    #expect(recomputed.findings.isEmpty && recomputed.streams.allSatisfy { $0.wrong == 0 && $0.values > 0 })
    #expect(recomputed.notCompared.isEmpty)
  }

  @Test func targetsAreThoseOfTheModelAtEverySequence() throws {
    let folder = try TemporaryFolder()
    let policies = ["topk:8", "mass:0.05:64", "full"]
    #if DEBUG
      let (nSequences, step) = (44, 9)
    #else
      let (nSequences, step) = (256, 1)
    #endif
    let cache = try harvest(folder, "cache", policies, nSequences: nSequences)
    #expect(cache.manifest.isComplete && cache.manifest.logits.keys.sorted() == ["full", "mass:0.05:64", "topk:8"])
    let model = try TransformerModel.load(path: CachedTargetsTests.model)
    let (heldOut, training) = (try HeldOutReader(cache), try SequenceReader(cache, seed: 1))
    var random = SeededGenerator(seed: 6)
    for i in stride(from: 0, to: nSequences, by: step) {
      let isHeldOut = i < heldOut.count
      let sequence = try isHeldOut ? heldOut.sequence(i) : training.sequence(i - heldOut.count)
      let state = try finalState(model, sequence.tokens)
      let teacher = model.logits(state)
      let exact = logProbabilities(teacher)
      let predictions = Predictions(teacher: teacher, student: model.logits(noisy(state, &random)))
      for name in policies {
        let policy = try #require(LogitPolicy(name))
        let targets =
          try isHeldOut ? heldOut.targets(i, policy: policy) : training.targets(i - heldOut.count, policy: policy)
        #expect(targets.nTokens == CachedTargetsTests.context && targets.nVocabulary == exact[0].count)
        predictions.expectBounds(of: targets, policy)
        for (position, logP) in exact.enumerated() {
          let range = targets.starts[position]..<targets.starts[position + 1]
          let entropy = -logP.reduce(0) { $0 + exp($1) * $1 }
          // The sums of the pass are formed in another order.
          #expect(abs(Double(targets.entropies[position]) - entropy) < 1e-3)
          for j in range {
            #expect(abs(Double(targets.probabilities[j]) - exp(logP[Int(targets.indices[j])])) < 1e-4)
          }
          let sum = targets.probabilities[range].reduce(Double(targets.tailMasses[position])) { $0 + Double($1) }
          #expect(abs(sum - 1) < 1e-5)
        }
      }
    }
    // The manifest says what each loses.
    let topK = try #require(cache.logits("topk:8").policyError)
    let mass = try #require(cache.logits("mass:0.05:64").policyError)
    let full = try #require(cache.logits("full").policyError)
    let (topKTail, massTail) = (try #require(topK.meanTailMass), try #require(mass.meanTailMass))
    #expect(topK.nTokens >= 3 * 16 && topKTail > massTail && massTail > 0)
    #expect(topK.maxGradientBound == 2 * topK.tailMassMax && topK.tailMassMax < 1)
    #expect(full.tailMassMax == 0 && full.nRounded > 0 && full.roundingMax < 1e-6)
    #expect(throws: ActCacheError.self) { try cache.logits("topk:9") }
  }

  @Test func exactHiddenStatesGiveTheExactPredictions() throws {
    let folder = try TemporaryFolder()
    let cache = try harvest(folder, "cache", ["hidden"])
    let model = try TransformerModel.load(path: CachedTargetsTests.model)
    let heldOut = try HeldOutReader(cache)
    let hidden = try cache.logits("hidden")
    #expect(hidden.dtype == "f32" && hidden.policyError?.roundingMax == 0 && hidden.policyError?.nRounded ?? 0 > 0)
    for i in stride(from: 0, to: heldOut.count, by: 5) {
      var values = [Float](repeating: .nan, count: CachedTargetsTests.context * hidden.width)
      var output = values.mutableSpan
      try heldOut.readHidden(i, into: &output)
      let state = model.finalState(normalized: Matrix(CachedTargetsTests.context, hidden.width, values))
      let exact = logProbabilities(model.logits(try finalState(model, heldOut.sequence(i).tokens)))
      for (a, b) in zip(logProbabilities(model.logits(state)), exact) {
        for (x, y) in zip(a, b) { #expect(abs(x - y) < 1e-4) }
      }
    }
    let error = #expect(throws: ActCacheError.self) { try heldOut.targets(0, policy: .hidden) }
    #expect(error?.description.hasPrefix("logits hidden are final hidden states") == true)
    let rounded = try harvest(folder, "rounded", ["hidden"], dtype: "bf16")
    let loss = try #require(rounded.logits("hidden").policyError)
    #expect(loss.roundingSum > 0 && loss.nTokens == 0 && loss.meanTailMass == nil && loss.roundingMax < 0.01)
  }

  @Test func aPolicyThatIsAddedLaterGivesTheSameBytes() throws {
    let folder = try TemporaryFolder()
    let hooks = ["blocks.1.hook_resid_post"]
    _ = try harvest(folder, "at-once", ["topk:4", "full"], hooks: hooks)
    _ = try harvest(folder, "in-three", [], hooks: hooks)
    _ = try harvest(folder, "in-three", ["full"], hooks: hooks)
    _ = try harvest(folder, "in-three", ["topk:4"])
    #expect(try tree(folder.path + "/in-three") == tree(folder.path + "/at-once"))
  }
}
