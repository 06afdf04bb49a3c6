/// The order in which local training sees tokens: a pure function of (seed, epoch, index).
///
///     frames of the cache ─ keyed permutation of the epoch ─► windows of W frames
///     tokens of a window  ─ keyed shuffle of (epoch, window) ─► one after the other ─► batches
///
/// It does not depend on hooks, threads, look-ahead, or where a run began; batch b is found without what came before.
public struct TokenOrder: Sendable {
  public let seed: UInt64
  public let batchSize: Int
  /// Frames per window: more mix better and need more memory.
  public let windowFrames: Int
  /// Tokens of an epoch; the rest that fills no batch is left out (others each time).
  public let nTokensPerEpoch: Int
  public let nBatchesPerEpoch: Int
  private let tokens: EligibleTokens

  init(tokens: EligibleTokens, batchSize: Int, seed: UInt64, windowFrames: Int) throws {
    precondition(windowFrames >= 1 && batchSize >= 1, "windows of \(windowFrames), batches of \(batchSize)")
    self.seed = seed
    self.batchSize = batchSize
    self.windowFrames = windowFrames
    self.tokens = tokens
    nTokensPerEpoch = tokens.counts.reduce(0, +)
    nBatchesPerEpoch = nTokensPerEpoch / batchSize
    guard nBatchesPerEpoch > 0 else {
      throw ActCacheError.unsupported(
        "a batch of \(batchSize) tokens, but the cache has only \(nTokensPerEpoch) to train on; choose a smaller --batch "
          + "or harvest more --tokens")
    }
  }

  var nWindows: Int { (tokens.counts.count + windowFrames - 1) / windowFrames }

  /// A stretch of one window's tokens.
  struct Piece: Equatable {
    let epoch: Int
    let window: Int
    let range: Range<Int>
  }

  /// The frames of each window of an epoch, and how many tokens come before each.
  struct Epoch: Sendable {
    let number: Int
    private let permutation: KeyedPermutation
    private let windowFrames: Int
    /// nWindows + 1 values.
    let starts: [Int]

    init(_ number: Int, seed: UInt64, counts: [Int], windowFrames: Int) {
      self.number = number
      self.windowFrames = windowFrames
      permutation = KeyedPermutation(count: counts.count, key: Key(seed).mixing(.frames).mixing(UInt64(number)).value)
      var starts = [0]
      var sum = 0
      for place in counts.indices {
        sum += counts[permutation[place]]
        if (place + 1) % windowFrames == 0 || place + 1 == counts.count { starts.append(sum) }
      }
      self.starts = starts
    }

    /// Numbers of the frames of `window`, in their order.
    func frames(of window: Int) -> [Int] {
      let first = window * windowFrames
      return (first..<min(first + windowFrames, permutation.count)).map { permutation[$0] }
    }
  }

  func epoch(_ number: Int) -> Epoch {
    Epoch(number, seed: seed, counts: tokens.counts, windowFrames: windowFrames)
  }

  /// Epoch of batch `index`, and its number therein.
  func place(ofBatch index: Int) -> (epoch: Int, batch: Int) {
    let (epoch, batch) = index.quotientAndRemainder(dividingBy: nBatchesPerEpoch)
    return (epoch, batch)
  }

  /// Where the tokens of batch number `batch` of `epoch` lie.
  func pieces(ofBatch batch: Int, in epoch: Epoch) -> [Piece] {
    var offset = batch * batchSize
    let end = offset + batchSize
    // The last window that starts at or before the offset.
    var low = 0
    var high = epoch.starts.count - 1
    while high - low > 1 {
      let middle = (low + high) / 2
      if epoch.starts[middle] <= offset { low = middle } else { high = middle }
    }
    var pieces: [Piece] = []
    var window = low
    while offset < end {
      let stop = min(end, epoch.starts[window + 1])
      if stop > offset {
        let start = epoch.starts[window]
        pieces.append(Piece(epoch: epoch.number, window: window, range: (offset - start)..<(stop - start)))
      }
      offset = max(offset, stop)
      window += 1
    }
    return pieces
  }

  /// The tokens of a window in their order, each as slot · rowsPerFrame + row, where slot counts `frames`.
  func rows(of window: Int, in epoch: Epoch, frames: [Int], rowsPerFrame: Int) -> [UInt32] {
    var rows: [UInt32] = []
    rows.reserveCapacity(epoch.starts[window + 1] - epoch.starts[window])
    for (slot, frame) in frames.enumerated() {
      tokens.appendRows(ofFrame: frame, base: slot * rowsPerFrame, to: &rows)
    }
    var state = Key(seed).mixing(.tokens).mixing(UInt64(epoch.number)).mixing(UInt64(window)).value
    // Fisher and Yates, from the end. The bias of the multiplication is below n / 2^64.
    for i in stride(from: rows.count - 1, to: 0, by: -1) {
      state &+= 0x9E37_79B9_7F4A_7C15
      rows.swapAt(i, Int(mix(state).multipliedFullWidth(by: UInt64(i + 1)).high))
    }
    return rows
  }
}

/// A token of a cache.
public struct TokenPlace: Equatable, Sendable {
  /// Number of the sequence in the cache.
  public let sequence: Int
  public let position: Int
}
