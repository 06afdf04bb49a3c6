import ActCache
import LinearAlgebra
import SAE

/// Batches of shuffled tokens from a cache. Opens no model.
package final class CacheBatches: BatchSource {
  private let reader: TrainingReader
  package let normalizationScale: Double
  package let provenance: SAELensFormat.Provenance
  package let identity: DataIdentity

  /// - Throws: `ActCacheError` if the cache is damaged or lacks the hook.
  package init(_ cache: CacheReader, hook: String, batchSize: Int, seed: UInt64) throws {
    reader = try TrainingReader(cache, hook: hook, batchSize: batchSize, seed: seed)
    normalizationScale = try cache.hook(hook).scale
    let stream = try cache.hook(hook)
    provenance = SAELensFormat.Provenance(
      modelName: nil, hookName: hook, context: cache.manifest.context,
      prependsBOS: cache.manifest.identity.tokens.bos != nil, weightsDigest: cache.manifest.identity.weights,
      streamKey: stream.streamKey)
    identity = DataIdentity(
      stream: stream.streamKey, text: cache.manifest.generations.last?.chain ?? "",
      sequences: cache.manifest.nSequences,
      heldOut: cache.manifest.heldOut.count, windowFrames: reader.order.windowFrames)
  }

  package var width: Int { reader.width }
  package var tokensPerEpoch: Int { reader.nTokensPerEpoch }
  package var secondsWaited: Double { reader.secondsWaited }

  package func lanes(since origin: UInt64) -> [Lane] {
    var lane = Lane("decoder")
    var time = 0.0
    func add(_ activity: Activity, until end: Double) {
      guard end > time else { return }
      lane.add(Lane.Span(activity, from: time, to: end), keepsSpans: true)
      time = end
    }
    for decoding in reader.decodings where decoding.upperBound > origin {
      // It rests while the windows ahead are ready.
      add(.waitsForRoom, until: LapTimer.seconds(decoding.lowerBound, since: origin))
      add(.decode, until: LapTimer.seconds(decoding.upperBound, since: origin))
    }
    add(.waitsForRoom, until: LapTimer.seconds(LapTimer.now, since: origin))
    return [lane]
  }

  package func read(batch index: Int, into batch: inout Matrix) throws {
    try batch.withMutableSpan { try reader.read(batch: index, into: &$0) }
  }
}
