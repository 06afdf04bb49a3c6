import LinearAlgebra
import TestSupport
import Testing

@Suite struct NormalizationTests {
  @Test(arguments: [(0, 5), (1, 1), (3, 15), (2, 16), (4, 37), (1, 576)])
  func equalsTheDefinition(rows: Int, columns: Int) {
    var random = SeededGenerator(seed: 21)
    let x = Matrix(rows, columns, random.floats(rows * columns, in: -3...5))
    let weight = Matrix(1, columns, random.floats(columns))
    let bias = Matrix(1, columns, random.floats(columns))
    for kind in [Normalization.layer, .rms] {
      let out = Matrix(rows, columns)
      let bare = Matrix(rows, columns)
      let scaled = Matrix(rows, columns)
      normalize(x.strip, kind, epsilon: 1e-5, weight: weight.strip, bias: bias.strip, into: out.strip)
      normalize(x.strip, kind, epsilon: 1e-5, into: bare.strip)
      scaleAndShift(bare.strip, weight: weight.strip, bias: bias.strip, into: scaled.strip)
      #expect(scaled.values == out.values)
      for i in 0..<rows {
        let row = (0..<columns).map { Double(x[i, $0]) }
        let mean = kind == .layer ? row.reduce(0, +) / Double(columns) : 0
        let variance = row.map { ($0 - mean) * ($0 - mean) }.reduce(0, +) / Double(columns)
        for j in 0..<columns {
          let expected = (row[j] - mean) / (variance + 1e-5).squareRoot()
          #expect(abs(Double(bare[i, j]) - expected) < 3e-6)
          #expect(abs(Double(out[i, j]) - (expected * Double(weight[0, j]) + Double(bias[0, j]))) < 3e-6)
        }
      }
    }
  }
}
