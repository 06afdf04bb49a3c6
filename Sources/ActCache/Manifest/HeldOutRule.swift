/// Which sequences no training reader returns.
public struct HeldOutRule: Codable, Equatable, Sendable {
  /// Part of all sequences, 0 for none.
  public let fraction: Double
  /// At least so many sequences, but never more than half of the cache.
  public let minimum: Int
  public let seed: UInt64

  public init(fraction: Double = 0.02, minimum: Int = 64, seed: UInt64 = 0) {
    self.fraction = fraction
    self.minimum = minimum
    self.seed = seed
  }

  /// The held-out ones of the first `n` sequences, ascending: the first `k` of a keyed permutation of all.
  public func sequences(of n: Int) -> [Int] { sequences(ofGenerations: [n]) }

  /// The held-out sequences of a cache that has grown to `ends` sequences, one number per generation, ascending. What
  /// an earlier generation held out stays so, and what it trained on is never held out later: of the sequences that a
  /// generation adds, its own share is chosen among them alone.
  public func sequences(ofGenerations ends: [Int]) -> [Int] {
    var chosen: [Int] = []
    var start = 0
    for end in ends {
      chosen += share(of: start..<end, minimum: start == 0 ? minimum : 0)
      start = end
    }
    return chosen
  }

  private func share(of range: Range<Int>, minimum: Int) -> [Int] {
    let n = range.count
    guard fraction > 0, n > 0 else { return [] }
    let wanted = max(Double(minimum), (fraction * Double(n)).rounded(.up))
    let k = min(n / 2, Int(min(wanted, Double(n))))
    let permutation = KeyedPermutation(count: n, key: Key(seed).mixing(.heldOut).mixing(from: range.lowerBound).value)
    return (0..<k).map { range.lowerBound + permutation[$0] }.sorted()
  }
}
