import LinearAlgebra
import TestSupport
import Testing

@Suite struct ResidualTests {
  @Test(arguments: [(0, 3), (1, 1), (3, 16), (2, 37)])
  func sumsEqualTheLoops(rows: Int, columns: Int) {
    var random = SeededGenerator(seed: 26)
    let (x, y, z) = (random.floats(rows * columns), random.floats(rows * columns), random.floats(rows * columns))
    let bias = random.floats(columns)
    let a = Matrix(rows, columns, x)
    let b = Matrix(rows, columns, x)
    let c = Matrix(rows, columns, x)
    let row = Matrix(1, columns, bias)
    let second = Matrix(rows, columns, y)
    let third = Matrix(rows, columns, z)
    addBias(row.strip, to: a.strip)
    add(second.strip, to: b.strip)
    add(second.strip, third.strip, to: c.strip)
    for i in 0..<rows * columns {
      #expect(a.values[i] == x[i] + bias[i % columns])
      #expect(b.values[i] == y[i] + x[i])
      #expect(c.values[i] == (y[i] + z[i]) + x[i])
    }
  }

  @Test func rowsAreGathered() {
    let table = Matrix(3, 2, [0, 1, 10, 11, 20, 21])
    let out = Matrix(4, 2)
    let ids: [UInt32] = [9, 2, 0, 2, 1, 9]
    gatherRows(table.strip, ids[1..<5], into: out.strip)
    #expect(out.values == [20, 21, 0, 1, 20, 21, 10, 11])
  }

  @Test func productOfStripsEqualsThatOfMatrices() {
    var random = SeededGenerator(seed: 27)
    let a = Matrix(5, 7, random.floats(35))
    let b = Matrix(4, 7, random.floats(28))
    var expected = Matrix(5, 4)
    gemm(a, b, into: &expected, transposeB: true)
    let found = Matrix(5, 4)
    gemm(a.strip.rows(2..<5), b.strip, into: found.strip.rows(2..<5), transposeB: true)
    for i in 2..<5 { for j in 0..<4 { #expect(abs(found[i, j] - expected[i, j]) < 1e-6) } }
    #expect(found[1, 3] == 0)
    let columns = Matrix(5, 4)
    gemm(a.strip.columns(1..<3), b.strip.columns(4..<6), into: columns.strip, transposeB: true)
    #expect(abs(columns[4, 3] - (a[4, 1] * b[3, 4] + a[4, 2] * b[3, 5])) < 1e-6)
  }

  @Test func workersDoNotOverlapAndAllPiecesAreDone() {
    let counts = Matrix(1, 1000)
    let one = Matrix(1, 1, [1])
    Threads.forEach(
      1000,
      withWorker: { worker, i in
        precondition(worker < Threads.count)
        add(one.strip, to: counts.strip.columns(i..<i + 1))
      })
    #expect(counts.values.allSatisfy { $0 == 1 })
  }
}
