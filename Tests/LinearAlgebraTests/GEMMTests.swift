import LinearAlgebra
import TestSupport
import Testing

@Suite struct GEMMTests {
  @Test(arguments: [(0, 3, 2), (1, 1, 1), (3, 0, 4), (5, 7, 3), (17, 33, 64), (600, 5, 9), (3, 2100, 4), (9, 6, 1030)])
  func productEqualsTheTripleLoop(m: Int, n: Int, k: Int) {
    var random = SeededGenerator(seed: 1)
    for (transposeA, transposeB) in [(false, false), (false, true), (true, false), (true, true)] {
      let x = random.floats(m * k)
      let y = random.floats(k * n)
      let start = random.floats(m * n)
      let a = transposeA ? Matrix(k, m, x) : Matrix(m, k, x)
      let b = transposeB ? Matrix(n, k, y) : Matrix(k, n, y)
      var c = Matrix(m, n, start)
      gemm(a, b, into: &c, transposeA: transposeA, transposeB: transposeB, alpha: 0.5, accumulating: true)
      for i in 0..<m {
        for j in 0..<n {
          var sum = 0.0
          for l in 0..<k {
            sum += Double(transposeA ? a[l, i] : a[i, l]) * Double(transposeB ? b[j, l] : b[l, j])
          }
          // f32 sums of k products of numbers below 1.
          #expect(abs(Double(c[i, j]) - (Double(start[i * n + j]) + 0.5 * sum)) < 1e-6 * Double(k + 1))
        }
      }
    }
  }

  @Test func resultDoesNotDependOnTheNumberOfThreads() {
    var random = SeededGenerator(seed: 2)
    let a = Matrix(1100, 70, random.floats(1100 * 70))
    let b = Matrix(2500, 70, random.floats(2500 * 70))
    let before = Threads.count
    defer { Threads.count = before }
    // One tile from many rows.
    let other = Matrix(1100, 30, random.floats(1100 * 30))
    var (expected, expectedSmall): ([Float], [Float]) = ([], [])
    for threads in 1...5 {
      Threads.count = threads
      var c = Matrix(1100, 2500)
      gemm(a, b, into: &c, transposeB: true)
      var small = Matrix(70, 30)
      gemm(a, other, into: &small, transposeA: true)
      if threads == 1 {
        (expected, expectedSmall) = (c.values, small.values)
      } else {
        #expect(difference(c.values, expected) == nil)
        #expect(difference(small.values, expectedSmall) == nil)
      }
      #expect(BLASLibrary.threads == 1)
    }
  }

  @Test func borrowedRowsAreMultipliedWhereTheyLie() {
    var random = SeededGenerator(seed: 3)
    let values = random.floats(40 * 7)
    let b = Matrix(7, 5, random.floats(35))
    var expected = Matrix(30, 5)
    var c = Matrix(30, 5)
    gemm(Matrix(30, 7, Array(values[70...])), b, into: &expected)
    let rows = values.span.extracting(70..<280)
    let address = rows.withUnsafeBufferPointer { UInt(bitPattern: $0.baseAddress) }
    Matrix.withBorrowed(rows, columns: 7) { a in
      #expect(a.rows == 30 && a.withSpan { $0.withUnsafeBufferPointer { UInt(bitPattern: $0.baseAddress) } } == address)
      gemm(a, b, into: &c)
    }
    #expect(c.values == expected.values)
    let nothing: [Float] = []
    Matrix.withBorrowed(nothing.span, columns: 3) { #expect($0.rows == 0) }
  }
}
