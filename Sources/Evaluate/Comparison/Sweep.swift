import Foundation

/// What runs are compared by.
package enum Quantity: String, Codable, CaseIterable, Sendable {
  /// Active latents per token.
  case l0
  /// CE(spliced) − CE(original), nats.
  case ceIncrease
  /// Latents active on at least one held-out token.
  case alive
}

/// One run as a point of its sweep.
package struct RunPoint: Sendable, Equatable {
  package var l0: Double
  package var ceIncrease: Double
  package var alive: Double
  package var kl: Double
  package var fvu: Double
  /// FVU and MSE of every later residual stream.
  package var downstream: [Double]
  package var downstreamMSE: [Double]

  package init(
    l0: Double, ceIncrease: Double, alive: Double, kl: Double = 0, fvu: Double = 0, downstream: [Double] = [],
    downstreamMSE: [Double] = []
  ) {
    (self.l0, self.ceIncrease, self.alive, self.kl, self.fvu) = (l0, ceIncrease, alive, kl, fvu)
    (self.downstream, self.downstreamMSE) = (downstream, downstreamMSE)
  }

  /// - Parameter weights: how often each held-out sequence counts; nil: once. The alive latents are those of the whole text,
  ///   and so are the variances.
  init(_ run: Evaluation.Evaluated, weights: [Int]? = nil) {
    let sums = run.sums
    l0 = sums.l0(weights: weights)
    ceIncrease = sums.ceIncrease(weights: weights)
    alive = Double(run.result.alive)
    kl = sums.perScored(sums.kl, weights: weights)
    fvu = sums.own.fvu(tokens: sums.tokens, weights: weights)
    downstream = sums.downstream.map { $0.fvu(tokens: sums.tokens, weights: weights) }
    downstreamMSE = sums.downstream.map { $0.mse(tokens: sums.tokens, weights: weights) }
  }

  package subscript(quantity: Quantity) -> Double {
    switch quantity {
    case .l0: l0
    case .ceIncrease: ceIncrease
    case .alive: alive
    }
  }

  /// What is interpolated: all quantities as they are but L0, of which it is the logarithm.
  fileprivate var coordinates: [Double] { [log(l0), ceIncrease, alive, kl, fvu] + downstream + downstreamMSE }

  fileprivate init(coordinates c: [Double]) {
    let n = (c.count - 5) / 2
    self.init(
      l0: exp(c[0]), ceIncrease: c[1], alive: c[2], kl: c[3], fvu: c[4], downstream: Array(c[5..<5 + n]),
      downstreamMSE: Array(c[(5 + n)...]))
  }
}

/// A sweep as a function of one quantity: piecewise linear between the runs that are neighbours in it, L0 by its logarithm
/// whether it is held equal or read off. Runs that are equal in it count as their mean. Nothing is extrapolated.
package struct Sweep: Sendable {
  private let knots: [(x: Double, coordinates: [Double])]
  private let quantity: Quantity

  /// Runs without active latents have no place.
  package init(_ points: [RunPoint], by quantity: Quantity) {
    self.quantity = quantity
    let points = points.filter { $0.l0 > 0 }.map { ($0[quantity], $0.coordinates) }
      .filter { $0.1.allSatisfy(\.isFinite) }.sorted { $0.0 < $1.0 }
    var knots: [(x: Double, coordinates: [Double])] = []
    var start = 0
    while start < points.count {
      let end = points[start...].firstIndex { $0.0 != points[start].0 } ?? points.count
      var mean = [Double](repeating: 0, count: points[start].1.count)
      for (_, coordinates) in points[start..<end] {
        for i in mean.indices { mean[i] += coordinates[i] / Double(end - start) }
      }
      knots.append((points[start].0, mean))
      start = end
    }
    self.knots = knots
  }

  /// What the sweep reaches; nil without runs.
  package var range: ClosedRange<Double>? {
    if let first = knots.first, let last = knots.last { first.x...last.x } else { nil }
  }

  /// The point where the quantity is `value`; nil where the sweep does not reach.
  package func point(at value: Double) -> RunPoint? {
    guard let range, range.contains(value), let next = knots.firstIndex(where: { $0.x >= value }) else { return nil }
    let upper = knots[next]
    if upper.x == value { return RunPoint(coordinates: upper.coordinates) }
    let lower = knots[next - 1]
    func place(_ x: Double) -> Double { quantity == .l0 ? log(x) : x }
    let t = (place(value) - place(lower.x)) / (place(upper.x) - place(lower.x))
    return RunPoint(coordinates: zip(lower.coordinates, upper.coordinates).map { $0 + t * ($1 - $0) })
  }
}
