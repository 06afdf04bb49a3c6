/// What to do about frames whose bytes are damaged.
public enum CorruptionPolicy: String, Codable, CaseIterable, Sendable {
  /// An error that names the file, when a frame is read.
  case stop
  /// All frames are checked before the order is made, and damaged ones left out of it. Damage that appears later is an
  /// error.
  case skip
}

/// The shuffled tokens of a cache, decoded once for any number of readers (`TrainingReader`). Held-out sequences never
/// appear: their tokens are no part of the order.
public final class TrainingSource: Sendable {
  /// Values per token of each hook.
  public let widths: [Int]
  /// Frames that are left out as damaged, ascending: with them the order is a function of (seed, epoch, index).
  public let skipped: [SkippedFrame]
  /// Decoded bytes of a whole frame, of all hooks.
  package let frameBytes: Int
  let cache: CacheReader
  let loader: WindowLoader

  public var seed: UInt64 { loader.order.seed }
  /// Frames that are shuffled together.
  public var windowFrames: Int { loader.order.windowFrames }
  /// Tokens of an epoch.
  public var nTokensPerEpoch: Int { loader.order.nTokensPerEpoch }
  /// Tokens that are left out because of their norm (`TokenFilter.maxNormRatio`).
  public var nOutliers: Int { loader.order.tokens.nOutliers }
  /// Frames decoded so far, of all hooks.
  public var nDecodedFrames: Int { loader.nDecodedFrames }

  /// - Parameters:
  ///   - hooks: one hook, or several whose activations at the same tokens are wanted together.
  ///   - windowFrames: frames that are shuffled together; part of the order. By default what half of `memoryBytes` has
  ///     room for (which depends on the hooks: give a number to see two hooks in one order).
  ///   - memoryBytes: for decoded windows, the one in use and those decoded ahead; one window is kept in any case, and
  ///     one for each further place where a reader is.
  ///   - lookAhead: windows to decode ahead, as far as `memoryBytes` has room. Does not change the order.
  ///   - nThreads: that decode. Does not change the order.
  ///   - leavingOut: frames that are not read in any case, such as those that a run has skipped before.
  /// - Throws: `ActCacheError`.
  public init(
    _ cache: CacheReader, hooks: [String], seed: UInt64, filter: TokenFilter = TokenFilter(), windowFrames: Int? = nil,
    memoryBytes: Int = 256 << 20, lookAhead: Int = 1, nThreads: Int = 2, onCorrupt: CorruptionPolicy = .stop,
    leavingOut: [SkippedFrame] = []
  ) throws {
    precondition(!hooks.isEmpty, "no hook")
    guard lookAhead >= 0, windowFrames ?? 1 >= 1, memoryBytes >= 0, (1...64).contains(nThreads) else {
      throw ActCacheError.unsupported(
        "window of \(windowFrames ?? 1) frames, \(memoryBytes) bytes of memory, look-ahead \(lookAhead), \(nThreads) "
          + "threads: allowed are at least 1, 0, 0 and 1...64")
    }
    if let ratio = filter.maxNormRatio, !(ratio > 0 && ratio.isFinite) {
      throw ActCacheError.unsupported("norms up to \(ratio) times the median: allowed are finite numbers above 0")
    }
    let streams = try hooks.map {
      WindowLoader.Stream(name: $0, coding: try cache.coding(ofStream: StreamSpec.hooksPrefix + $0))
    }
    let damaged =
      try onCorrupt == .skip ? cache.damagedFrames(hooks: hooks, tokens: filter.readsTokens(of: cache)) : []
    let known = Set(leavingOut.map(\.frame))
    skipped = (leavingOut + damaged.filter { !known.contains($0.frame) }).sorted { $0.frame < $1.frame }
    let tokens = try EligibleTokens(cache, hooks: hooks, filter: filter, leavingOut: Set(skipped.map(\.frame)))
    let rowsPerFrame = cache.manifest.spec.sequencesPerFrame * cache.manifest.context
    frameBytes = try hooks.reduce(0) { try $0 + cache.frameBytes(ofHook: $1) }
    // Rows of a window are numbered with 32 bits.
    let frames = max(
      1, min(windowFrames ?? memoryBytes / 2 / frameBytes, tokens.frames.count, Int(UInt32.max) / rowsPerFrame))
    let room = memoryBytes / frameBytes / frames
    loader = WindowLoader(
      cache: cache, order: WindowOrder(tokens: tokens, seed: seed, windowFrames: frames), streams: streams,
      lookAhead: min(lookAhead, max(0, room - 1)), nThreads: nThreads)
    widths = streams.map(\.coding.width)
    self.cache = cache
  }
}

extension CacheReader {
  /// Bytes of a whole frame of a hook, decoded. Throws as `hook` does.
  package func frameBytes(ofHook name: String) throws -> Int {
    let coding = try coding(ofStream: StreamSpec.hooksPrefix + name)
    return manifest.spec.sequencesPerFrame * manifest.context * coding.rowByteCount
  }
}
