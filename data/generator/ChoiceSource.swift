import Foundation

/// Seeded random choices that keep account of what they cost.
///
/// Every choice adds −ln p to `nats`, so that after a story `nats` is −ln of the probability of the *path* through the
/// grammar. Different paths may give the same text, so it bounds −ln p(text) from above.
///
/// The stream is SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
struct ChoiceSource {
  private var state: UInt64
  /// −ln of the probability of all choices made so far.
  private(set) var nats = 0.0

  /// The stream of story `index` under `seed`; stories are independent of one another and of their number.
  init(seed: UInt64, index: UInt64) {
    state = seed
    let offset = next()
    state = offset ^ (index &* 0xD6E8_FEB8_6659_FD93)
    _ = next()
  }

  private mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }

  /// An index below `count`, all equally likely (up to 2⁻⁶⁴·count). `count` must be positive.
  mutating func index(below count: Int) -> Int {
    precondition(count > 0, "a choice needs at least one alternative, got \(count)")
    nats += log(Double(count))
    return Int(next().multipliedFullWidth(by: UInt64(count)).high)
  }

  /// An index into `weights`, with probability proportional to the weight there.
  mutating func index(weights: [Int]) -> Int {
    let total = weights.reduce(0, +)
    precondition(total > 0, "a choice needs a positive weight, got \(weights)")
    var rest = Int(next().multipliedFullWidth(by: UInt64(total)).high)
    var chosen = 0
    while rest >= weights[chosen] {
      rest -= weights[chosen]
      chosen += 1
    }
    nats += log(Double(total) / Double(weights[chosen]))
    return chosen
  }

  mutating func pick<T>(_ items: [T]) -> T { items[index(below: items.count)] }

  /// True with `percent` in 100.
  mutating func chance(_ percent: Int) -> Bool { index(weights: [percent, 100 - percent]) == 0 }
}
