import LinearAlgebra
import TestSupport
import Testing

@Suite struct TokenMomentsTests {
  @Test(arguments: [(0, 3), (1, 2), (3, 16), (7, 5), (257, 17), (520, 33)])
  func standardizedTokensEqualNaiveOnesAndComeBack(rows: Int, columns: Int) {
    var random = SeededGenerator(seed: 7)
    let values = random.floats(rows * columns, in: -3...5)
    var x = Matrix(rows, columns, values)
    let moments = standardizeTokens(&x)
    #expect(moments.means.count == rows && moments.deviations.count == rows)
    let standard = x.values
    for row in 0..<rows {
      let token = values[row * columns..<(row + 1) * columns].map { Double($0) }
      let mean = token.reduce(0, +) / Double(columns)
      let deviation = (token.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(columns - 1)).squareRoot()
      #expect(abs(Double(moments.means[row]) - mean) < 1e-5 && abs(Double(moments.deviations[row]) - deviation) < 1e-5)
      for column in 0..<columns {
        let expected = (token[column] - mean) / (deviation + 1e-5)
        #expect(abs(Double(standard[row * columns + column]) - expected) < 1e-5 * max(1, 1 / deviation))
      }
    }
    restoreTokens(&x, moments)
    // SAELens, too, gives back std and not std + 1e-5.
    for (a, b) in zip(x.values, values) { #expect(abs(a - b) < 1e-4) }
  }

  @Test func aTokenOfEqualValuesBecomesZeroAndComesBack() {
    var x = Matrix(2, 4, [3, 3, 3, 3, 0, 0, 0, 0])
    let moments = standardizeTokens(&x)
    #expect(x.values == [Float](repeating: 0, count: 8))
    restoreTokens(&x, moments)
    #expect(x.values == [3, 3, 3, 3, 0, 0, 0, 0])
  }
}
