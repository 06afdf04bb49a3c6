import Evaluate
import Foundation
import Testing

@Suite struct SweepTests {
  private let points = [
    RunPoint(l0: 40, ceIncrease: 0.1, alive: 90, kl: 0.05, fvu: 0.1, downstream: [0.2], downstreamMSE: [2]),
    RunPoint(l0: 10, ceIncrease: 0.5, alive: 50, kl: 0.45, fvu: 0.3, downstream: [0.6], downstreamMSE: [6]),
    RunPoint(l0: 20, ceIncrease: 0.3, alive: 70, kl: 0.25, fvu: 0.2, downstream: [0.4], downstreamMSE: [4]),
  ]

  private func close(_ a: Double?, _ b: Double) -> Bool { a.map { abs($0 - b) < 1e-12 * max(1, abs(b)) } ?? false }

  @Test func valuesAreLinearInTheLogarithmOfL0() throws {
    let sweep = Sweep(points, by: .l0)
    #expect(sweep.range == 10...40)
    let middle = try #require(sweep.point(at: 10 * 2.0.squareRoot()))
    #expect(close(middle.ceIncrease, 0.4) && close(middle.alive, 60) && close(middle.kl, 0.35))
    #expect(close(middle.fvu, 0.25) && close(middle.downstream[0], 0.5) && close(middle.downstreamMSE[0], 5))
    #expect(close(middle.l0, 10 * 2.0.squareRoot()))
    for point in points { #expect(close(sweep.point(at: point.l0)?.ceIncrease, point.ceIncrease)) }
  }

  @Test func l0IsReadOffByItsLogarithm() throws {
    let sweep = Sweep(points, by: .ceIncrease)
    #expect(sweep.range == 0.1...0.5)
    #expect(close(sweep.point(at: 0.4)?.l0, 10 * 2.0.squareRoot()))
    #expect(close(sweep.point(at: 0.2)?.l0, 20 * 2.0.squareRoot()))
    #expect(close(Sweep(points, by: .alive).point(at: 80)?.ceIncrease, 0.2))
  }

  @Test func nothingIsExtrapolated() {
    let sweep = Sweep(points, by: .l0)
    #expect(sweep.point(at: 9.999) == nil && sweep.point(at: 40.001) == nil && sweep.point(at: .nan) == nil)
    #expect(Sweep([], by: .l0).range == nil && Sweep([], by: .l0).point(at: 1) == nil)
  }

  @Test func oneRunReachesOnlyItself() {
    let sweep = Sweep([points[1]], by: .l0)
    #expect(sweep.range == 10...10 && close(sweep.point(at: 10)?.ceIncrease, 0.5) && sweep.point(at: 11) == nil)
  }

  @Test func equalRunsCountAsTheirMean() {
    let twins = [RunPoint(l0: 16, ceIncrease: 0.2, alive: 60), RunPoint(l0: 16, ceIncrease: 0.4, alive: 80)]
    let sweep = Sweep(twins + [RunPoint(l0: 64, ceIncrease: 0.1, alive: 90)], by: .l0)
    #expect(close(sweep.point(at: 16)?.ceIncrease, 0.3) && close(sweep.point(at: 16)?.alive, 70))
    #expect(close(sweep.point(at: 32)?.ceIncrease, 0.2))
    #expect(close(Sweep(twins, by: .l0).point(at: 16)?.ceIncrease, 0.3))
  }

  @Test func runsWithoutActiveLatentsHaveNoPlace() {
    let sweep = Sweep(points + [RunPoint(l0: 0, ceIncrease: 9, alive: 0)], by: .ceIncrease)
    #expect(sweep.range == 0.1...0.5)
  }
}
