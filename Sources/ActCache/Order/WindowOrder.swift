import Synchronization

/// The order in which tokens are read: a pure function of (seed, epoch, index) and of which tokens are eligible.
///
///     frames of the cache ─ keyed permutation of the epoch ─► windows of W frames
///     tokens of a window  ─ keyed shuffle of (epoch, window) ─► one after the other
///
/// It does not depend on hooks, batches, threads, look-ahead, or where a run began.
final class WindowOrder: Sendable {
  let seed: UInt64
  /// Frames per window: more mix better and need more memory.
  let windowFrames: Int
  let tokens: EligibleTokens
  let nTokensPerEpoch: Int
  /// Those asked for last: while one epoch ends, windows of the next are decoded.
  private let recent = Mutex<[Epoch]>([])

  init(tokens: EligibleTokens, seed: UInt64, windowFrames: Int) {
    precondition(windowFrames >= 1, "windows of \(windowFrames)")
    self.seed = seed
    self.windowFrames = windowFrames
    self.tokens = tokens
    nTokensPerEpoch = tokens.counts.reduce(0, +)
  }

  /// Windows of an epoch.
  var nWindows: Int { (tokens.counts.count + windowFrames - 1) / windowFrames }

  /// The frames of each window of an epoch, and how many tokens come before each.
  struct Epoch: Sendable {
    let number: Int
    private let permutation: KeyedPermutation
    private let windowFrames: Int
    /// nWindows + 1 values.
    let starts: [Int]

    fileprivate init(_ number: Int, seed: UInt64, counts: [Int], windowFrames: Int) {
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

    /// Replaces `places` by those of the frames of `window` among the eligible ones, in their order.
    func fill(_ places: inout [Int], window: Int) {
      places.removeAll(keepingCapacity: true)
      let first = window * windowFrames
      for place in first..<min(first + windowFrames, permutation.count) { places.append(permutation[place]) }
    }
  }

  func epoch(_ number: Int) -> Epoch {
    if let known = recent.withLock({ $0.first { $0.number == number } }) { return known }
    let epoch = Epoch(number, seed: seed, counts: tokens.counts, windowFrames: windowFrames)
    recent.withLock { recent in
      if recent.count == 2 { recent.removeFirst() }
      recent.append(epoch)
    }
    return epoch
  }

  /// Replaces `rows` by the tokens of a window in their order; slots count the frames at `places`.
  func fill(_ rows: inout [TrainingRow], window: Int, of epoch: Int, places: [Int], rowsPerFrame: Int) {
    rows.removeAll(keepingCapacity: true)
    for (slot, place) in places.enumerated() {
      tokens.appendRows(ofFrame: place, base: slot * rowsPerFrame, to: &rows)
    }
    var state = Key(seed).mixing(.tokens).mixing(UInt64(epoch)).mixing(UInt64(window)).value
    // Fisher and Yates, from the end. The bias of the multiplication is below n / 2^64.
    for i in stride(from: rows.count - 1, to: 0, by: -1) {
      state &+= 0x9E37_79B9_7F4A_7C15
      rows.swapAt(i, Int(mix(state).multipliedFullWidth(by: UInt64(i + 1)).high))
    }
  }
}
