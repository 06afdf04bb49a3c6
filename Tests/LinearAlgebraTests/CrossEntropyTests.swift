import Foundation
import LinearAlgebra
import TestSupport
import Testing

@Suite struct CrossEntropyTests {
  /// log softmax of every row, in double precision.
  private func logProbabilities(_ states: borrowing Matrix, _ unembedding: borrowing Matrix) -> [[Double]] {
    (0..<states.rows).map { i in
      let logits = (0..<unembedding.rows).map { v in
        (0..<states.columns).reduce(0.0) { $0 + Double(states[i, $1]) * Double(unembedding[v, $1]) }
      }
      let top = logits.max() ?? 0
      let sum = logits.map { Foundation.exp($0 - top) }.reduce(0, +)
      return logits.map { $0 - top - log(sum) }
    }
  }

  // Rows beyond one tile of 256 and vocabularies beyond one of 1,024 included.
  @Test(arguments: [(0, 3, 7), (1, 1, 1), (5, 4, 33), (3, 8, 1030), (259, 2, 17)])
  func lossesAndDivergenceEqualTheDefinition(rows: Int, width: Int, vocabulary: Int) {
    var random = SeededGenerator(seed: 24)
    let a = Matrix(rows, width, random.floats(rows * width, in: -3...3))
    let b = Matrix(rows, width, random.floats(rows * width, in: -3...3))
    let u = Matrix(vocabulary, width, random.floats(vocabulary * width, in: -2...2))
    let targets = (0..<rows).map { $0 % 4 == 3 ? nil : UInt32.random(in: 0..<UInt32(vocabulary), using: &random) }
    let scratch = UnembeddingScratch()
    let losses = crossEntropy(a.strip, unembedding: u.strip, targets: targets, scratch: scratch)
    let both = divergence(
      original: a.strip, spliced: b.strip, unembedding: u.strip, targets: targets, scratch: scratch)
    let (p, q) = (logProbabilities(a, u), logProbabilities(b, u))
    #expect(losses.count == rows && both.kl.count == rows)
    for i in 0..<rows {
      let expected = targets[i].map { -p[i][Int($0)] } ?? 0
      #expect(abs(Double(losses[i]) - expected) < 1e-5)
      #expect(abs(both.original[i] - losses[i]) < 1e-5)
      #expect(abs(Double(both.spliced[i]) - (targets[i].map { -q[i][Int($0)] } ?? 0)) < 1e-5)
      let kl = zip(p[i], q[i]).map { Foundation.exp($0) * ($0 - $1) }.reduce(0, +)
      #expect(abs(Double(both.kl[i]) - kl) < 1e-5)
      let distance = zip(p[i], q[i]).map { abs(Foundation.exp($0) - Foundation.exp($1)) }.reduce(0, +) / 2
      #expect(abs(Double(both.distance[i]) - distance) < 1e-5)
      // The likeliest token, but for those whose logits differ by rounding.
      let (a, b) = (Int(both.originalTop[i]), Int(both.splicedTop[i]))
      #expect(p[i][a] > (p[i].max() ?? 0) - 1e-5 && q[i][b] > (q[i].max() ?? 0) - 1e-5)
    }
    let same = divergence(
      original: a.strip, spliced: a.strip, unembedding: u.strip, targets: targets, scratch: scratch)
    #expect(same.kl.allSatisfy { $0 == 0 } && same.distance.allSatisfy { $0 == 0 })
    #expect(same.originalTop == same.splicedTop)
  }

  @Test(arguments: [1, 15, 16, 17, 1024, 1040, 2083])
  func likeliestTokenIsTheFirstOfEqualOnes(vocabulary: Int) {
    for first in Set([0, vocabulary / 2, vocabulary - 1]) {
      // The logits are the unembedding's: 1 at `first` and from there on every third token.
      let u = Matrix(vocabulary, 1, (0..<vocabulary).map { $0 >= first && ($0 - first) % 3 == 0 ? 1 : -1 })
      let up = Matrix(1, 1, [1])
      let down = Matrix(1, 1, [-1])
      let found = divergence(
        original: up.strip, spliced: down.strip, unembedding: u.strip, targets: [nil], scratch: UnembeddingScratch())
      #expect(found.originalTop == [UInt32(first)] && found.original == [0] && found.spliced == [0])
      #expect(found.splicedTop == [u.values.firstIndex(of: -1).map { UInt32($0) } ?? 0])
    }
  }

  @Test func extremeLogitsStayFinite() {
    let states = Matrix(2, 1, [1000, -1000])
    let u = Matrix(3, 1, [1, 0, -1])
    let losses = crossEntropy(states.strip, unembedding: u.strip, targets: [0, 0], scratch: UnembeddingScratch())
    #expect(losses == [0, 2000])
    let opposite = Matrix(2, 1, [-1000, 1000])
    let both = divergence(
      original: states.strip, spliced: opposite.strip, unembedding: u.strip, targets: [0, 0],
      scratch: UnembeddingScratch())
    #expect(both.original == [0, 2000] && both.spliced == [2000, 0])
    #expect(both.kl == [2000, 2000] && both.distance == [1, 1])
  }
}
