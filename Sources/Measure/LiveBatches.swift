import ActCache
import Harvest
import LinearAlgebra
import SAE
import Train

/// Batches as a trainer without a cache gets them: the model runs on whole sequences for each. The sequences are a
/// cache's training sequences in shuffled order; tokens within a batch are those of the same few sequences, which a
/// trainer would mix in a buffer that costs time too.
package final class LiveBatches: BatchSource {
  package let width: Int
  package let tokensPerEpoch: Int
  package let normalizationScale: Double
  package let provenance: SAELensFormat.Provenance
  package let identity: DataIdentity
  package let secondsWaited = 0.0
  package let reading = Activity.forward
  private let sequences: SequenceReader
  private let source: any ActivationSource
  private let hook: String

  /// - Parameter scale: the factor on activations that the cache has for the hook.
  package init(_ source: any ActivationSource, sequencesOf cache: CacheReader, hook: String, scale: Double) throws {
    sequences = try SequenceReader(cache, seed: 0)
    width = try source.width(of: hook)
    tokensPerEpoch = sequences.count * sequences.context
    normalizationScale = scale
    self.source = source
    self.hook = hook
    provenance = SAELensFormat.Provenance(
      modelName: nil, hookName: hook, context: sequences.context,
      prependsBOS: cache.manifest.identity.tokens.bos != nil)
    identity = DataIdentity(
      stream: "live", text: cache.manifest.generations.last?.chain ?? "", sequences: cache.manifest.nSequences,
      heldOut: cache.manifest.heldOut.count, windowFrames: 1)
  }

  package func read(batch index: Int, into batch: inout Matrix) throws {
    let context = sequences.context
    let perBatch = (batch.rows + context - 1) / context
    var tokens: [UInt32] = []
    tokens.reserveCapacity(perBatch * context)
    for i in 0..<perBatch { tokens += try sequences.sequence(index * perBatch + i).tokens }
    _ = try source.run(tokens: tokens, nSequences: perBatch, hooks: [hook], teacher: nil) { _, values in
      batch.assign(first: values.extracting(0..<batch.count))
    }
  }
}
