import ActCache
import Foundation
import Harvest
import Measure
import TestSupport
import Testing
import Transformer

@Suite struct SubjectTests {
  @Test func theSameWeightsWithAnotherConfigurationAreAnotherModel() throws {
    let folder = try TemporaryFolder()
    let data = SharedInputs.packageRoot.appendingPathComponent("data").path
    var settings = HarvestConfiguration()
    settings.model = data + "/model"
    settings.corpora = [data + "/stories.jsonl.zst"]
    settings.hooks = ["hook_embed"]
    settings.context = 16
    settings.tokens = 16 * 32
    settings.out = folder.path + "/cache"
    _ = try HarvestRun(
      settings, source: ModelSource(TransformerModel.load(path: settings.model)),
      tokenizer: ModelTokenizer.load(model: settings.model)
    ).run()
    _ = try Subject(cache: settings.out, model: settings.model)
    let other = folder.path + "/model"
    try copyModel(settings.model, to: other, changing: ["layer_norm_epsilon": 0.5])
    #expect(
      throws: ActCacheError.mismatch(
        "\(settings.out): this cache was made with another model: it has model configuration: epsilon 1e-05, not 0.5. "
          + "Give the model that was harvested")
    ) { _ = try Subject(cache: settings.out, model: other) }
  }
}
