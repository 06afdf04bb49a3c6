/// The middle and the ends of repeated measurements.
package struct Spread: Codable, Equatable, Sendable {
  package let median: Double
  package let min: Double
  package let max: Double
  package let repeats: Int
  /// What all of the repeats took together.
  package let seconds: Double

  /// - Parameters:
  ///   - values: one per repeat, at least one.
  ///   - seconds: how long they took together.
  package init(_ values: [Double], seconds: Double) {
    precondition(!values.isEmpty, "no repeat")
    let sorted = values.sorted()
    let middle = sorted.count / 2
    median = sorted.count % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
    (min, max, repeats) = (sorted[0], sorted[sorted.count - 1], sorted.count)
    self.seconds = seconds
  }

  /// The least that a figure is made of.
  package static let leastRepeats = 5

  /// Seconds of `body`: once without counting, then at least five times and for `atLeast` seconds, at most 100 times.
  package static func seconds(
    repeats: Int = Spread.leastRepeats, atLeast least: Double = 0.3, _ body: () throws -> Void
  ) rethrows -> Spread {
    try body()
    var values: [Double] = []
    var sum = 0.0
    while values.count < repeats || (sum < least && values.count < 100) {
      let start = ContinuousClock.now
      try body()
      let time = (ContinuousClock.now - start) / .seconds(1)
      values.append(time)
      sum += time
    }
    return Spread(values, seconds: sum)
  }

  /// `amount` per second, of a spread of seconds.
  package func rate(_ amount: Double) -> Spread {
    Spread(median: amount / median, min: amount / max, max: amount / min, repeats: repeats, seconds: seconds)
  }

  private init(median: Double, min: Double, max: Double, repeats: Int, seconds: Double) {
    self.median = median
    self.min = min
    self.max = max
    self.repeats = repeats
    self.seconds = seconds
  }
}
