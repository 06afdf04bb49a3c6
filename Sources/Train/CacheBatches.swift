import ActCache
import LinearAlgebra
import SAE
import Transformer

/// Batches of shuffled tokens from a cache. Opens no model.
package final class CacheBatches: BatchSource {
  private let reader: TrainingReader
  package let normalizationScale: Double
  package let target: TargetShape?
  package let provenance: SAELensFormat.Provenance
  package let identity: DataIdentity

  /// Frames that are left out because they are, or were, damaged.
  package var skipped: [SkippedFrame] { reader.source.skipped }

  /// Tokens whose norm exceeds ten times the median norm of the hook, of all that the cache has of it, and the largest norm in
  /// medians.
  package let farTokens: (count: Int, of: Int, largest: Double)
  /// Tokens that are left out because of their norm, and what the norm may be; nil without `skip-outliers`.
  package var outliers: DataIdentity.Outliers? { identity.outliers }

  /// - Parameters:
  ///   - hook: what the SAE is for.
  ///   - targetHook: whose activations at the same tokens are read, too, for a transcoder.
  ///   - other: the stream that is read, if that is another one than the hook's.
  /// - Throws: `ActCacheError` if the cache is damaged or lacks a hook; `TrainError.invalid` if the options leave no
  ///   token, or the memory has no room for a window.
  package init(
    _ cache: CacheReader, hook: String, targetHook: String? = nil, stream other: String? = nil, batchSize: Int,
    seed: UInt64,
    reading options: ReadingOptions = .init()
  ) throws {
    let name = HookPoint.storedName(of: other ?? hook, among: cache.manifest.hooks.keys)
    let context = cache.manifest.context
    if let positions = options.filter.positions, positions.lowerBound >= context {
      throw TrainError.invalid(
        "skip-positions is \(positions.lowerBound), but the sequences of \(cache.path) have \(context); choose less")
    }
    let stream = try cache.hook(name)
    let target = targetHook.map { HookPoint.storedName(of: $0, among: cache.manifest.hooks.keys) }
    if let targetHook, target == name {
      throw TrainError.invalid(
        "target-hook is \(targetHook), which is the stream of \(hook); leave it out for an autoencoder")
    }
    let targetStream = try target.map { try cache.hook($0, orAddItWith: "MODEL", like: [name]) }
    let hooks = [name] + (target.map { [$0] } ?? [])
    let frameBytes = try hooks.reduce(0) { try $0 + cache.frameBytes(ofHook: $1) }
    let source = try TrainingSource(
      cache, hooks: hooks, seed: seed, filter: options.filter,
      windowFrames: max(1, options.windowBytes / frameBytes), memoryBytes: options.memoryBytes,
      onCorrupt: options.onCorrupt, leavingOut: options.leavingOut)
    let windowBytes = source.windowFrames * source.frameBytes
    guard windowBytes <= options.memoryBytes else {
      throw TrainError.invalid(
        "memory is \(options.memoryBytes) bytes, but a window of this run takes \(windowBytes) (\(source.windowFrames) "
          + "frames of \(source.frameBytes)); give --memory \(windowBytes) or more, or a smaller --window, which changes "
          + "the order of the tokens")
    }
    reader = try TrainingReader(source, batchSize: batchSize)
    normalizationScale = stream.scale
    self.target = targetStream.map { TargetShape(width: $0.width, normalizationScale: $0.scale) }
    provenance = SAELensFormat.Provenance(
      modelName: nil, hookName: hook, targetHook: targetHook, context: cache.manifest.context,
      prependsBOS: cache.manifest.identity.tokens.bos != nil, weightsDigest: cache.manifest.identity.weights,
      streamKey: stream.streamKey)
    let statistics = stream.statistics
    let median = (statistics?.medianSquaredNorm ?? 0).squareRoot()
    farTokens = (
      statistics?.nOutliers ?? 0, statistics?.nTokens ?? 0, median > 0 ? (statistics?.maxNorm ?? 0) / median : 0
    )
    let outliers = try options.filter.maxNormRatio.map {
      DataIdentity.Outliers(maxNorm: try cache.maxNorm(ofHook: name, ratio: $0), tokens: source.nOutliers)
    }
    identity = DataIdentity(
      stream: stream.streamKey, target: targetStream?.streamKey, text: cache.manifest.generations.last?.chain ?? "",
      sequences: cache.manifest.nSequences,
      heldOut: cache.manifest.heldOut.count, windowFrames: source.windowFrames,
      skipped: source.skipped.isEmpty ? nil : source.skipped, outliers: outliers)
  }

  package var width: Int { reader.width }
  package var tokensPerEpoch: Int { reader.nTokensPerEpoch }
  package var secondsWaited: Double { reader.secondsWaited }

  package func mixing(batch index: Int) -> BatchMixing? { reader.mixing(batch: index) }

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

  package func read(batch index: Int, into batch: inout Matrix, target: inout Matrix) throws {
    try read(batch: index, into: &batch)
    if reader.widths.count > 1 { try target.withMutableSpan { try reader.read(batch: index, hook: 1, into: &$0) } }
  }
}
