/// How well batches are mixed: the number of different sequences that a batch's tokens come from. Tokens of one sequence
/// resemble each other, so a batch of few sequences tells a gradient less than its size promises.
public struct MixingMetric: Codable, Equatable, Sendable {
  public let batchSize: Int
  /// Batches that were looked at.
  public let nBatches: Int
  /// Different sequences per batch, on average.
  public let measured: Double
  /// The same if each batch were drawn at random from the tokens of its windows.
  public let expected: Double
  /// The same if each batch were drawn at random from all training tokens: what windows of the whole cache would give.
  public let ideal: Double
}

/// The same for one batch.
public struct BatchMixing: Equatable, Sendable {
  public let measured: Int
  public let expected: Double
}

extension TrainingReader {
  /// Measures batches `range`, at least one. Decodes nothing.
  public func mixing(batches range: Range<Int>) -> MixingMetric {
    precondition(!range.isEmpty, "no batches")
    var (measured, expected) = (0, 0.0)
    for batch in range {
      let mixing = mixing(batch: batch)
      measured += mixing.measured
      expected += mixing.expected
    }
    let tokens = order.windows.tokens
    let all = GroupSizes(tokens.counts.indices.lazy.flatMap { tokens.countsBySequence(ofFrame: $0) })
    return MixingMetric(
      batchSize: batchSize, nBatches: range.count, measured: Double(measured) / Double(range.count),
      expected: expected / Double(range.count), ideal: all.expectedDistinct(batchSize))
  }

  /// Measures one batch. Costs least for the batch that was read last: its window is at hand.
  public func mixing(batch index: Int) -> BatchMixing {
    var expected = 0.0
    order.forEachPiece(ofBatch: index) { expected += sequenceSizes(of: $0).expectedDistinct($0.range.count) }
    return BatchMixing(measured: Set(places(batch: index).lazy.map(\.sequence)).count, expected: expected)
  }

  /// Eligible tokens by sequence of the window that `piece` is of.
  private func sequenceSizes(of piece: TokenOrder.Piece) -> GroupSizes {
    let window = number(of: piece)
    if let counted, counted.window == window { return counted.sizes }
    let windows = order.windows
    var places: [Int] = []
    windows.epoch(piece.epoch).fill(&places, window: piece.window)
    let sizes = GroupSizes(places.lazy.flatMap { windows.tokens.countsBySequence(ofFrame: $0) })
    counted = (window, sizes)
    return sizes
  }
}

/// Groups of things, by how many each has: there are few sizes and many groups.
struct GroupSizes {
  /// Groups of each size, ascending.
  private let groups: [(size: Int, count: Int)]
  private let total: Int

  init(_ sizes: some Sequence<Int>) {
    var groups: [Int: Int] = [:]
    for size in sizes { groups[size, default: 0] += 1 }
    self.groups = groups.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
    total = groups.reduce(0) { $0 + $1.key * $1.value }
  }

  /// How many of the groups `n` things drawn without replacement come from, on average.
  ///
  ///     Σ over groups of 1 − C(N − m, n) / C(N, n),   N = Σ m,   C(N − m, n) / C(N, n) = Π_{j<m} (N − n − j) / (N − j)
  func expectedDistinct(_ n: Int) -> Double {
    precondition(n >= 0 && n <= total, "\(n) of \(total)")
    return groups.reduce(0) { sum, group in
      var missed = 1.0
      for j in 0..<group.size { missed *= max(0, Double(total - n - j)) / Double(total - j) }
      return sum + Double(group.count) * (1 - missed)
    }
  }
}
