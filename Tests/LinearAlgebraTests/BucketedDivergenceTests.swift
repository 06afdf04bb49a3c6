import Foundation
import LinearAlgebra
import TestSupport
import Testing

@Suite struct BucketedDivergenceTests {
  /// The definition, in double precision: KL and its gradient by the logits.
  private func naive(_ z: [Double], _ tokens: [Int], _ p: [Double], _ r: Double) -> (kl: Double, gradient: [Double]) {
    let top = z.max() ?? 0
    let sum = z.reduce(0) { $0 + Foundation.exp($1 - top) }
    let q = z.map { Foundation.exp($0 - top) / sum }
    let tail = z.indices.filter { !tokens.contains($0) }
    let qTail = tail.reduce(0) { $0 + q[$1] }
    var kl = r > 0 ? r * log(r / qTail) : 0
    var gradient = q
    for (token, p) in zip(tokens, p) {
      if p > 0 { kl += p * log(p / q[token]) }
      gradient[token] -= p
    }
    for i in tail { gradient[i] -= r * q[i] / qTail }
    return (kl, gradient)
  }

  private struct Case {
    var logits: [[Float]] = []
    var targets: BucketTargets

    /// Rows that list some tokens, all of them, one, and none (padding).
    init(rows: Int, vocabulary v: Int, seed: UInt64, spread: Float = 4) {
      var random = SeededGenerator(seed: seed)
      var (starts, tokens, probabilities, tails): ([Int], [UInt32], [Float], [Float]) = ([0], [], [], [])
      for i in 0..<rows {
        logits.append(random.floats(v, in: -spread...spread))
        let k = [min(3, v), v, 1, 0, v / 2][i % 5]
        let listed = Array(0..<v).shuffled(using: &random).prefix(k)
        let weights = random.floats(k + 1, in: 0.01...1).map { $0 * $0 * $0 }
        let total = weights.prefix(k).reduce(k == v ? 0 : weights[k]) { $0 + $1 }
        for (token, weight) in zip(listed, weights) {
          tokens.append(UInt32(token))
          probabilities.append(weight / total)
        }
        starts.append(tokens.count)
        tails.append(k == v ? 0 : weights[k] / total)
      }
      targets = BucketTargets(starts: starts, tokens: tokens, probabilities: probabilities, tailMasses: tails)
    }

    func row(_ i: Int) -> (tokens: [Int], p: [Double], r: Double) {
      let range = targets.starts[i]..<targets.starts[i + 1]
      return (
        targets.tokens[range].map { Int($0) }, targets.probabilities[range].map { Double($0) },
        Double(targets.tailMasses[i])
      )
    }
  }

  @Test(arguments: [(0, 5), (1, 1), (5, 2), (5, 17), (6, 33), (7, 1030)])
  func divergenceAndGradientEqualTheDefinition(rows: Int, vocabulary: Int) {
    let example = Case(rows: rows, vocabulary: vocabulary, seed: UInt64(vocabulary))
    let weights = (0..<rows).map { Float($0) - 1.5 }
    let logits = Matrix(rows, vocabulary, example.logits.flatMap { $0 })
    let kl = bucketedDivergence(logits.strip, example.targets, weights: weights)
    let gradient = logits.values
    let copy = Matrix(rows, vocabulary, example.logits.flatMap { $0 })
    #expect(kl == bucketedDivergence(copy.strip, example.targets))
    for i in 0..<rows {
      let (tokens, p, r) = example.row(i)
      let expected = naive(example.logits[i].map(Double.init), tokens, p, r)
      // The f32 probabilities of a row sum to 1 within 1e-7 times their number.
      #expect(abs(Double(kl[i]) - expected.kl) < 2e-6 * max(1, expected.kl), "row \(i): \(kl[i]), not \(expected.kl)")
      for j in 0..<vocabulary {
        let wanted = expected.gradient[j] * Double(weights[i])
        #expect(abs(Double(gradient[i * vocabulary + j]) - wanted) < 2e-6, "row \(i), token \(j)")
      }
    }
  }

