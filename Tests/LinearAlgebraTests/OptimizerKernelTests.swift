import Foundation
import LinearAlgebra
import TestSupport
import Testing

/// Sweeps of the optimizers against the loops that define them, in f64.
@Suite struct OptimizerKernelTests {
  static let shapes = [(0, 5), (1, 1), (1, 37), (2, 16), (3, 21), (7, 64), (1100, 17)]

  /// g ← scale·(g − ⟨g, w⟩w) where rows are of unit norm.
  private func prepared(_ g: [Float], _ w: [Double], d: Int, isUnit: Bool, scale: Double) -> [Double] {
    var g = g.map { Double($0) }
    for row in stride(from: 0, to: isUnit ? g.count : 0, by: d) {
      let along = (row..<row + d).reduce(0.0) { $0 + g[$1] * w[$1] }
      for i in row..<row + d { g[i] -= along * w[i] }
    }
    return g.map { $0 * scale }
  }

  private func normalize(_ w: inout [Double], d: Int, rows: [Int]) {
    for row in rows {
      let norm = (0..<d).reduce(0.0) { $0 + w[row * d + $1] * w[row * d + $1] }.squareRoot()
      if norm > 0 { for i in 0..<d { w[row * d + i] /= norm } }
    }
  }

  private enum Rule: CaseIterable { case adam, sgd, signum, sparse, sparseRows }

