import LinearAlgebra
import TestSupport
import Testing

@Suite struct NormalizationBackwardTests {
  @Test(arguments: [(0, 5), (1, 1), (3, 15), (2, 16), (4, 37), (1, 576)])
  func equalsTheDefinition(rows: Int, columns: Int) {
    var random = SeededGenerator(seed: 23)
    let x = Matrix(rows, columns, random.floats(rows * columns, in: -3...5))
    let weight = Matrix(1, columns, random.floats(columns))
    let dY = Matrix(rows, columns, random.floats(rows * columns))
    let before = random.floats(rows * columns)
    for kind in [Normalization.layer, .rms] {
      let dX = Matrix(rows, columns, before)
      normalizeBackward(
        x.strip, kind, epsilon: 1e-5, weight: weight.strip, dY: dY.strip, accumulatingInto: dX.strip)
      for i in 0..<rows {
        let row = (0..<columns).map { Double(x[i, $0]) }
        let mean = kind == .layer ? row.reduce(0, +) / Double(columns) : 0
        let sigma = (row.map { ($0 - mean) * ($0 - mean) }.reduce(0, +) / Double(columns) + 1e-5).squareRoot()
        let y = row.map { ($0 - mean) / sigma }
        let g = (0..<columns).map { Double(dY[i, $0]) * Double(weight[0, $0]) }
        let meanOfG = kind == .layer ? g.reduce(0, +) / Double(columns) : 0
        let slope = zip(g, y).map { $0 * $1 }.reduce(0, +) / Double(columns)
        // One column has σ = √ε under LayerNorm: its gradient of 0 is a difference of two large numbers.
        let bound = 3e-6 * max(1, g.map(abs).max().map { $0 / sigma } ?? 0)
        for j in 0..<columns {
          let expected = Double(before[i * columns + j]) + (g[j] - meanOfG - y[j] * slope) / sigma
          #expect(abs(Double(dX[i, j]) - expected) < bound, "\(kind) \(i) \(j)")
        }
      }
    }
  }

  @Test(arguments: [0, 1, 17]) func productsAndFillsReachEveryElement(columns: Int) {
    var random = SeededGenerator(seed: 24)
    let (a, b) = (random.floats(3 * columns), random.floats(3 * columns))
    let x = Matrix(3, columns, a)
    let factors = Matrix(3, columns, b)
    multiply(x.strip, by: factors.strip)
    #expect(x.values == zip(a, b).map { $0 * $1 })
    x.strip.fill(2)
    #expect(x.values.allSatisfy { $0 == 2 })
  }

  @Test func weightGradientIsTheProductOverRows() {
    var random = SeededGenerator(seed: 25)
    let a = Matrix(7, 130, random.floats(7 * 130))
    let b = Matrix(7, 5, random.floats(35))
    let c = Matrix(130, 5, repeating: 1)
    weightGradient(a.strip, b.strip, into: c.strip)
    for i in 0..<130 {
      for j in 0..<5 {
        let expected = (0..<7).reduce(1 as Float) { $0 + a[$1, i] * b[$1, j] }
        #expect(abs(c[i, j] - expected) < 1e-5)
      }
    }
  }
}