  @Test func gradientIsThatOfFiniteDifferences() {
    let v = 19
    let example = Case(rows: 5, vocabulary: v, seed: 31)
    let logits = Matrix(5, v, example.logits.flatMap { $0 })
    _ = bucketedDivergence(logits.strip, example.targets, weights: [Float](repeating: 1, count: 5))
    for i in 0..<5 {
      for j in 0..<v {
        // f32 logits: a step of 1/128 and divergences exact to 1e-7 make differences exact to some 1e-5.
        let h: Float = 1 / 128
        func kl(_ sign: Float) -> Double {
          var rows = example.logits
          rows[i][j] += sign * h
          let moved = Matrix(5, v, rows.flatMap { $0 })
          return Double(bucketedDivergence(moved.strip, example.targets)[i])
        }
        let difference = (kl(1) - kl(-1)) / Double(2 * h)
        #expect(abs(difference - Double(logits[i, j])) < 5e-5, "row \(i), token \(j)")
      }
    }
  }

  @Test func theTeacherItselfHasNoDivergenceAndSmallOnesKeepTheirDigits() {
    let v = 400
    var random = SeededGenerator(seed: 8)
    let teacher = random.floats(v, in: -3...3).map(Double.init)
    let sum = teacher.reduce(0) { $0 + Foundation.exp($1) }
    let p = teacher.map { Float(Foundation.exp($0) / sum) }
    let listed = (0..<100).map { $0 * 3 }
    let tail = (0..<v).filter { $0 % 3 != 0 || $0 >= 300 }.reduce(0.0) { $0 + Foundation.exp(teacher[$1]) / sum }
    let targets = BucketTargets(
      starts: [0, 100], tokens: listed.map { UInt32($0) }, probabilities: listed.map { p[$0] },
      tailMasses: [Float(tail)])
    for scale in [0.0, 1e-4, 1e-2] {
      let student = teacher.enumerated().map { Float($1 + scale * Double($0 % 5)) }
      let logits = Matrix(1, v, student)
      let kl = bucketedDivergence(logits.strip, targets)[0]
      let expected = naive(
        student.map(Double.init), listed, listed.map { Foundation.exp(teacher[$0]) / sum }, tail
      ).kl
      #expect(kl >= 0 && abs(Double(kl) - expected) < 1e-5 * expected + 1e-12, "\(scale): \(kl), not \(expected)")
    }
  }

  /// `scripts/fixtures/bucketed_divergence.py`
  private struct Fixture: Decodable {
    var vocabulary, width: Int
    var counts: [Int]
    var tokens: [UInt32]
    var probabilities, tails, weights, logits, kl, gradient, states, unembedding, klOfStates, gradientOfStates: [Float]
  }

  @Test func divergenceAndGradientEqualThoseOfPyTorch() throws {
    let path = SharedInputs.packageRoot.appendingPathComponent(
      "Tests/LinearAlgebraTests/Fixtures/bucketed_divergence.json")
    let fixture = try JSONDecoder().decode(Fixture.self, from: Data(contentsOf: path))
    let (rows, v, d) = (fixture.counts.count, fixture.vocabulary, fixture.width)
    let targets = BucketTargets(
      starts: fixture.counts.reduce(into: [0]) { $0.append(($0.last ?? 0) + $1) }, tokens: fixture.tokens,
      probabilities: fixture.probabilities, tailMasses: fixture.tails)
    func close(_ a: [Float], _ b: [Float], _ what: String) {
      #expect(a.count == b.count)
      for (i, (a, b)) in zip(a, b).enumerated() {
        #expect(abs(a - b) <= 2e-6 * max(1, abs(b)), "\(what) \(i): \(a), PyTorch has \(b)")
      }
    }
    let logits = Matrix(rows, v, fixture.logits)
    close(bucketedDivergence(logits.strip, targets, weights: fixture.weights), fixture.kl, "KL")
    close(logits.values, fixture.gradient, "gradient")
    let states = Matrix(rows, d, fixture.states)
    let unembedding = Matrix(v, d, fixture.unembedding)
    let gradient = Matrix(rows, d)
    let found = outputLosses(
      [states.strip], unembedding: unembedding.strip, teacher: .buckets(targets), weights: fixture.weights,
      dStates: [gradient.strip], scratch: OutputLossScratch())
    close(found[0].values, fixture.klOfStates, "KL of states")
    close(gradient.values, fixture.gradientOfStates, "gradient of states")
  }
}
