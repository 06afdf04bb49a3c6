import Foundation

/// Sweeps side by side where they are equal in one quantity.
package struct Comparison: Codable, Sendable {
  package struct Member: Sendable {
    package var group: String
    package var run: Evaluation.Evaluated

    package init(group: String, run: Evaluation.Evaluated) {
      (self.group, self.run) = (group, run)
    }
  }

  /// A residual stream after the hook.
  package struct Stream: Codable, Sendable {
    package var hook: String
    package var mse: Estimate
    package var fvu: Estimate
  }

  /// What a group is where a quantity has a value.
  package struct Reading: Codable, Sendable {
    package var group: String
    package var l0, ceIncrease, alive, kl, fvu: Estimate
    package var downstream: [Stream]
  }

  package struct Level: Codable, Sendable {
    /// What is held equal, and at which value.
    package var equal: Quantity
    package var value: Double
    /// Of the groups that reach it.
    package var readings: [Reading]
    /// Groups that do not, with what they reach.
    package var missing: [Range]
  }

  package struct Range: Codable, Sendable {
    package var group: String
    package var low: Double
    package var high: Double
  }

  /// Two groups at equal CE increase.
  package struct Ratio: Codable, Sendable {
    package var a, b: String
    package var ceIncrease: Double
    /// Of A over B.
    package var l0: Estimate
    package var alive: Estimate
    /// Per later residual stream, of the MSE.
    package var downstream: [Estimate]
  }

  /// Names of the groups, in the order in which they were first met.
  package let groups: [String]
  package let levels: [Level]
  /// Quantities in which the groups have no value in common.
  package let apart: [Quantity]
  package let ratios: [Ratio]
  package let resamples: Int
  package let seed: UInt64

  /// - Parameters:
  ///   - members: runs on the same hook and the same sequences of one cache.
  ///   - at: values to compare at, per quantity; where none is given, at a quarter, half and three quarters of what all
  ///     groups reach (for L0 of its logarithm).
  /// - Throws: `EvaluateError.mismatch` for runs of different hooks or sequences.
  package init(_ members: [Member], at values: [Quantity: [Double]] = [:], bootstrap: Bootstrap) throws {
    guard let first = members.first?.run else { throw EvaluateError.invalid("no runs to compare") }
    for run in members.map(\.run) where run.result.hook != first.result.hook {
      throw EvaluateError.mismatch(
        "\(first.result.run) is of \(first.result.hook), \(run.result.run) of \(run.result.hook); compare runs of one hook"
      )
    }
    // Machines with other kernels give other last digits.
    func agrees(_ sums: SequenceSums) -> Bool {
      sums.tokens == first.sums.tokens
        && zip(sums.ceOriginal, first.sums.ceOriginal).allSatisfy { abs($0 - $1) <= 1e-3 * max(1, abs($1)) }
    }
    for run in members.map(\.run) where !agrees(run.sums) {
      throw EvaluateError.mismatch(
        "\(first.result.run) and \(run.result.run) were evaluated on different sequences or models; evaluate them together"
      )
    }
    var groups: [String] = []
    for member in members where !groups.contains(member.group) { groups.append(member.group) }
    let places = groups.map { group in members.indices.filter { members[$0].group == group } }
    let points = members.map { RunPoint($0.run) }
    let sweeps = Dictionary(
      uniqueKeysWithValues: Quantity.allCases.map { quantity in
        (quantity, places.map { Sweep($0.map { points[$0] }, by: quantity) })
      })

    // What to read off, first of the groups themselves, then of the resamples.
    var questions: [(equal: Quantity, value: Double)] = []
    var apart: [Quantity] = []
    for quantity in Quantity.allCases {
      let found = values[quantity] ?? Self.levels(of: sweeps[quantity] ?? [], quantity)
      if found.isEmpty && groups.count > 1 { apart.append(quantity) }
      questions += found.map { (quantity, $0) }
    }
    var pairs: [(a: Int, b: Int, question: Int)] = []
    for a in groups.indices {
      for b in groups.indices where a < b {
        let both = [a, b].compactMap { sweeps[.ceIncrease]?[$0] }
        for value in values[.ceIncrease] ?? Self.levels(of: both, .ceIncrease) {
          pairs.append((a, b, questions.count))
          questions.append((.ceIncrease, value))
        }
      }
    }
    func read(_ points: [RunPoint]) -> [[RunPoint?]] {
      let sweeps = Dictionary(
        uniqueKeysWithValues: Quantity.allCases.map { quantity in
          (quantity, places.map { Sweep($0.map { points[$0] }, by: quantity) })
        })
      return questions.map { question in
        (sweeps[question.equal] ?? []).map { $0.point(at: question.value) }
      }
    }
    let readings = read(points)
    var resampled: [[[RunPoint?]]] = []
    bootstrap.forEachResample(of: first.sums.tokens.count) { weights in
      resampled.append(read(members.map { RunPoint($0.run, weights: weights) }))
    }
    func estimate(_ question: Int, _ value: Double, _ quantity: ([RunPoint?]) -> Double?) -> Estimate {
      bootstrap.estimate(value, resampled: resampled.map { quantity($0[question]) ?? .nan })
    }

    let streams = first.sums.downstream.map(\.hook)
    self.groups = groups
    self.apart = apart
    resamples = bootstrap.count
    seed = bootstrap.seed
    let nLevels = questions.count - pairs.count
    levels = (0..<nLevels).map { q in
      let (equal, value) = questions[q]
      var level = Level(equal: equal, value: value, readings: [], missing: [])
      for (g, group) in groups.enumerated() {
        guard let point = readings[q][g] else {
          let range = sweeps[equal]?[g].range
          level.missing.append(.init(group: group, low: range?.lowerBound ?? 0, high: range?.upperBound ?? 0))
          continue
        }
        func of(_ path: (RunPoint) -> Double) -> Estimate { estimate(q, path(point)) { $0[g].map(path) } }
        level.readings.append(
          Reading(
            group: group, l0: of(\.l0), ceIncrease: of(\.ceIncrease), alive: of(\.alive), kl: of(\.kl), fvu: of(\.fvu),
            downstream: streams.indices.map { i in
              Stream(hook: streams[i], mse: of { $0.downstreamMSE[i] }, fvu: of { $0.downstream[i] })
            }))
      }
      return level
    }
    ratios = pairs.compactMap { a, b, q in
      guard let x = readings[q][a], let y = readings[q][b] else { return nil }
      func of(_ path: (RunPoint) -> Double) -> Estimate {
        estimate(q, path(x) / path(y)) { points in
          if let x = points[a], let y = points[b] { path(x) / path(y) } else { nil }
        }
      }
      return Ratio(
        a: groups[a], b: groups[b], ceIncrease: questions[q].value, l0: of(\.l0), alive: of(\.alive),
        downstream: streams.indices.map { i in of { $0.downstreamMSE[i] } })
    }
  }

  /// A quarter, half and three quarters of what all sweeps reach; one value if that is a point, none if it is nothing.
  private static func levels(of sweeps: [Sweep], _ quantity: Quantity) -> [Double] {
    let ranges = sweeps.compactMap(\.range)
    guard ranges.count == sweeps.count, let low = ranges.map(\.lowerBound).max(),
      let high = ranges.map(\.upperBound).min(), low <= high
    else { return [] }
    if low == high { return [low] }
    return [0.25, 0.5, 0.75].map { share in
      quantity == .l0 ? low * pow(high / low, share) : low + share * (high - low)
    }
  }
}
