import Foundation
import LinearAlgebra
import TestSupport
import Testing

@Suite struct LogitTargetsTests {
  /// The distribution of one row in double precision, tokens by descending logit, then ascending.
  private struct Naive {
    var order: [Int]
    var logProbabilities: [Double]
    var entropy: Double

    init(_ logits: [Float]) {
      let top = logits.map(Double.init).max() ?? 0
      let logSum = top + log(logits.reduce(0.0) { $0 + Foundation.exp(Double($1) - top) })
      order = logits.indices.sorted { (logits[$0], -$0) > (logits[$1], -$1) }
      logProbabilities = logits.map { Double($0) - logSum }
      entropy = -logProbabilities.reduce(0.0) { $0 + Foundation.exp($1) * $1 }
    }

    /// Probability of all but the first k, summed from the smallest on.
    func tail(_ k: Int) -> Double { order[k...].reversed().reduce(0) { $0 + Foundation.exp(logProbabilities[$1]) } }
  }

  private func check(_ found: TargetRows, row: Int, against naive: Naive, k: Int) {
    let range = found.range(of: row)
    #expect(found.tokens[range].map(Int.init) == Array(naive.order.prefix(k)), "row \(row), \(k) of \(found.capacity)")
    for (token, value) in zip(found.tokens[range], found.logProbabilities[range]) {
      let expected = naive.logProbabilities[Int(token)]
      #expect(abs(Double(value) - expected) <= 1e-6 * max(1, abs(expected)))
    }
    // Relative: a tail of 1e-20 has its digits too. Sixteen sums of 64 numbers each, every one within 1.5 ulp.
    let tail = naive.tail(k)
    #expect(abs(Double(found.tailMasses[row]) - tail) <= 4e-6 * tail + 1e-37, "\(found.tailMasses[row]), not \(tail)")
    #expect(abs(Double(found.entropies[row]) - naive.entropy) <= 1e-6 * max(1, naive.entropy))
  }

  @Test(arguments: [1, 2, 7, 15, 16, 17, 33, 300, 1030, 5003], [1.0, 8.0, 60.0])
  func theLargestAndTheirTailEqualThoseOfSorting(vocabulary: Int, spread: Float) {
    var random = SeededGenerator(seed: UInt64(vocabulary))
    let scratch = TargetScratch()
    for isCoarse in [false, true] {
      // Coarse logits are small integers: ties are many, among them 0 and -0.
      let rows = (0..<5).map { _ in
        random.floats(vocabulary, in: -spread...spread).map { isCoarse ? ($0 / 4).rounded() : $0 }
      }
      let logits = Matrix(5, vocabulary, rows.flatMap { $0 })
      let naive = rows.map { Naive($0) }
      let (sums, entropies) = logSumExps(logits.strip)
      for i in 0..<5 {
        #expect(abs(sums[i] - (Double(rows[i][0]) - naive[i].logProbabilities[0])) <= 1e-6 * Double(spread))
        #expect(abs(Double(entropies[i]) - naive[i].entropy) <= 1e-6 * max(1, naive[i].entropy))
      }
      for k in [1, 3, 64, vocabulary - 1, vocabulary, 4096] where k > 0 {
        let found = selectTargets(logits.strip, .topK(k), scratch: scratch)
        #expect(found.rows == 5)
        for i in 0..<5 { check(found, row: i, against: naive[i], k: min(k, vocabulary)) }
      }
      for (r, cap) in [(0.9, 4096), (0.1, 4096), (0.01, 50), (1e-9, 300), (1e-30, 4096)] {
        let found = selectTargets(logits.strip, .mass(r, cap: cap), scratch: scratch)
        for i in 0..<5 {
          let k = Int(found.counts[i])
          check(found, row: i, against: naive[i], k: k)
          // The fewest that leave r, to the rounding of a tail next to it.
          #expect(k == min(cap, vocabulary) || naive[i].tail(k) <= r * 1.00001, "\(k) for \(r)")
          #expect(k == 1 || naive[i].tail(k - 1) > r * 0.99999, "\(k) for \(r)")
        }
      }
    }
  }

  @Test func sortedRowsAndRowsWhoseLargestLieTogetherAreSelectedAlike() {
    var random = SeededGenerator(seed: 4)
    var values = random.floats(4000, in: -9...9)
    values.sort()
    var block = [Float](repeating: -3, count: 4000)
    for i in 160..<480 where i % 32 < 16 { block[i] = Float(i % 7) }
    let rows = [values, values.reversed(), block, [Float](repeating: 2.5, count: 4000)]
    let logits = Matrix(4, 4000, rows.flatMap { $0 })
    for selection in [TargetSelection.topK(40), .mass(0.02, cap: 1024)] {
      let found = selectTargets(logits.strip, selection, scratch: TargetScratch())
      for i in 0..<4 { check(found, row: i, against: Naive(rows[i]), k: Int(found.counts[i])) }
    }
  }

  @Test func aTinyTailKeepsItsDigits() {
    var row = [Float](repeating: -40, count: 1000)
    (row[700], row[3]) = (30, 29)
    let logits = Matrix(1, 1000, row)
    let found = selectTargets(logits.strip, .topK(2), scratch: TargetScratch())
    #expect(found.tokens == [700, 3])
    let expected = 998 * Foundation.exp(-70.0) / (1 + Foundation.exp(-1.0))
    #expect(abs(Double(found.tailMasses[0]) / expected - 1) < 1e-6, "\(found.tailMasses[0]), not \(expected)")
    let fewest = selectTargets(logits.strip, .mass(1e-25, cap: 1000), scratch: TargetScratch())
    #expect(fewest.counts == [2])
  }

  @Test func rowsThatAreNotFiniteAreMarkedAndHarmNoOther() {
    for bad in [Float.nan, .infinity, -.infinity] {
      for place in [0, 20, 100] {
        var values = (0..<303).map { Float($0 % 11) }
        values[101 + place] = bad
        let logits = Matrix(3, 101, values)
        for selection in [TargetSelection.topK(5), .mass(0.3, cap: 101)] {
          let found = selectTargets(logits.strip, selection, scratch: TargetScratch())
          #expect(found.entropies[1].isNaN && found.tailMasses[1].isNaN && found.counts[1] == 0)
          for i in [0, 2] {
            check(found, row: i, against: Naive(Array(values[i * 101..<(i + 1) * 101])), k: Int(found.counts[i]))
          }
        }
        let (sums, entropies) = logSumExps(logits.strip)
        #expect(sums[1].isNaN && entropies[1].isNaN && sums[0].isFinite && entropies[2].isFinite)
      }
    }
  }

  @Test func tilesOfLogitsAreTheProductWhateverTheirSize() {
    var random = SeededGenerator(seed: 6)
    let states = Matrix(1500, 3, random.floats(4500))
    let unembedding = Matrix(5, 3, random.floats(15))
    var whole = Matrix(1500, 5)
    gemm(states, unembedding, into: &whole, transposeB: true)
    var next = 0
    let scratch = Scratch()
    forEachLogitTile(states.strip, unembedding: unembedding.strip, scratch: scratch) { logits, rows in
      #expect(rows.lowerBound == next && logits.rows == rows.count && logits.columns == 5)
      for i in 0..<logits.rows {
        logits.withSpan(row: i) { row in
          for j in 0..<5 { #expect(abs(row[j] - whole[rows.lowerBound + i, j]) < 1e-6) }
        }
      }
      next = rows.upperBound
    }
    #expect(next == 1500)
  }
}
