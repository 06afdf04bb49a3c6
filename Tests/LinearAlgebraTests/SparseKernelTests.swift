import LinearAlgebra
import TestSupport
import Testing

@Suite struct SparseKernelTests {
  /// preActs by the triple loop, then selection by sorting (value descending, index ascending).
  private func naiveCode(
    _ x: borrowing Matrix, _ w: borrowing Matrix, _ bias: borrowing Matrix, _ selection: CodeSelection
  ) -> [[(latent: Int, value: Float)]] {
    var rows: [[(latent: Int, value: Float)]] = []
    for b in 0..<x.rows {
      var row: [(latent: Int, value: Float)] = []
      for j in 0..<w.rows {
        var sum: Float = 0
        for i in 0..<x.columns { sum = sum.addingProduct(x[b, i], w[j, i]) }
        var bound: Float = 0
        if case .above(let bounds) = selection { bound = bounds[j] }
        if sum + bias[0, j] > bound { row.append((j, sum + bias[0, j])) }
      }
      if case .topK(let k) = selection {
        row = Array(row.sorted { ($0.value, -$0.latent) > ($1.value, -$1.latent) }.prefix(k)).sorted {
          $0.latent < $1.latent
        }
      }
      rows.append(row)
    }
    guard case .largest(let count, _) = selection else { return rows }
    let all = rows.enumerated().flatMap { b, row in row.map { (b, $0.latent, $0.value) } }
    let kept = all.sorted { ($0.2, -$0.0, -$0.1) > ($1.2, -$1.0, -$1.1) }.prefix(count)
    return rows.indices.map { b in
      kept.filter { $0.0 == b }.map { (latent: $0.1, value: $0.2) }.sorted { $0.latent < $1.latent }
    }
  }

  @Test(arguments: [(0, 4, 5), (1, 1, 1), (3, 5, 17), (7, 16, 64), (40, 9, 300), (5, 3, 1500)])
  func codesEqualThoseOfSorting(tokens: Int, d: Int, n: Int) {
    var random = SeededGenerator(seed: UInt64(n))
    // Small integers: sums are exact, and ties are many.
    let x = Matrix(tokens, d, random.floats(tokens * d, in: -3...3).map { $0.rounded() })
    let w = Matrix(n, d, random.floats(n * d, in: -2...2).map { $0.rounded() })
    let bias = Matrix(1, n, random.floats(n, in: -2...2).map { $0.rounded() })
    let bounds = random.floats(n, in: -6...6).map { $0.rounded() }
    var selections = [CodeSelection.positive, .topK(1), .topK(min(n, 4)), .topK(n), .above(bounds)]
    for count in [0, 1, 7 * tokens, n * tokens / 2, n * tokens] {
      // Guesses that are none, right by chance, far too low, too high for some, and too high for all.
      for guess: Float in [0, 2, 1e-30, 17, 1e30] { selections.append(.largest(count: count, guess: guess)) }
    }
    for selection in selections {
      var code = SparseCode(nLatents: n)
      encodeLatents(x.strip, w, bias: bias, selecting: selection, into: &code)
      let expected = naiveCode(x, w, bias, selection)
      #expect(code.rows == tokens)
      for b in 0..<tokens {
        let row = code.row(b)
        #expect(row.map(\.latent) == expected[b].map(\.latent), "\(selection), token \(b)")
        #expect(row.map(\.value) == expected[b].map(\.value), "\(selection), token \(b)")
      }
    }
  }

  @Test func largestOfManyAreFoundInEveryOrder() {
    var random = SeededGenerator(seed: 9)
    let (d, n, k) = (1, 5000, 37)
    for order in 0..<3 {
      var weights = random.floats(n, in: 0.001...1)
      if order == 1 { weights.sort() }
      if order == 2 { weights.sort(by: >) }
      let w = Matrix(n, d, weights)
      var code = SparseCode(nLatents: n)
      let x = Matrix(1, 1, [1])
      encodeLatents(x.strip, w, bias: Matrix(1, n), selecting: .topK(k), into: &code)
      let expected = weights.enumerated().sorted { ($0.element, -$0.offset) > ($1.element, -$1.offset) }.prefix(k)
      #expect(code.row(0).map(\.latent) == expected.map(\.offset).sorted())
    }
  }

