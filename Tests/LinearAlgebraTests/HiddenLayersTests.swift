import Foundation
import LinearAlgebra
import TestSupport
import Testing

@Suite struct HiddenLayersTests {
  static let shapes = [(0, 3), (1, 1), (3, 16), (7, 35), (513, 5)]

  @Test(arguments: [HiddenActivation.tanh, .relu, nil], shapes)
  func activationsAndTheirSlopesEqualTheDefinition(f: HiddenActivation?, shape: (Int, Int)) {
    let (rows, columns) = shape
    var random = SeededGenerator(seed: 31)
    let x = random.floats(rows * columns, in: -3...3)
    let bias = random.floats(columns)
    let given = random.floats(rows * columns)
    let y = Matrix(rows, columns, x)
    let biases = Matrix(1, columns, bias)
    activate(y.strip, f, bias: biases.strip)
    let gradient = Matrix(rows, columns, given)
    let sums = Matrix(1, columns, repeating: 7)
    passBack(gradient.strip, through: f, result: y.strip, dBias: sums.strip)
    var dBias = [Double](repeating: 0, count: columns)
    let (found, slopes) = (y.values, gradient.values)
    for i in 0..<rows * columns {
      let pre = Double(x[i] + bias[i % columns])
      let value = f == .tanh ? Foundation.tanh(pre) : f == .relu ? max(0, pre) : pre
      let slope = f == .tanh ? 1 - value * value : f == nil || pre > 0 ? 1 : 0
      dBias[i % columns] += slope * Double(given[i])
      #expect(abs(Double(found[i]) - value) < 1e-6)
      #expect(abs(Double(slopes[i]) - slope * Double(given[i])) < 1e-6)
    }
    #expect(zip(sums.values, dBias).allSatisfy { abs(Double($0) - $1) < 1e-4 })
    // A second time without slopes, added.
    passBack(
      gradient.strip, through: nil, result: y.strip, dBias: sums.strip, accumulating: true)
    #expect(zip(sums.values, dBias).allSatisfy { abs(Double($0) - 2 * $1) < 1e-4 })
  }

  @Test(arguments: shapes)
  func errorsAndTheirGradientsEqualTheDefinition(shape: (Int, Int)) {
    let (rows, d) = shape
    var random = SeededGenerator(seed: 34)
    let (recon, x) = (random.floats(rows * d), random.floats(rows * d))
    let residual = Matrix(rows, d, recon)
    let target = Matrix(rows, d, x)
    let squares = subtract(target.strip, from: residual.strip, scale: 0.25)
    let errors = zip(recon, x).map { $0 - $1 }
    #expect(residual.values == errors.map { 0.25 * $0 })
    let expected = errors.reduce(0.0) { $0 + Double($1) * Double($1) }
    #expect(abs(squares - expected) <= 1e-5 * expected)
  }

  @Test(arguments: [[], [0], [1], [7, 4099, 1], [3, 8192]], [0, 1, 3])
  func sumsOfPartsAreAddedInOrder(counts: [Int], nParts: Int) {
    var random = SeededGenerator(seed: 35)
    let totals = counts.map { SharedMatrix(Matrix(1, $0, random.floats($0))) }
    let parts = (0..<nParts).map { _ in
      SharedMatrix(Matrix(1, counts.reduce(0, +), random.floats(counts.reduce(0, +))))
    }
    var expected = totals.flatMap { $0.matrix.values }
    for part in parts { expected = zip(expected, part.matrix.values).map { $0 + $1 } }
    addSums(parts, to: totals.map { $0.matrix.strip })
    #expect(difference(totals.flatMap { $0.matrix.values }, expected) == nil)
  }

  @Test(arguments: shapes, [false, true])
  func layerNormAndItsGradientsEqualTheDefinition(shape: (Int, Int), accumulating: Bool) {
    let (rows, m) = shape
    var random = SeededGenerator(seed: 32)
    let (x, given) = (random.floats(rows * m, in: -2...2), random.floats(rows * m))
    let (weight, bias, other) = (random.floats(m), random.floats(m), random.floats(rows * m))
    let weights = Matrix(1, m, weight)
    let biases = Matrix(1, m, bias)
    let input = Matrix(rows, m, x)
    let added = Matrix(rows, m, other)
    let result = Matrix(rows, m)
    layerNorm(
      input.strip, epsilon: 1e-3, weight: weights.strip, bias: biases.strip,
      plus: accumulating ? added.strip : nil, into: result.strip)
    let passed = Matrix(rows, m, given)
    let weightSum = Matrix(1, m, repeating: 1)
    let biasSum = Matrix(1, m)
    passBackThroughLayerNorm(
      passed.strip, x: input.strip, epsilon: 1e-3, weight: weights.strip,
      dWeight: weightSum.strip, dBias: biasSum.strip, accumulating: accumulating)
    let start = accumulating ? 1.0 : 0
    var (dWeight, dBias) = ([Double](repeating: start, count: m), [Double](repeating: 0, count: m))
    for i in 0..<rows {
      let row = (0..<m).map { Double(x[i * m + $0]) }
      let mean = row.reduce(0, +) / Double(m)
      let deviation = (row.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(m) + 1e-3).squareRoot()
      let normalized = row.map { ($0 - mean) / deviation }
      let weighted = (0..<m).map { Double(given[i * m + $0]) * Double(weight[$0]) }
      let meanWeighted = weighted.reduce(0, +) / Double(m)
      let along = zip(weighted, normalized).reduce(0) { $0 + $1.0 * $1.1 } / Double(m)
      for j in 0..<m {
        let out = Double(result[i, j]) - (accumulating ? Double(other[i * m + j]) : 0)
        #expect(abs(out - (normalized[j] * Double(weight[j]) + Double(bias[j]))) < 2e-5)
        let expected = (weighted[j] - meanWeighted - normalized[j] * along) / deviation
        #expect(abs(Double(passed[i, j]) - expected) < 1e-4 * max(1, abs(expected)))
        dWeight[j] += Double(given[i * m + j]) * normalized[j]
        dBias[j] += Double(given[i * m + j])
      }
    }
    for j in 0..<m {
      #expect(abs(Double(weightSum[0, j]) - dWeight[j]) < 1e-4)
      #expect(abs(Double(biasSum[0, j]) - dBias[j]) < 1e-4)
    }
  }
}
