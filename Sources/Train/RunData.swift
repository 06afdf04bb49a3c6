import ActCache
import Transformer

/// What a run is trained on: shuffled tokens, and for objectives that run the model whole sequences.
package struct RunData {
  package var source: any BatchSource
  package var steps: ModelSteps?
  /// Frames that are left out because they are, or were, damaged.
  package var skipped: [SkippedFrame] = []

  /// Tokens that are left out because of their norm.
  package var outliers: DataIdentity.Outliers? { source.identity.outliers }
  /// Of the data that the run begins with.
  package var tokensPerEpoch: Int { steps?.sequences.tokensPerEpoch ?? source.tokensPerEpoch }

  package init(source: any BatchSource, steps: ModelSteps? = nil) {
    self.source = source
    self.steps = steps
  }

  /// The data of a run; sets the run's generation and teacher, so that it means the same when the cache has grown.
  ///
  /// - Throws: what `CacheReader`, `CacheBatches` and `ModelSteps` throw.
  package init(for configuration: inout TrainConfiguration) throws {
    let folder = RunFolder(configuration.out)
    let cache = try CacheReader(
      path: configuration.cache, generation: configuration.generation ?? folder.generation(), io: configuration.io)
    configuration.generation = cache.manifest.generation
    steps = try configuration.makeObjective().runsModel ? ModelSteps(for: &configuration, cache: cache) : nil
    var reading = try configuration.readingOptions()
    reading.leavingOut = folder.skippedFrames
    // Where no step reads shuffled tokens, there need not be enough for a batch.
    let readsTokens = steps?.objective.objective.hasLocalSteps ?? true
    let batches = try CacheBatches(
      cache, hook: configuration.hook, targetHook: configuration.targetHook,
      stream: steps?.objective.plan.before?.input.name, batchSize: readsTokens ? configuration.batch : 1,
      seed: configuration.orderSeed ?? configuration.seed, reading: reading)
    source = batches
    skipped = batches.skipped
  }
}
