import Foundation
import LinearAlgebra
import TestSupport
import Testing

@Suite struct ThresholdsTests {
  /// Rows of different lengths, some empty, with values around 0.
  private func code(tokens: Int, n: Int, _ random: inout SeededGenerator) -> SparseCode {
    let rows = (0..<tokens).map { b in
      (0..<n).filter { _ in Int.random(in: 0..<3, using: &random) == 0 && b % 5 != 2 }.map {
        (latent: $0, value: Float.random(in: -1...2, using: &random))
      }
    }
    return SparseCode(nLatents: n, rows: rows)
  }

  @Test(arguments: [(0, 3), (1, 1), (13, 7), (300, 31), (601, 300)])
  func kernelsEqualTheLoops(tokens: Int, n: Int) {
    var random = SeededGenerator(seed: UInt64(41 + n))
    var code = code(tokens: tokens, n: n, &random)
    let thresholds = random.floats(n, in: 0...1)
    let before = code
    jump(&code, thresholds: thresholds)
    for b in 0..<tokens {
      let expected = before.row(b).map { $0.value > thresholds[$0.latent] ? $0.value : 0 }
      #expect(code.row(b).map(\.value) == expected)
    }

    // Gradients of their own for every entry: those of a decoder of one column.
    let w = Matrix(n, 1, random.floats(n))
    let dOut = Matrix(tokens, 1, random.floats(tokens))
    latentGradients(&code, w, dOut: dOut.strip)
    let given = code.gradients
    let sum = addTanhGradients(&code, scale: 1.5, times: 0.25)
    var expectedSum = 0.0
    for b in 0..<tokens {
      for entry in Int(code.starts[b])..<Int(code.starts[b] + code.counts[b]) {
        let t = tanh(1.5 * Double(code.values[entry]))
        expectedSum += t
        #expect(abs(Double(code.gradients[entry]) - Double(given[entry]) - 0.25 * 1.5 * (1 - t * t)) < 1e-6)
      }
    }
    #expect(abs(sum - expectedSum) < 1e-5 * max(1, expectedSum))

    let whole = code.gradients
    var (toThresholds, inBand): ([Float], [Float]) = ([], [])
    let nActive = splitAtThresholds(
      &code, thresholds: thresholds, bandwidth: 0.5, toThresholds: &toThresholds, inBand: &inBand)
    var sums = Matrix(1, n, repeating: 9)
    addUp(toThresholds, code.byLatent(), into: &sums, accumulating: false)
    addUp(inBand, code.byLatent(), into: &sums, accumulating: true)
    var expected = [Double](repeating: 0, count: n)
    var active = 0
    for b in 0..<tokens {
      for entry in Int(code.starts[b])..<Int(code.starts[b] + code.counts[b]) {
        let (latent, value) = (Int(code.latents[entry]), code.values[entry])
        active += value > 0 ? 1 : 0
        #expect(code.gradients[entry] == (value > 0 ? whole[entry] : 0))
        if value == 0 || value - thresholds[latent] < 0.25 { expected[latent] += Double(whole[entry]) + 1 }
      }
    }
    #expect(nActive == active)
    for j in 0..<n { #expect(abs(Double(sums[0, j]) - expected[j]) < 1e-4, "latent \(j)") }
  }
}
