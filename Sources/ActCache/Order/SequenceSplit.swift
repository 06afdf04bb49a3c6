/// A sequence that training may see. Only `SequenceSplit` makes one, so whoever asks with it cannot get held-out data.
public struct TrainingSequence: Hashable, Sendable {
  /// Its number in the cache.
  public let number: Int
  fileprivate init(_ number: Int) { self.number = number }
}

/// A sequence that no training reader returns. Only `SequenceSplit` makes one.
public struct HeldOutSequence: Hashable, Sendable {
  /// Its number in the cache.
  public let number: Int
  fileprivate init(_ number: Int) { self.number = number }
}

/// A number of either kind.
protocol SplitSequence: Sendable { var number: Int { get } }
extension TrainingSequence: SplitSequence {}
extension HeldOutSequence: SplitSequence {}

/// Parts the sequences of a cache into those for training and those held out.
struct SequenceSplit: Sendable {
  let nSequences: Int
  let heldOut: [HeldOutSequence]
  /// One bit per sequence: held out.
  private var bits: [UInt64]

  /// - Parameter heldOut: numbers below `nSequences`, ascending.
  init(nSequences: Int, heldOut: [Int]) {
    self.nSequences = nSequences
    self.heldOut = heldOut.map { HeldOutSequence($0) }
    bits = [UInt64](repeating: 0, count: (nSequences + 63) / 64)
    for sequence in heldOut { bits[sequence >> 6] |= 1 << UInt64(sequence & 63) }
  }

  /// nil if sequence `number` is held out.
  func training(_ number: Int) -> TrainingSequence? {
    bits[number >> 6] >> UInt64(number & 63) & 1 == 1 ? nil : TrainingSequence(number)
  }
}

extension CacheReader {
  var split: SequenceSplit { SequenceSplit(nSequences: manifest.nSequences, heldOut: manifest.heldOut) }
}