  /// More tokens than one piece holds; every third, which is what a sample takes, is much smaller or larger than the rest.
  @Test(arguments: [Float(1e-3), 1e3]) func largestOfABatchAreThoseOfSortingWhateverTheGuessAndThreads(size: Float) {
    var random = SeededGenerator(seed: 10)
    let (tokens, n, count) = (1100, 30, 3000)
    let x = Matrix(tokens, 1, (0..<tokens).map { Float(1 + $0 % 7) * ($0 % 3 == 0 ? size : 1) })
    let w = Matrix(n, 1, random.floats(n, in: -1...1))
    let bias = Matrix(1, n)
    let expected = naiveCode(x, w, bias, .largest(count: count, guess: 0))
    let before = Threads.count
    defer { Threads.count = before }
    for guess: Float in [0, 1e-4, 0.5, 6, 1e4, .infinity, .nan] {
      for threads in 1...3 {
        Threads.count = threads
        var code = SparseCode(nLatents: n)
        encodeLatents(x.strip, w, bias: bias, selecting: .largest(count: count, guess: guess), into: &code)
        #expect(code.nActive == count)
        for b in 0..<tokens {
          let row = code.row(b)
          #expect(row.map(\.latent) == expected[b].map(\.latent) && row.map(\.value) == expected[b].map(\.value))
        }
      }
    }
  }

  /// A code with rows of different lengths, some empty.
  private func randomCode(tokens: Int, n: Int, _ random: inout SeededGenerator) -> SparseCode {
    var rows: [[(latent: Int, value: Float)]] = []
    for b in 0..<tokens {
      var row: [(latent: Int, value: Float)] = []
      for j in 0..<n where Int.random(in: 0..<4, using: &random) == 0 && b % 5 != 2 {
        row.append((j, Float.random(in: 0...2, using: &random)))
      }
      rows.append(row)
    }
    return SparseCode(nLatents: n, rows: rows)
  }

  @Test(arguments: [(1, 1, 1), (13, 7, 5), (70, 33, 20), (130, 64, 9), (9, 100, 40)])
  func decodingAndGradientsEqualTheLoops(tokens: Int, d: Int, n: Int) {
    var random = SeededGenerator(seed: 21)
    var code = randomCode(tokens: tokens, n: n, &random)
    let w = Matrix(n, d, random.floats(n * d))
    let x = Matrix(tokens, d, random.floats(tokens * d))
    let bias = Matrix(1, d, random.floats(d))
    let residual = Matrix(tokens, d)
    let squares = decodeResidual(&code, w, target: x.strip, scale: 0.3, into: residual.strip)
    let recon = Matrix(tokens, d)
    decodeLatents(code, w, bias: bias, into: recon.strip)
    var expectedSquares = 0.0
    for b in 0..<tokens {
      for i in 0..<d {
        let sum = code.row(b).reduce(0) { $0 + Double($1.value) * Double(w[$1.latent, i]) }
        #expect(abs(Double(residual[b, i]) - (sum - Double(x[b, i]))) < 1e-5)
        #expect(abs(Double(recon[b, i]) - (sum + Double(bias[0, i]))) < 1e-5)
        expectedSquares += Double(residual[b, i] * residual[b, i])
      }
    }
    #expect(abs(squares - expectedSquares) < 1e-4 * (expectedSquares + 1))

    for accumulating in [false, true] {
      var dDec = Matrix(n, d, repeating: 0.5)
      var dEnc = Matrix(n, d, repeating: 0.25)
      var dBias = Matrix(1, n, repeating: 0.125)
      weightGradients(
        code, code.byLatent(), residual: residual.strip, scale: 0.3, x: x.strip, dDec: &dDec, dEnc: &dEnc,
        dBias: &dBias,
        accumulating: accumulating)
      for j in 0..<n {
        var (bias, dec, enc) = (0.0, [Double](repeating: 0, count: d), [Double](repeating: 0, count: d))
        for b in 0..<tokens {
          for entry in code.row(b) where entry.latent == j {
            let projection = (0..<d).reduce(0.0) { $0 + Double(residual[b, $1]) * Double(w[j, $1]) }
            let gradient = 0.3 * projection
            bias += gradient
            for i in 0..<d {
              dec[i] += 0.3 * Double(entry.value) * Double(residual[b, i])
              enc[i] += gradient * Double(x[b, i])
            }
          }
        }
        let start: (Double, Double, Double) = accumulating ? (0.5, 0.25, 0.125) : (0, 0, 0)
        #expect(abs(Double(dBias[0, j]) - bias - start.2) < 1e-4)
        for i in 0..<d {
          #expect(abs(Double(dDec[j, i]) - dec[i] - start.0) < 1e-4)
          #expect(abs(Double(dEnc[j, i]) - enc[i] - start.1) < 1e-4)
        }
      }
    }
  }

