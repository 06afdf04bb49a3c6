import ActCache
import Foundation
import Harvest
import LinearAlgebra
import TestSupport
import Transformer

/// A small cache of the embedded model and stories, f32.
enum StoriesCache {
  static let model = SharedInputs.packageRoot.appendingPathComponent("data/model").path

  static func harvest(_ hooks: [String], into folder: TemporaryFolder, model: TransformerModel) throws -> CacheReader {
    var settings = HarvestConfiguration()
    settings.model = Self.model
    settings.corpora = [SharedInputs.packageRoot.appendingPathComponent("data/stories.jsonl.zst").path]
    settings.hooks = hooks
    settings.context = 24
    settings.tokens = 24 * 48
    settings.dtype = "f32"
    settings.out = folder.path + "/cache"
    let tokenizer = try ModelTokenizer.load(model: settings.model)
    _ = try HarvestRun(settings, source: ModelSource(model), tokenizer: tokenizer).run()
    return try CacheReader(path: settings.out)
  }

  /// The half-layers next to a hook with noise on every weight, written to `path`.
  static func halfLayers(
    at hook: HookPoint, of model: TransformerModel, changedBy noise: Float, path: String
  ) throws -> [TrainedHalfLayer] {
    let halves = try [model.halfLayer(before: hook), model.halfLayer(after: hook)].map {
      TrainedHalfLayer($0, of: model)
    }
    var random = SeededGenerator(seed: 12)
    for weight in halves.flatMap(\.weights) where noise != 0 {
      let (rows, columns) = (weight.value.rows, weight.value.columns)
      weight.value.add(Matrix(rows, columns, random.floats(rows * columns)), times: noise)
    }
    try TrainedHalfLayer.write(halves, to: path)
    return halves
  }
}
