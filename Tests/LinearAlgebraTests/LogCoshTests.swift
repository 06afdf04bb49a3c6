import Foundation
import LinearAlgebra
import TestSupport
import Testing

@Suite struct LogCoshTests {
  /// log cosh y as written.
  private func logCosh(_ y: Float) -> Double { log(cosh(Double(y))) }

  @Test(arguments: [(0, 3), (1, 1), (5, 13), (3, 16), (17, 31), (37, 97)])
  func sumsAndGradientsEqualTheFormula(rows: Int, columns: Int) {
    var random = SeededGenerator(seed: 3)
    let values = random.floats(rows * columns, in: -6...6)
    let y = Matrix(rows, columns, values)
    let (sum, sizes) = sumOfLogCosh(y)
    let expected = values.reduce(0.0) { $0 + logCosh($1) }
    // f32 in products of 64 terms.
    #expect(abs(sum - expected) <= 1e-6 * max(expected, 1))
    #expect(abs(sizes - values.reduce(0.0) { $0 + Double(abs($1)) }) <= 1e-6 * max(sizes, 1))
    let start = random.floats(rows * columns)
    var gradient = Matrix(rows, columns, start)
    addLogCoshGradient(&gradient, of: y, times: 0.5)
    for (i, found) in gradient.values.enumerated() {
      #expect(abs(Double(found) - (Double(start[i]) + 0.5 * tanh(Double(values[i])))) < 1e-6)
    }
    var code = SparseCode(
      nLatents: columns,
      rows: (0..<rows).map { row in (0..<columns).map { ($0, values[row * columns + $0]) } })
    #expect(abs(addLogCoshGradients(&code, times: 0.5) - expected) <= 1e-6 * max(expected, 1))
    for (found, value) in zip(code.gradients, values) {
      #expect(abs(Double(found) - 0.5 * tanh(Double(value))) < 1e-6)
    }
  }

  @Test func largeValuesDoNotOverflow() {
    let (sum, _) = sumOfLogCosh(Matrix(1, 40, repeating: -1e30))
    #expect(abs(sum / 40e30 - 1) < 1e-6)
  }
}