  /// As from encoder to another decoder's width: each half equals that of a call where both widths are its own.
  @Test(arguments: [(1, 5, 3), (3, 1, 7), (70, 33, 97), (64, 128, 5), (13, 80, 81), (7, 64, 200)])
  func gradientsOfDifferentWidthsEqualThoseOfEachWidth(dIn: Int, dOut: Int, n: Int) {
    var random = SeededGenerator(seed: 28)
    let tokens = 19
    let code = randomCode(tokens: tokens, n: n, &random)
    let x = Matrix(tokens, dIn, random.floats(tokens * dIn))
    let residual = Matrix(tokens, dOut, random.floats(tokens * dOut))
    for accumulating in [false, true] {
      func gradients(_ residual: Strip, _ x: Strip) -> (dec: [Float], enc: [Float], bias: [Float]) {
        var dDec = Matrix(n, residual.columns, repeating: 0.5)
        var dEnc = Matrix(n, x.columns, repeating: 0.25)
        var dBias = Matrix(1, n, repeating: 0.125)
        weightGradients(
          code, code.byLatent(), residual: residual, scale: 0.3, x: x, dDec: &dDec, dEnc: &dEnc, dBias: &dBias,
          accumulating: accumulating)
        return (dDec.values, dEnc.values, dBias.values)
      }
      let (both, out, own) = (
        gradients(residual.strip, x.strip), gradients(residual.strip, residual.strip), gradients(x.strip, x.strip)
      )
      // Where it is added to, what was there comes first or last.
      for (a, b) in zip(both.dec + both.enc, out.dec + own.enc) { #expect(abs(a - b) < 1e-5) }
      #expect(both.bias == own.bias)
    }
  }

  @Test(arguments: [
    (0, 3, 4, [4]), (1, 1, 1, [1]), (13, 7, 5, [2, 5]), (70, 33, 20, [1, 2, 11, 20]), (9, 100, 40, [13, 40]),
  ])
  func nestedResidualsAndTheirGradientsEqualTheLoops(tokens: Int, d: Int, n: Int, ends: [Int]) {
    var random = SeededGenerator(seed: 25)
    var code = randomCode(tokens: tokens, n: n, &random)
    let w = Matrix(n, d, random.floats(n * d))
    let x = Matrix(tokens, d, random.floats(tokens * d))
    let memory = Matrix(ends.count * tokens, d)
    let nested = NestedResiduals(
      ends: ends, strips: ends.indices.map { memory.strip.rows($0 * tokens..<($0 + 1) * tokens) })
    let squares = decodeNestedResiduals(&code, w, target: x.strip, scale: 0.3, into: nested)
    var sums = [[Double]](repeating: [Double](repeating: 0, count: tokens * d), count: ends.count)
    for (g, end) in ends.enumerated() {
      var expected = 0.0
      for b in 0..<tokens {
        for i in 0..<d {
          let recon = code.row(b).filter { $0.latent < end }.reduce(0) {
            $0 + Double($1.value) * Double(w[$1.latent, i])
          }
          let residual = recon - Double(x[b, i])
          expected += residual * residual
          for h in 0...g { sums[h][b * d + i] += residual }
        }
      }
      #expect(abs(squares[g] - expected) < 1e-4 * (expected + 1))
    }
    for g in ends.indices {
      for i in 0..<tokens * d { #expect(abs(Double(memory[g * tokens + i / d, i % d]) - sums[g][i]) < 1e-4) }
    }
    var dDec = Matrix(n, d)
    var dEnc = Matrix(n, d)
    var dBias = Matrix(1, n)
    weightGradients(
      code, code.byLatent(), residual: x.strip, nested: nested, scale: 0.3, x: x.strip, dDec: &dDec, dEnc: &dEnc,
      dBias: &dBias)
    for j in 0..<n {
      let group = ends.firstIndex { j < $0 } ?? 0
      var (bias, dec) = (0.0, [Double](repeating: 0, count: d))
      for b in 0..<tokens {
        for entry in code.row(b) where entry.latent == j {
          for i in 0..<d {
            bias += 0.3 * sums[group][b * d + i] * Double(w[j, i])
            dec[i] += 0.3 * Double(entry.value) * sums[group][b * d + i]
          }
        }
      }
      #expect(abs(Double(dBias[0, j]) - bias) < 1e-3)
      for i in 0..<d { #expect(abs(Double(dDec[j, i]) - dec[i]) < 1e-3) }
    }
  }

  @Test(arguments: [(0, 1), (1, 1), (70, 2), (131, 7)])
  func largestOfEachRowAreThoseOfSorting(tokens: Int, k: Int) {
    var random = SeededGenerator(seed: 26)
    var wider = randomCode(tokens: tokens, n: 23, &random)
    // Halves: ties are many.
    wider = SparseCode(
      nLatents: 23, rows: (0..<tokens).map { wider.row($0).map { ($0.latent, ($0.value * 2).rounded(.up) / 2 + 0.5) } })
    var code = SparseCode(nLatents: 23)
    code.assign(largest: k, ofEachRowOf: wider)
    #expect(code.rows == tokens)
    for b in 0..<tokens {
      let expected = wider.row(b).sorted { ($0.value, -$0.latent) > ($1.value, -$1.latent) }.prefix(k).sorted {
        $0.latent < $1.latent
      }
      #expect(code.row(b).map(\.latent) == expected.map(\.latent) && code.row(b).map(\.value) == expected.map(\.value))
    }
    #expect(code.smallestValue == (0..<tokens).flatMap { code.row($0).map(\.value) }.min())
  }

  /// A quarter of the latents is much where there are many, whose weights are not in cache.
  @Test(arguments: [(512, false), (513, true)])
  func manyLatentsAreDenseEarlier(n: Int, isDense: Bool) {
    let rows = [[(latent: Int, value: Float)]](repeating: (0..<n / 4).map { ($0, 1) }, count: 64)
    #expect(SparseCode(nLatents: n, rows: rows).isDense == isDense)
  }

  /// Codes that go through matrix products: with rows that have none, and more latents and tokens than one tile has.
  @Test(arguments: [(64, 1, 1), (67, 5, 13), (300, 17, 131), (600, 3, 1100)])
  func productsOfDenseCodesEqualTheLoopsOverEntries(tokens: Int, d: Int, n: Int) {
    var random = SeededGenerator(seed: 27)
    let rows = (0..<tokens).map { b in
      (0..<n).filter { _ in b % 5 != 2 && Bool.random(using: &random) || n == 1 }.map {
        (latent: $0, value: Float.random(in: 0...2, using: &random))
      }
    }
    var code = SparseCode(nLatents: n, rows: rows)
    #expect(code.isDense)
    let w = Matrix(n, d, random.floats(n * d))
    let x = Matrix(tokens, d, random.floats(tokens * d))
    let bias = Matrix(1, d, random.floats(d))
    let residual = Matrix(tokens, d)
    let squares = decodeResidual(&code, w, target: x.strip, scale: 0.3, into: residual.strip)
    let recon = Matrix(tokens, d)
    decodeLatents(code, w, bias: bias, into: recon.strip)
    let gradients = (0..<tokens).map { b in
      code.row(b).map { entry in
        0.3 * (0..<d).reduce(Float(0)) { $0 + residual[b, $1] * w[entry.latent, $1] }
      }
    }
    for b in 0..<tokens {
      for i in 0..<d {
        let sum = code.row(b).reduce(0) { $0 + Double($1.value) * Double(w[$1.latent, i]) }
        #expect(abs(Double(residual[b, i]) - (sum - Double(x[b, i]))) < 1e-4 * (abs(sum) + 1))
        #expect(abs(Double(recon[b, i]) - (sum + Double(bias[0, i]))) < 1e-4 * (abs(sum) + 1))
      }
    }
    #expect(abs(squares - sumOfSquares(residual)) < 1e-5 * squares)

    // An index of uses alone is enough.
    let index = code.byLatent(placing: false)
    var dDec = Matrix(n, d, repeating: 0.5)
    var dEnc = Matrix(n, d, repeating: 0.25)
    var dBias = Matrix(1, n, repeating: 1)
    weightGradients(
      code, index, residual: residual.strip, scale: 0.3, x: x.strip, dDec: &dDec, dEnc: &dEnc, dBias: &dBias,
      accumulating: true)
    let dX = Matrix(tokens, d)
    inputGradients(code, w, into: dX.strip)
    func zeros(_ count: Int) -> [Double] { [Double](repeating: 0, count: count) }
    var (dec, enc) = (zeros(n * d), zeros(n * d))
    var ofBias = zeros(n)
    for b in 0..<tokens {
      var dRow = zeros(d)
      for (entry, gradient) in zip(code.row(b), gradients[b]) {
        ofBias[entry.latent] += Double(gradient)
        for i in 0..<d {
          dec[entry.latent * d + i] += 0.3 * Double(entry.value) * Double(residual[b, i])
          enc[entry.latent * d + i] += Double(gradient) * Double(x[b, i])
          dRow[i] += Double(gradient) * Double(w[entry.latent, i])
        }
      }
      for i in 0..<d { #expect(abs(Double(dX[b, i]) - dRow[i]) < 1e-3 * (abs(dRow[i]) + 1)) }
    }
    for j in 0..<n {
      #expect(abs(Double(dBias[0, j]) - 1 - ofBias[j]) < 1e-3 * (abs(ofBias[j]) + 1))
      for i in 0..<d {
        #expect(abs(Double(dDec[j, i]) - 0.5 - dec[j * d + i]) < 1e-3 * (abs(dec[j * d + i]) + 1))
        #expect(abs(Double(dEnc[j, i]) - 0.25 - enc[j * d + i]) < 1e-3 * (abs(enc[j * d + i]) + 1))
      }
    }
  }

  @Test(arguments: [(0, 3, 1), (1, 1, 1), (7, 16, 3), (70, 33, 5), (130, 97, 40), (3, 1025, 1025)])
  func largestOfDenseRowsAreThoseOfSorting(tokens: Int, n: Int, k: Int) {
    var random = SeededGenerator(seed: 28)
    // Halves: ties are many, zeros too.
    let values = random.floats(tokens * n, in: -2...2).map { ($0 * 2).rounded() / 2 }
    let bias = Matrix(1, n, random.floats(n, in: -1...1).map { ($0 * 2).rounded() / 2 })
    var acts = Matrix(tokens, n, values)
    let (sum, nActive) = keepLargest(k, of: &acts, bias: bias)
    var (expectedSum, expectedActive) = (0.0, 0)
    for b in 0..<tokens {
      let row = (0..<n).map { values[b * n + $0] + bias[0, $0] }
      let kept = Set(row.indices.filter { row[$0] > 0 }.sorted { (row[$0], -$0) > (row[$1], -$1) }.prefix(k))
      for j in 0..<n { #expect(acts[b, j] == (kept.contains(j) ? row[j] : 0), "token \(b), latent \(j)") }
      expectedSum += kept.reduce(0) { $0 + Double(row[$1]) }
      expectedActive += kept.count
    }
    #expect(nActive == expectedActive)
    #expect(abs(sum - expectedSum) < 1e-6 * (expectedSum + 1))
  }

  @Test func gradientsOfNamedRowsGoToThem() {
    var random = SeededGenerator(seed: 22)
    var code = SparseCode(nLatents: 2, rows: [[(0, 1)], [(1, 2)]])
    let w = Matrix(2, 3, random.floats(6))
    let x = Matrix(2, 3, random.floats(6))
    let residual = Matrix(2, 3)
    _ = decodeResidual(&code, w, target: x.strip, scale: 1, into: residual.strip)
    var dDec = Matrix(5, 3)
    var dEnc = Matrix(5, 3)
    var dBias = Matrix(1, 5)
    weightGradients(
      code, code.byLatent(), rows: [4, 1], residual: residual.strip, scale: 1, x: x.strip, dDec: &dDec, dEnc: &dEnc,
      dBias: &dBias,
      accumulating: true)
    for i in 0..<3 {
      #expect(dDec[4, i] == residual[0, i] && dDec[1, i] == 2 * residual[1, i])
      #expect(dDec[0, i] == 0 && dEnc[2, i] == 0)
    }
  }

  @Test func geometricMedianIgnoresAnOutlier() {
    // Four points of a square and one far away: the median stays inside the square, the mean does not.
    let x = Matrix(5, 2, [0, 0, 0, 1, 1, 0, 1, 1, 1000, 1000])
    let median = geometricMedian(x)
    #expect(median[0, 0] > 0.4 && median[0, 0] < 1.1 && abs(median[0, 0] - median[0, 1]) < 1e-3)
  }

  @Test func rowSweepsEqualTheLoops() {
    var random = SeededGenerator(seed: 24)
    let (rows, d) = (600, 19)
    let values = random.floats(rows * d)
    let x = Matrix(rows, d, values)
    let sums = columnSums(x)
    let coefficients = Matrix(1, rows, random.floats(rows))
    let weighted = weightedRowSum(coefficients, x)
    for i in 0..<d {
      #expect(abs(Double(sums[0, i]) - (0..<rows).reduce(0.0) { $0 + Double(x[$1, i]) }) < 1e-4)
      #expect(
        abs(Double(weighted[0, i]) - (0..<rows).reduce(0.0) { $0 + Double(x[$1, i] * coefficients[0, $1]) }) < 1e-4)
    }
    let mean = (0..<d).map { i in (0..<rows).reduce(0.0) { $0 + Double(x[$1, i]) } / Double(rows) }
    let variance = (0..<rows * d).reduce(0.0) {
      $0 + (Double(values[$1]) - mean[$1 % d]) * (Double(values[$1]) - mean[$1 % d])
    }
    #expect(abs(totalVariance(x) - variance) < 1e-5 * variance)
    #expect(abs(sumOfSquares(x) - values.reduce(0.0) { $0 + Double($1 * $1) }) < 1e-5 * variance)
    var unit = x.copy()
    normalizeRows(&unit)
    var along = Matrix(rows, d, random.floats(rows * d))
    removeParallelPart(of: &along, along: unit)
    for row in 0..<rows {
      let parallel = (0..<d).reduce(0.0) { $0 + Double(unit[row, $1]) * Double(along[row, $1]) }
      #expect(abs(parallel) < 1e-5)
    }
    #expect(x.transposed().transposed().values == values)
  }
}
