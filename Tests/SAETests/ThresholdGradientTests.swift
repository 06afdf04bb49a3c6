import Foundation
import LinearAlgebra
import SAE
import TestSupport
import Testing

/// Gradients of thresholds are pseudo-derivatives, which no finite difference shows: against dense loops that follow the
/// paper's formulas (Rajamanoharan et al. 2024, eq. 11 and 12), in double precision.
@Suite struct ThresholdGradientTests {
  @Test(arguments: 0..<3) func equalThoseOfDenseLoops(kind: Int) throws {
    let (d, n, tokens) = (5, 23, 61)
    var configuration = SAEConfiguration(architecture: .jumprelu, dIn: d, dSAE: n)
    configuration.bandwidth = kind == 1 ? 2 : 0.3
    configuration.l0 = 0.4
    if kind == 1 { configuration.sparsity = .tanh }
    if kind == 2 { configuration.targetL0 = 5 }
    let sae = try SparseAutoencoder(configuration, seed: 8)
    var random = SeededGenerator(seed: 43)
    let x = Matrix(tokens, d, random.floats(tokens * d, in: -2...2))
    sae.bEnc.value = Matrix(1, n, random.floats(n, in: -0.2...0.2))
    sae.bDec.value = Matrix(1, d, random.floats(d))
    let threshold = try #require(sae.parameters.last { $0.name == "threshold" })
    threshold.value = Matrix(1, n, random.floats(n, in: 0...0.6))
    _ = sae.computeGradients(x)

    func pre(_ b: Int, _ j: Int) -> Double {
      (0..<d).reduce(Double(sae.bEnc.value[0, j])) {
        $0 + Double(x[b, $1] - sae.bDec.value[0, $1]) * Double(sae.wEnc.value[j, $1])
      }
    }
    let thresholds = threshold.value.values.map { Double($0) }
    let pres = (0..<tokens).map { b in (0..<n).map { pre(b, $0) } }
    let l0 =
      pres.reduce(0.0) { sum, row in sum + Double((0..<n).filter { row[$0] > thresholds[$0] }.count) } / Double(tokens)
    let (lambda, unit, width) = (0.4, 1 / Double(tokens * d), Double(configuration.bandwidth))
    var expected = [Double](repeating: 0, count: n)
    for b in 0..<tokens {
      let code = (0..<n).map { pres[b][$0] > thresholds[$0] ? pres[b][$0] : 0 }
      let residual = (0..<d).map { i in
        (0..<n).reduce(Double(sae.bDec.value[0, i]) - Double(x[b, i])) { $0 + code[$1] * Double(sae.wDec.value[$1, i]) }
      }
      for j in 0..<n where abs(pres[b][j] - thresholds[j]) < width / 2 {
        var toCode = 2 * unit * (0..<d).reduce(0.0) { $0 + residual[$1] * Double(sae.wDec.value[j, $1]) }
        var toStep = 0.0
        switch kind {
        case 0: toStep = lambda * unit
        case 1: toCode += lambda * unit * 4 * (1 - pow(tanh(4 * code[j]), 2))
        default: toStep = lambda / Double(d) * 2 * (l0 / 5 - 1) / 5 / Double(tokens)
        }
        expected[j] -= (thresholds[j] * toCode + toStep) / width
      }
    }
    let largest = expected.map { abs($0) }.max() ?? 0
    #expect(largest > 0)
    for j in 0..<n { #expect(abs(Double(threshold.gradient[0, j]) - expected[j]) < 1e-5 * largest, "latent \(j)") }
  }
}