  /// Three steps; every second row has a gradient, where the rule asks.
  private func compare(_ rule: Rule, rows: Int, d: Int, isUnit: Bool) {
    var random = SeededGenerator(seed: UInt64(41 + rows + d))
    var p = Matrix(rows, d, random.floats(rows * d))
    if isUnit { normalizeRows(&p) }
    var m = Matrix(rows, d)
    var v = Matrix(rows, d)
    var counts = Matrix(rule == .sparseRows ? rows : 0, 1)
    if rule == .sparseRows && rows == 1 && !isUnit { counts = Matrix(1, d) }
    var w = p.values.map { Double($0) }
    var (em, ev) = (w.map { _ in 0.0 }, w.map { _ in 0.0 })
    let isSparse = rule == .sparse || rule == .sparseRows
    for step in 1...3 {
      let g = random.floats(rows * d)
      let gradient = Matrix(rows, d, g)
      let selected = (0..<rows).filter { !isSparse || ($0 + step) % 2 == 0 || (rows == 1 && !isUnit) }
      let list = isSparse ? selected.map { Int32($0) } : nil
      var update = RowUpdate(rows: list, gradientScale: 0.5, normalizing: isUnit)
      if isUnit {
        let sums = GradientSums(rows: rows)
        gradientSums(gradient, rows: list, along: p, removingParallel: true, into: sums)
        update.sums = sums
        let squares = prepared(g, w, d: d, isUnit: true, scale: 1)
        let expected = selected.reduce(0.0) { sum, row in
          sum + (0..<d).reduce(0.0) { $0 + squares[row * d + $1] * squares[row * d + $1] }
        }
        // Of rows of one element nothing is left but rounding.
        #expect(abs(sums.total(rows: list) - expected) <= 1e-5 * expected + 1e-6 * Double(rows))
      }
      let adamStep = AdamStep(learningRate: 0.01, weightDecay: isSparse ? 0 : 0.3, step: step)
      switch rule {
      case .adam: adam(&p, gradient: gradient, m: &m, v: &v, adamStep, update)
      case .sgd:
        sgd(&p, gradient: gradient, b: &m, SGDStep(learningRate: 0.01, momentum: 0.7, weightDecay: 0.3), update)
      case .signum:
        signum(&p, gradient: gradient, m: &m, SignumStep(learningRate: 0.01, momentum: 0.7, weightDecay: 0.3), update)
      case .sparse, .sparseRows: sparseAdam(&p, gradient: gradient, m: &m, v: &v, counts: &counts, adamStep, update)
      }
      let exact = prepared(g, w, d: d, isUnit: isUnit, scale: 0.5)
      for row in selected {
        let t = Double(rule == .sparseRows && (rows > 1 || isUnit) ? (step + row % 2) / 2 : step)
        for i in row * d..<(row + 1) * d {
          switch rule {
          case .sgd:
            em[i] = 0.7 * em[i] + exact[i] + 0.3 * w[i]
            w[i] -= 0.01 * em[i]
          case .signum:
            em[i] = 0.7 * em[i] + 0.3 * exact[i]
            // Where rounding decides the sign (rows of one element, projected) there is nothing to compare.
            w[i] = abs(em[i]) < 1e-6 ? Double(p.values[i]) : w[i] - 0.01 * ((em[i] > 0 ? 1 : -1) + 0.3 * w[i])
          case .adam, .sparse, .sparseRows:
            em[i] = 0.9 * em[i] + 0.1 * exact[i]
            ev[i] = 0.999 * ev[i] + 0.001 * exact[i] * exact[i]
            w[i] *= 1 - 0.01 * Double(adamStep.weightDecay)
            let (first, second) = (1 - Foundation.pow(0.9, t), (1 - Foundation.pow(0.999, t)).squareRoot())
            w[i] -=
              rule == .sparse
              ? 0.01 * second / first * em[i] / (ev[i].squareRoot() + 1e-8)
              : 0.01 / first * em[i] / (ev[i].squareRoot() / second + 1e-8)
          }
        }
      }
      if isUnit { normalize(&w, d: d, rows: selected) }
      // Rows of one element at unit norm: nothing but rounding, which Adam magnifies, moves them before they are scaled.
      for (found, exact) in zip(p.values, w) { #expect(abs(Double(found) - exact) < 2e-5, "\(rule), step \(step)") }
    }
  }

  @Test(arguments: shapes, [false, true])
  func sweepsEqualTheirDefinition(shape: (rows: Int, d: Int), isUnit: Bool) {
    for rule in Rule.allCases { compare(rule, rows: shape.rows, d: shape.d, isUnit: isUnit) }
  }

  @Test func sparseAdamLeavesOtherRowsAlone() {
    let gradient = Matrix(3, 2, repeating: .nan)
    var p = Matrix(3, 2, repeating: 0.5)
    var m = Matrix(3, 2, repeating: 0.25)
    var v = Matrix(3, 2, repeating: 0.125)
    var counts = Matrix(3, 1)
    let step = AdamStep(learningRate: 1, step: 5)
    sparseAdam(&p, gradient: gradient, m: &m, v: &v, counts: &counts, step, RowUpdate(rows: [1]))
    for row in [0, 2] {
      #expect(p[row, 1] == 0.5 && m[row, 0] == 0.25 && v[row, 0] == 0.125 && counts[row, 0] == 0)
    }
    #expect(p[1, 0].isNaN && counts[1, 0] == 1)
  }

  @Test func elementsWithoutGradientAreLeftAloneInASingleRow() {
    let gradient = Matrix(1, 3, [0, 1, 0])
    var p = Matrix(1, 3, repeating: 0.5)
    var m = Matrix(1, 3, repeating: 0.25)
    var v = Matrix(1, 3)
    var counts = Matrix(1, 3)
    let step = AdamStep(learningRate: 0.1, beta1: 0.5, step: 5)
    sparseAdam(&p, gradient: gradient, m: &m, v: &v, counts: &counts, step, RowUpdate())
    #expect(p.values[0] == 0.5 && p.values[2] == 0.5 && p.values[1] < 0.5 && m.values == [0.25, 0.625, 0.25])
    #expect(counts.values == [0, 1, 0])
  }

  @Test(arguments: [0, 1, 15, 16, 37, 70_001])
  func averagesMoveByTheShare(count: Int) {
    var random = SeededGenerator(seed: 50)
    let (start, values) = (random.floats(count), random.floats(count))
    var average = Matrix(1, count, start)
    move(&average, towards: Matrix(1, count, values), share: 0.25)
    #expect(zip(average.values, zip(start, values)).allSatisfy { abs($0 - (0.75 * $1.0 + 0.25 * $1.1)) < 1e-6 })
  }

  @Test func rowsWithGradientAndClearingThem() {
    var x = Matrix(5, 3)
    #expect(rowsWithGradient(x) == [] && rowsWithGradient(Matrix(0, 3)) == [])
    x[1, 2] = .leastNonzeroMagnitude
    x[4, 0] = .nan
    x[2, 1] = -0.0
    #expect(rowsWithGradient(x) == [1, 4])
    var y = Matrix(5, 3, repeating: 2)
    y.clear(rows: [4])
    #expect((0..<5).map { y[$0, 1] } == [2, 2, 2, 2, 0])
    y.clear(rowsExcept: [1, 2])
    #expect((0..<5).map { y[$0, 1] } == [0, 2, 2, 0, 0])
    y.clear(rowsExcept: [])
    #expect(rowsWithGradient(y) == [])
  }
}
