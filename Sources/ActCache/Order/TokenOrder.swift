/// Batches: the tokens of `WindowOrder` in pieces of one size. Batch b is found without what came before.
public struct TokenOrder: Sendable {
  public let batchSize: Int
  public let nBatchesPerEpoch: Int
  let windows: WindowOrder

  public var seed: UInt64 { windows.seed }
  /// Frames per window: more mix better and need more memory.
  public var windowFrames: Int { windows.windowFrames }
  /// Tokens of an epoch; the rest that fills no batch is left out (others each time).
  public var nTokensPerEpoch: Int { windows.nTokensPerEpoch }

  /// Throws `ActCacheError.unsupported` if the cache has not enough tokens for one batch.
  init(_ windows: WindowOrder, batchSize: Int) throws(ActCacheError) {
    guard batchSize >= 1 else { throw .unsupported("batch size \(batchSize): allowed are at least 1") }
    self.windows = windows
    self.batchSize = batchSize
    nBatchesPerEpoch = windows.nTokensPerEpoch / batchSize
    guard nBatchesPerEpoch > 0 else {
      throw .unsupported(
        "a batch of \(batchSize) tokens, but the cache has only \(windows.nTokensPerEpoch) to train on; choose a smaller "
          + "--batch or harvest more --tokens")
    }
  }

  /// A stretch of one window's tokens.
  struct Piece: Equatable {
    let epoch: Int
    let window: Int
    let range: Range<Int>
  }

  /// Calls `body` with the pieces of batch `index` (0, 1, … without end), one after the other.
  func forEachPiece(ofBatch index: Int, _ body: (Piece) throws -> Void) rethrows {
    precondition(index >= 0, "batch \(index)")
    let (number, batch) = index.quotientAndRemainder(dividingBy: nBatchesPerEpoch)
    let epoch = windows.epoch(number)
    var offset = batch * batchSize
    let end = offset + batchSize
    // The last window that starts at or before the offset.
    var window = 0
    var high = epoch.starts.count - 1
    while high - window > 1 {
      let middle = (window + high) / 2
      if epoch.starts[middle] <= offset { window = middle } else { high = middle }
    }
    while offset < end {
      let start = epoch.starts[window]
      let stop = min(end, epoch.starts[window + 1])
      if stop > offset {
        try body(Piece(epoch: number, window: window, range: (offset - start)..<(stop - start)))
        offset = stop
      }
      window += 1
    }
  }
}

/// A token of a cache.
public struct TokenPlace: Equatable, Sendable {
  /// Number of the sequence in the cache.
  public let sequence: Int
  public let position: Int
}
