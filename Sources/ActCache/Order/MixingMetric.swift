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

extension TrainingReader {
  /// Measures batches `range`, at least one. Decodes nothing.
  public func mixing(batches range: Range<Int>) -> MixingMetric {
    precondition(!range.isEmpty, "no batches")
    let windows = order.windows
    var (measured, expected) = (0, 0.0)
    for batch in range {
      measured += Set(places(batch: batch).map(\.sequence)).count
      order.forEachPiece(ofBatch: batch) { piece in
        var places: [Int] = []
        windows.epoch(piece.epoch).fill(&places, window: piece.window)
        expected += expectedDistinct(
          piece.range.count, of: places.flatMap { windows.tokens.countsBySequence(ofFrame: $0) })
      }
    }
    let all = windows.tokens.counts.indices.flatMap { windows.tokens.countsBySequence(ofFrame: $0) }
    return MixingMetric(
      batchSize: batchSize, nBatches: range.count, measured: Double(measured) / Double(range.count),
      expected: expected / Double(range.count), ideal: expectedDistinct(batchSize, of: all))
  }
}

/// How many of several groups `n` things drawn without replacement come from, on average; `sizes` are those of the
/// groups.
///
///     Σ over groups of 1 − C(N − m, n) / C(N, n),   N = Σ m,   C(N − m, n) / C(N, n) = Π_{j<m} (N − n − j) / (N − j)
func expectedDistinct(_ n: Int, of sizes: [Int]) -> Double {
  let total = sizes.reduce(0, +)
  precondition(n >= 0 && n <= total, "\(n) of \(total)")
  // There are few sizes and many groups.
  var groups: [Int: Int] = [:]
  for size in sizes { groups[size, default: 0] += 1 }
  return groups.sorted { $0.key < $1.key }.reduce(0) { sum, group in
    let (size, count) = group
    var missed = 1.0
    for j in 0..<size { missed *= max(0, Double(total - n - j)) / Double(total - j) }
    return sum + Double(count) * (1 - missed)
  }
}
