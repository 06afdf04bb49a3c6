import ActCache
import Foundation
import LinearAlgebra
import TestSupport
import Testing
import Transformer

@testable import Harvest

/// With the small model that lies beside some checkouts.
struct RealModelTests {
  private static let model = SharedInputs.path("models/stories260K")
  private static let text = SharedInputs.path("corpora/tinystories-train-2MiB.txt")

  @Test(.enabled(if: model != nil && text != nil)) func cachedActivationsAreThoseOfTheModel() throws {
    let folder = try TemporaryFolder()
    let path = try #require(RealModelTests.model)
    var configuration = HarvestConfiguration()
    configuration.model = path
    configuration.corpora = [try #require(RealModelTests.text)]
    configuration.hooks = ["blocks.2.hook_resid_post", "blocks.1.mlp.hook_post"]
    configuration.context = 32
    configuration.tokens = 32 * 12
    configuration.dtype = "f32"
    configuration.out = folder.path + "/cache"
    let model = try TransformerModel.load(path: path)
    let run = try HarvestRun(
      configuration, source: ModelSource(model), tokenizer: try ModelTokenizer.load(model: path))
    guard case .finished(let summary) = try run.run() else {
      Issue.record("not finished")
      return
    }
    #expect(summary.nSequences == 12)

    let heldOut = try HeldOutReader(CacheReader(path: configuration.out))
    #expect(heldOut.count == 6)
    for i in 0..<heldOut.count {
      let sequence = try heldOut.sequence(i)
      #expect(sequence.tokens.first == run.spec.identity.tokens.bos.map { UInt32($0) })
      let batch = TokenBatch(ids: sequence.tokens, nSequences: 1, nPositions: 32)
      let points = try configuration.hooks.map { try model.configuration.hook(named: $0) }
      try model.forward(batch, hooks: points, workspace: ForwardWorkspace()) { hook, values in
        var cached = [Float](repeating: .nan, count: values.count)
        var output = cached.mutableSpan
        try heldOut.read(i, hook: hook.name, into: &output)
        // Sums are formed in another order in a batch of other size: equal to rounding, not to the bit.
        let largest = values.values.map { abs($0) }.max() ?? 0
        for (a, b) in zip(cached, values.values) { #expect(abs(a - b) <= 1e-5 * max(1, largest)) }
      }
    }
  }

  @Test(.enabled(if: model != nil)) func anUnknownHookNamesTheValidOnes() throws {
    let path = try #require(RealModelTests.model)
    var configuration = HarvestConfiguration()
    configuration.model = path
    configuration.corpora = ["a.txt"]
    configuration.hooks = ["blocks.9.hook_resid_post"]
    configuration.out = "/nowhere"
    let error = #expect(throws: TransformerError.self) {
      try HarvestRun(
        configuration, source: ModelSource(TransformerModel.load(path: path)),
        tokenizer: try ModelTokenizer.load(model: path))
    }
    #expect(error?.description.contains("blocks.4.hook_resid_post") == true)
  }
}
