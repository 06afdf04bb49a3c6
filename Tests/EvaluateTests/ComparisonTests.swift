import Evaluate
import Foundation
import SAE
import TestSupport
import Testing

@Suite struct ComparisonTests {
  /// A run with sums around the values given; the noise is of the sequence and the run's name.
  private func run(
    _ name: String, l0: Double, ceIncrease: Double, alive: Int, later: Double = 1, hook: String = "h",
    sequences: Int = 30
  ) throws -> Evaluation.Evaluated {
    var random = SeededGenerator(seed: UInt64(name.utf8.reduce(7) { $0 * 31 % 65_521 + Int($1) }))
    func noise() -> Double { Double.random(in: 0.8...1.2, using: &random) }
    var own = SequenceSums.Errors(hook: hook, width: 4)
    var stream = SequenceSums.Errors(hook: "later", width: 4)
    (own.variance, stream.variance) = (8, 40)
    var sums = SequenceSums(own: own, downstream: [stream])
    for sequence in 0..<sequences {
      let tokens = 10 + sequence % 3
      sums.tokens.append(tokens)
      sums.scored.append(tokens - 1)
      sums.active.append(l0 * Double(tokens) * noise())
      sums.ceOriginal.append(Double(tokens - 1) * (1 + Double(sequence % 5)))
      sums.ceSpliced.append(sums.ceOriginal[sequence] + Double(tokens - 1) * ceIncrease * noise())
      sums.kl.append(Double(tokens - 1) * ceIncrease * noise())
      sums.own.squares.append(Double(tokens) * 8 / l0 * noise())
      sums.downstream[0].squares.append(Double(tokens) * later * ceIncrease * noise())
    }
    let zeros = [Double](repeating: 0, count: sequences)
    (sums.ceZeroAblated, sums.ceMeanAblated, sums.distance) = (zeros, zeros, zeros)
    (sums.agreeing, sums.correctOriginal, sums.correctSpliced) = (zeros, zeros, zeros)
    let shape = SAEConfiguration(architecture: .topk, dIn: 4, dSAE: 100, k: 1)
    let result = EvaluationResult(run: name, hook: hook, shape, sums: sums, scale: 1, alive: alive)
    return .init(result: result, sums: sums)
  }

  private func sweeps() throws -> [Comparison.Member] {
    try [
      .init(group: "local", run: run("a", l0: 10, ceIncrease: 0.4, alive: 50)),
      .init(group: "local", run: run("b", l0: 40, ceIncrease: 0.1, alive: 90)),
      .init(group: "e2e", run: run("c", l0: 6, ceIncrease: 0.35, alive: 30, later: 3)),
      .init(group: "e2e", run: run("d", l0: 20, ceIncrease: 0.08, alive: 60, later: 3)),
    ]
  }

  /// L0 where the line through two runs has the CE increase asked for, from their sums alone.
  private func reading(
    _ a: Evaluation.Evaluated, _ b: Evaluation.Evaluated, at ce: Double, _ weights: [Int]
  ) -> Double? {
    func weighted(_ sums: [Double]) -> Double { zip(sums, weights).reduce(0.0) { $0 + $1.0 * Double($1.1) } }
    func mean(_ sums: [Double], per: [Int]) -> Double {
      weighted(sums) / weighted(per.map { Double($0) })
    }
    func increase(_ run: Evaluation.Evaluated) -> Double {
      mean(zip(run.sums.ceSpliced, run.sums.ceOriginal).map { $0 - $1 }, per: run.sums.scored)
    }
    let (x, y) = (increase(a), increase(b))
    guard (min(x, y)...max(x, y)).contains(ce) else { return nil }
    let (u, v) = (mean(a.sums.active, per: a.sums.tokens), mean(b.sums.active, per: b.sums.tokens))
    let t = (ce - x) / (y - x)
    return exp(log(u) + t * (log(v) - log(u)))
  }

