import Foundation
import LinearAlgebra
import TestSupport
import Testing

@Suite struct HiddenLayersTests {
  static let shapes = [(0, 3), (1, 1), (3, 16), (7, 35), (513, 5)]

  @Test(arguments: HiddenActivation.allCases, shapes)
  func activationsAndTheirSlopesEqualTheDefinition(f: HiddenActivation, shape: (Int, Int)) {
    let (rows, columns) = shape
    var random = SeededGenerator(seed: 31)
    let x = random.floats(rows * columns, in: -3...3)
    let bias = random.floats(columns)
    let given = random.floats(rows * columns)
    var y = Matrix(rows, columns, x)
    activate(&y, f, bias: Matrix(1, columns, bias))
    var gradient = Matrix(rows, columns, given)
    passBack(&gradient, through: f, result: y)
    for i in 0..<rows * columns {
      let pre = Double(x[i] + bias[i % columns])
      let value = f == .tanh ? Foundation.tanh(pre) : max(0, pre)
      let slope = f == .tanh ? 1 - value * value : pre > 0 ? 1 : 0
      #expect(abs(Double(y.values[i]) - value) < 1e-6)
      #expect(abs(Double(gradient.values[i]) - slope * Double(given[i])) < 1e-6)
    }
  }

  @Test(arguments: shapes)
  func layerNormAndItsGradientsEqualTheDefinition(shape: (Int, Int)) {
    let (rows, m) = shape
    var random = SeededGenerator(seed: 32)
    let (x, given) = (random.floats(rows * m, in: -2...2), random.floats(rows * m))
    let (weight, bias) = (random.floats(m), random.floats(m))
    var out = Matrix(rows, m)
    layerNorm(
      Matrix(rows, m, x), epsilon: 1e-3, weight: Matrix(1, m, weight), bias: Matrix(1, m, bias), into: &out)
    var gradient = Matrix(rows, m, given)
    // One is added to.
    var weightSum = Matrix(1, m, repeating: 1)
    var biasSum = Matrix(1, m)
    passBackThroughLayerNorm(
      &gradient, x: Matrix(rows, m, x), epsilon: 1e-3, weight: Matrix(1, m, weight), addingTo: &weightSum, &biasSum)
    var (dWeight, dBias) = ([Double](repeating: 1, count: m), [Double](repeating: 0, count: m))
    for i in 0..<rows {
      let row = (0..<m).map { Double(x[i * m + $0]) }
      let mean = row.reduce(0, +) / Double(m)
      let deviation = (row.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(m) + 1e-3).squareRoot()
      let normalized = row.map { ($0 - mean) / deviation }
      let weighted = (0..<m).map { Double(given[i * m + $0]) * Double(weight[$0]) }
      let meanWeighted = weighted.reduce(0, +) / Double(m)
      let along = zip(weighted, normalized).reduce(0) { $0 + $1.0 * $1.1 } / Double(m)
      for j in 0..<m {
        #expect(abs(Double(out[i, j]) - (normalized[j] * Double(weight[j]) + Double(bias[j]))) < 2e-5)
        let expected = (weighted[j] - meanWeighted - normalized[j] * along) / deviation
        #expect(abs(Double(gradient[i, j]) - expected) < 1e-4 * max(1, abs(expected)))
        dWeight[j] += Double(given[i * m + j]) * normalized[j]
        dBias[j] += Double(given[i * m + j])
      }
    }
    for j in 0..<m {
      #expect(abs(Double(weightSum[0, j]) - dWeight[j]) < 1e-4)
      #expect(abs(Double(biasSum[0, j]) - dBias[j]) < 1e-4)
    }
  }

  @Test(arguments: [(0, 1, 1), (1, 1, 1), (5, 7, 3), (601, 37, 19)])
  func sumsOverUsesEqualTheDefinition(tokens: Int, latents: Int, d: Int) {
    var random = SeededGenerator(seed: 33)
    let rows = (0..<tokens).map { _ in
      (0..<latents).filter { _ in Bool.random(using: &random) }.map { (latent: $0, value: Float($0 + 1) / 7) }
    }
    var code = SparseCode(nLatents: latents, rows: rows)
    let (x, weights) = (random.floats(tokens * d), random.floats(latents * d))
    var out = Matrix(tokens, d, x)
    latentGradients(&code, Matrix(latents, d, weights), dOut: out.strip)
    out.fill(0)
    let index = code.byLatent()
    var values = Matrix(latents, d)
    var gradients = Matrix(latents, d, repeating: 1)
    useSums(code, index, of: .value, times: Matrix(tokens, d, x), into: &values)
    useSums(code, index, of: .gradient, times: Matrix(tokens, d, x), into: &gradients, accumulating: true)
    var bias = Matrix(1, latents, repeating: 2)
    let input = Matrix(tokens, d)
    addGradientSums(code, index, into: &bias, accumulating: true)
    inputGradients(code, Matrix(latents, d, weights), into: input.strip)

    var expected = (
      values: [Double](repeating: 0, count: latents * d), gradients: [Double](repeating: 1, count: latents * d),
      bias: [Double](repeating: 2, count: latents), input: [Double](repeating: 0, count: tokens * d)
    )
    for (b, row) in rows.enumerated() {
      for (latent, value) in row {
        let gradient = (0..<d).reduce(0.0) { $0 + Double(x[b * d + $1] * weights[latent * d + $1]) }
        expected.bias[latent] += gradient
        for i in 0..<d {
          expected.values[latent * d + i] += Double(value * x[b * d + i])
          expected.gradients[latent * d + i] += gradient * Double(x[b * d + i])
          expected.input[b * d + i] += gradient * Double(weights[latent * d + i])
        }
      }
    }
    func agrees(_ found: borrowing Matrix, _ expected: [Double]) -> Bool {
      zip(found.values, expected).allSatisfy { abs(Double($0) - $1) < 1e-4 * max(1, abs($1)) }
    }
    #expect(agrees(values, expected.values) && agrees(gradients, expected.gradients))
    #expect(agrees(bias, expected.bias) && agrees(input, expected.input))
  }
}
