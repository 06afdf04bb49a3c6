import LinearAlgebra
import TestSupport
import Testing

@Suite struct SquaredNormsTests {
  @Test(arguments: [(0, 3), (1, 1), (3, 0), (7, 5), (257, 17), (520, 33)])
  func equalNaiveOnes(rows: Int, columns: Int) {
    var random = SeededGenerator(seed: 6)
    let values = random.floats(rows * columns)
    let norms = squaredNorms(Matrix(rows, columns, values))
    #expect(norms.count == rows)
    for (row, norm) in norms.enumerated() {
      let naive = values[row * columns..<(row + 1) * columns].reduce(0.0) { $0 + Double($1) * Double($1) }
      // f32 sums of some dozens of terms.
      #expect(abs(norm - naive) <= 1e-5 * naive)
    }
  }

  @Test(arguments: [(0, 3), (1, 1), (3, 0), (7, 5), (257, 17), (520, 33)])
  func distancesEqualNaiveOnes(rows: Int, columns: Int) {
    var random = SeededGenerator(seed: 7)
    let (x, y) = (random.floats(rows * columns), random.floats(rows * columns))
    let distances = squaredDistances(Matrix(rows, columns, x), Matrix(rows, columns, y))
    #expect(distances.count == rows)
    for (row, distance) in distances.enumerated() {
      var naive = 0.0
      for i in row * columns..<(row + 1) * columns {
        let difference = Double(x[i]) - Double(y[i])
        naive += difference * difference
      }
      #expect(abs(distance - naive) <= 1e-5 * naive)
    }
  }
}