  @Test func readingsRatiosAndIntervalsEqualTheNaiveOnes() throws {
    let members = try sweeps()
    let bootstrap = Bootstrap(count: 60, seed: 5)
    let comparison = try Comparison(members, at: [.ceIncrease: [0.2]], bootstrap: bootstrap)
    #expect(comparison.groups == ["local", "e2e"] && comparison.apart.isEmpty)
    let level = try #require(comparison.levels.first { $0.equal == .ceIncrease })
    #expect(level.value == 0.2 && level.missing.isEmpty && level.readings.map(\.group) == ["local", "e2e"])
    let runs = members.map(\.run)
    let once = [Int](repeating: 1, count: 30)
    let local = try #require(reading(runs[0], runs[1], at: 0.2, once))
    let e2e = try #require(reading(runs[2], runs[3], at: 0.2, once))
    func close(_ a: Double?, _ b: Double) -> Bool { a.map { abs($0 - b) < 1e-9 * abs(b) } ?? false }
    #expect(close(level.readings[0].l0.value, local) && close(level.readings[1].l0.value, e2e))
    let ratio = try #require(comparison.ratios.first)
    #expect(comparison.ratios.count == 1 && ratio.a == "local" && ratio.b == "e2e" && ratio.ceIncrease == 0.2)
    #expect(close(ratio.l0.value, local / e2e))
    // Paired: both groups of the same resample.
    var resampled: [Double] = []
    bootstrap.forEachResample(of: 30) { weights in
      if let a = reading(runs[0], runs[1], at: 0.2, weights), let b = reading(runs[2], runs[3], at: 0.2, weights) {
        resampled.append(a / b)
      }
    }
    #expect(resampled.count == 60)
    let expected = bootstrap.estimate(local / e2e, resampled: resampled)
    let (low, high) = (try #require(expected.low), try #require(expected.high))
    #expect(close(ratio.l0.low, low) && close(ratio.l0.high, high))
    #expect(low < local / e2e && local / e2e < high)
    // Alive latents are those of the whole text; between 90 at 0.1 and 50 at 0.4, about.
    #expect(level.readings[0].alive.value > 70 && level.readings[0].alive.value < 80)
    // Later errors are three times as large at the same increase.
    #expect(ratio.downstream[0].value > 0.25 && ratio.downstream[0].value < 0.42)
    #expect(
      abs(level.readings[0].downstream[0].fvu.value - level.readings[0].downstream[0].mse.value * 4 / 40) < 1e-12)
  }

  @Test func levelsByDefaultLieWithinAllGroups() throws {
    let comparison = try Comparison(sweeps(), bootstrap: Bootstrap(count: 40))
    for quantity in Quantity.allCases {
      let levels = comparison.levels.filter { $0.equal == quantity }
      #expect(levels.count == 3 && levels.allSatisfy { $0.missing.isEmpty && $0.readings.count == 2 })
    }
    // Alive: 50 to 60 are reached by both.
    #expect(comparison.levels.filter { $0.equal == .alive }.map(\.value) == [52.5, 55, 57.5])
    #expect(comparison.ratios.count == 3)
  }

  @Test func groupsThatDoNotReachAValueSaySo() throws {
    let members = try sweeps()
    let comparison = try Comparison(
      members, at: [.l0: [30], .alive: [1000]], bootstrap: Bootstrap(count: 5))
    let l0 = try #require(comparison.levels.first { $0.equal == .l0 })
    #expect(l0.readings.map(\.group) == ["local"] && l0.missing.map(\.group) == ["e2e"])
    #expect(abs(l0.missing[0].high - meanL0(members[3].run)) < 1e-9)
    #expect(comparison.levels.first { $0.equal == .alive }?.missing.map(\.high) == [90, 60])
  }

  private func meanL0(_ run: Evaluation.Evaluated) -> Double {
    run.sums.active.reduce(0, +) / Double(run.sums.tokens.reduce(0, +))
  }

  @Test func groupsApartAreNotCompared() throws {
    let comparison = try Comparison(
      [
        .init(group: "x", run: run("a", l0: 10, ceIncrease: 0.4, alive: 50)),
        .init(group: "x", run: run("b", l0: 20, ceIncrease: 0.3, alive: 60)),
        .init(group: "y", run: run("c", l0: 40, ceIncrease: 0.1, alive: 70)),
      ], bootstrap: Bootstrap(count: 5))
    #expect(comparison.apart == [.l0, .ceIncrease, .alive] && comparison.levels.isEmpty && comparison.ratios.isEmpty)
  }

  @Test func oneRunIsAGroupOfItsOwn() throws {
    let comparison = try Comparison(
      [.init(group: "x", run: run("a", l0: 10, ceIncrease: 0.4, alive: 50))], bootstrap: Bootstrap(count: 5))
    #expect(comparison.groups == ["x"] && comparison.apart.isEmpty && comparison.ratios.isEmpty)
  }

  @Test func runsThatCannotBeComparedAreRefused() throws {
    let first = Comparison.Member(group: "x", run: try run("a", l0: 10, ceIncrease: 0.4, alive: 50))
    #expect(
      throws: EvaluateError.mismatch("a is of h, b of g; compare runs of one hook")
    ) {
      _ = try Comparison(
        [first, .init(group: "x", run: run("b", l0: 10, ceIncrease: 0.4, alive: 50, hook: "g"))],
        bootstrap: Bootstrap(count: 5))
    }
    #expect(
      throws: EvaluateError.mismatch(
        "a and b were evaluated on different sequences or models; evaluate them together")
    ) {
      _ = try Comparison(
        [first, .init(group: "x", run: run("b", l0: 10, ceIncrease: 0.4, alive: 50, sequences: 29))],
        bootstrap: Bootstrap(count: 5))
    }
    #expect(throws: EvaluateError.invalid("no runs to compare")) {
      _ = try Comparison([], bootstrap: Bootstrap(count: 5))
    }
  }
}
