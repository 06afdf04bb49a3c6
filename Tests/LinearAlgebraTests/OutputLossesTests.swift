import Foundation
import LinearAlgebra
import TestSupport
import Testing

@Suite struct OutputLossesTests {
  /// The definitions in double precision, of one row.
  private struct Naive {
    let kl: Double
    let gradient: [Double]
    let nextToken: Double
    /// Σ |q − p|
    let distance: Double

    /// - Parameters:
    ///   - listed: the tokens that have a term of their own; the others share one.
    init(_ state: [Float], _ w: [[Float]], p: [Double], listed: Set<Int>, next: Int) {
      let z = w.map { row in zip(state, row).reduce(0.0) { $0 + Double($1.0) * Double($1.1) } }
      let logQ = OutputLossesTests.logSoftmax(z)
      let q = logQ.map { exp($0) }
      let others = z.indices.filter { !listed.contains($0) }
      let (r, qTail) = (others.reduce(0) { $0 + p[$1] }, others.reduce(0) { $0 + q[$1] })
      var kl = r > 0 ? r * log(r / qTail) : 0
      for i in listed where p[i] > 0 { kl += p[i] * (log(p[i]) - logQ[i]) }
      self.kl = kl
      nextToken = -logQ[next]
      var byLogits = zip(q, p).map { $0 - $1 }
      for i in others { byLogits[i] = q[i] - r * q[i] / qTail }
      distance = byLogits.reduce(0) { $0 + abs($1) }
      gradient = state.indices.map { d in zip(byLogits, w).reduce(0) { $0 + $1.0 * Double($1.1[d]) } }
    }
  }

  private static func logSoftmax(_ z: [Double]) -> [Double] {
    let top = z.max() ?? 0
    let sum = top + log(z.reduce(0) { $0 + exp($1 - top) })
    return z.map { $0 - sum }
  }

  /// Two students, a teacher in all its forms, next tokens and weights; every third row has weight 0.
  private struct Example {
    let (rows, d, v): (Int, Int, Int)
    let w, teacher: [[Float]]
    var students: [[[Float]]]
    let codes: CodedLogits
    var next: [UInt32?]
    let weights: [Float]
    let buckets: BucketTargets
    let listed: [Set<Int>]

    init(_ rows: Int, _ d: Int, _ v: Int) {
      var random = SeededGenerator(seed: UInt64(rows + 31 * v))
      func matrix(_ n: Int, _ m: Int, _ spread: Float) -> [[Float]] {
        (0..<n).map { _ in random.floats(m, in: -spread...spread) }
      }
      (self.rows, self.d, self.v) = (rows, d, v)
      let w = matrix(v, d, 2)
      let teacher = matrix(rows, d, 2)
      (self.w, self.teacher) = (w, teacher)
      students = [Float(0.02), 3].map { far in
        zip(teacher, matrix(rows, d, far)).map { zip($0, $1).map { $0 + $1 } }
      }
      codes = CodedLogits(
        codes: (0..<rows * v).map { _ in UInt16.random(in: 0...65_535, using: &random) },
        steps: (0..<rows).map { Float($0 % 4) * 10 / 65_535 })
      next = (0..<rows).map { $0 % 4 == 3 ? nil : UInt32.random(in: 0..<UInt32(v), using: &random) }
      weights = (0..<rows).map { $0 % 3 == 2 ? 0 : Float($0 % 5) - 2.5 }
      // Some tokens, all, one, none.
      let lists = (0..<rows).map { i in
        Array((0..<v).shuffled(using: &random).prefix([min(3, v), v, 1, 0, v / 2][i % 5]))
      }
      let sets = lists.map(Set.init)
      let p = teacher.map { Example.probabilities($0, w: w) }
      listed = sets
      buckets = BucketTargets(
        starts: lists.reduce(into: [0]) { $0.append($0[$0.count - 1] + $1.count) },
        tokens: lists.flatMap { $0.map { UInt32($0) } },
        probabilities: zip(lists, p).flatMap { tokens, p in tokens.map { Float(p[$0]) } },
        tailMasses: zip(sets, p).map { set, p in
          Float(p.indices.reduce(0.0) { set.contains($1) ? $0 : $0 + p[$1] })
        })
    }

    static func probabilities(_ state: [Float], w: [[Float]]) -> [Double] {
      logSoftmax(w.map { row in zip(state, row).reduce(0.0) { $0 + Double($1.0) * Double($1.1) } }).map { exp($0) }
    }

    /// The teacher's probabilities of a row, and the tokens with a term of their own.
    func target(_ kind: Int, _ row: Int) -> (p: [Double], listed: Set<Int>) {
      let all = Set(0..<v)
      switch kind {
      case 0: return (Example.probabilities(teacher[row], w: w), listed[row])
      case 1: return (Example.probabilities(teacher[row], w: w), all)
      case 2:
        let codes = codes.codes[row * v..<(row + 1) * v]
        return (logSoftmax(codes.map { -Double(self.codes.steps[row]) * Double($0) }).map { exp($0) }, all)
      default: return ((0..<v).map { next[row].map(Int.init) == $0 ? 1 : 0 }, all)
      }
    }
  }

  private struct Found {
    var losses: [OutputLoss]
    var gradients: [[Float]]
  }

  private func run(_ example: Example, kind: Int, students: [Int] = [0, 1], wantsGradient: Bool = true) -> Found {
    func matrix(_ rows: [[Float]], _ columns: Int) -> SharedMatrix {
      SharedMatrix(Matrix(rows.count, columns, rows.flatMap { $0 }))
    }
    let (w, teacher) = (matrix(example.w, example.d), matrix(example.teacher, example.d))
    let states = students.map { matrix(example.students[$0], example.d) }
    let gradients = students.map { _ in SharedMatrix(Matrix(example.rows, example.d, repeating: .nan)) }
    let predictions: TeacherPredictions =
      switch kind {
      case 0: .buckets(example.buckets)
      case 1: .states(teacher)
      case 2: .logits(example.codes)
      default: .nextTokens
      }
    // Strips do not keep their matrices.
    let losses = withExtendedLifetime((w, teacher, states)) {
      outputLosses(
        states.map { $0.matrix.strip }, unembedding: w.matrix.strip, teacher: predictions, nextTokens: example.next,
        weights: example.weights, dStates: wantsGradient ? gradients.map { $0.matrix.strip } : nil,
        scratch: OutputLossScratch())
    }
    return Found(losses: losses, gradients: gradients.map { $0.matrix.values })
  }

  // Vocabularies beyond a tile of 512 and rows beyond a piece included.
  @Test(arguments: [(0, 3, 7), (1, 1, 1), (5, 4, 33), (3, 8, 1030), (67, 5, 521), (331, 2, 17)], 0..<4)
  func lossesAndGradientsEqualTheDefinition(size: (Int, Int, Int), kind: Int) {
    let example = Example(size.0, size.1, size.2)
    let found = run(example, kind: kind)
    let alone = run(example, kind: kind, wantsGradient: false)
    for student in 0..<2 {
      let loss = found.losses[student]
      #expect(loss.values.count == example.rows)
      #expect(alone.losses[student] == loss)
      for i in 0..<example.rows {
        let gradient = found.gradients[student][i * example.d..<(i + 1) * example.d]
        guard example.weights[i] != 0, kind != 3 || example.next[i] != nil else {
          #expect(loss.values[i] == 0 && loss.nextToken?[i] == 0 && gradient.allSatisfy { $0 == 0 })
          continue
        }
        let (p, listed) = example.target(kind, i)
        let next = example.next[i].map(Int.init)
        let naive = Naive(example.students[student][i], example.w, p: p, listed: listed, next: next ?? 0)
        // f32 logits of size 20 are off by some 2e-6.
        #expect(
          abs(Double(loss.values[i]) - naive.kl) < 5e-6 * max(1, naive.kl), "row \(i): \(loss.values[i]), \(naive.kl)")
        #expect(abs(Double(loss.nextToken?[i] ?? .nan) - (next == nil ? 0 : naive.nextToken)) < 1e-5, "row \(i)")
        for (a, b) in zip(gradient, naive.gradient) {
          #expect(abs(Double(a) - b * Double(example.weights[i])) < 2e-5, "row \(i): \(a), \(b)")
        }
      }
    }
  }

  @Test(arguments: 0..<4) func gradientsAreThoseOfFiniteDifferences(kind: Int) {
    let (rows, d) = (6, 3)
    let example = Example(rows, d, 530)
    let found = run(example, kind: kind, students: [1])
    // A step of 1/64 leaves an error of its square times the third derivative, and that of losses exact to 1e-5.
    let h: Float = 1 / 64
    for i in 0..<rows where example.weights[i] != 0 {
      for j in 0..<d {
        func loss(_ sign: Float) -> Double {
          var moved = example
          moved.students[1][i][j] += sign * h
          return Double(run(moved, kind: kind, students: [1]).losses[0].values[i])
        }
        let difference = (loss(1) - loss(-1)) / Double(2 * h) * Double(example.weights[i])
        #expect(abs(difference - Double(found.gradients[0][i * d + j])) < 3e-3 * max(1, abs(difference)), "\(i), \(j)")
      }
    }
  }

  @Test func smallDivergencesKeepTheirDigitsAndGradients() {
    // The unembedding is the identity: logits are exact.
    let v = 700
    var random = SeededGenerator(seed: 5)
    let identity = Matrix(v, v, (0..<v * v).map { $0 % (v + 1) == 0 ? 1 : 0 })
    for peak in [Float(0), 12] {
      let logits = random.floats(v, in: -3...3).enumerated().map { $0 == 600 ? peak : $1 }
      for scale in [Float(0), 1e-5, 1e-3, 0.1] {
        // A shift of all logits is no difference.
        let moved = logits.map { $0 + 5 + scale * Float.random(in: -1...1, using: &random) }
        let teacher = Matrix(1, v, logits)
        let student = Matrix(1, v, moved)
        let gradient = Matrix(1, v)
        let found = outputLosses(
          [student.strip], unembedding: identity.strip, teacher: .states(SharedMatrix(teacher.copy())),
          dStates: [gradient.strip],
          scratch: OutputLossScratch())[0]
        let (logP, logQ) = (Self.logSoftmax(logits.map(Double.init)), Self.logSoftmax(moved.map(Double.init)))
        // p log(p/q) − p + q
        var kl = 0.0
        for (a, b) in zip(logP, logQ) { kl += exp(a) * (a - b + expm1(b - a)) }
        let value = Double(found.values[0])
        #expect(value >= 0 && abs(value - kl) < 2e-3 * kl + 1e-12, "peak \(peak), \(scale): \(value), not \(kl)")
        var error = 0.0
        for (i, g) in gradient.values.enumerated() { error += abs(Double(g) - (exp(logQ[i]) - exp(logP[i]))) }
        #expect(error < 4e-7, "peak \(peak), \(scale): gradient off by \(error)")
      }
    }
  }

  @Test func policiesAgreeWithinTheirBounds() {
    let (rows, v) = (5, 600)
    var random = SeededGenerator(seed: 51)
    let identity = Matrix(v, v, (0..<v * v).map { $0 % (v + 1) == 0 ? 1 : 0 })
    let logits = (0..<rows).map { _ in random.floats(v, in: -6...6) }
    let student = Matrix(rows, v, logits.flatMap { $0.map { $0 + Float.random(in: -1...1, using: &random) } })
    let p = logits.map { Self.logSoftmax($0.map(Double.init)).map { exp($0) } }
    let listed = p.map { p in Array(p.indices.sorted { p[$0] > p[$1] }.prefix(40)) }
    let tails = zip(p, listed).map { p, listed in
      let set = Set(listed)
      return p.indices.reduce(0.0) { set.contains($1) ? $0 : $0 + p[$1] }
    }
    let buckets = BucketTargets(
      starts: (0...rows).map { 40 * $0 }, tokens: listed.flatMap { $0.map { UInt32($0) } },
      probabilities: zip(p, listed).flatMap { p, listed in listed.map { Float(p[$0]) } },
      tailMasses: tails.map { Float($0) })
    let steps = logits.map { (($0.max() ?? 0) - ($0.min() ?? 0)) / 65_535 }
    let codes = zip(logits, steps).flatMap { row, step in
      row.map { UInt16(min(65_535, (((row.max() ?? 0) - $0) / step).rounded())) }
    }
    let teacher = Matrix(rows, v, logits.flatMap { $0 })
    func losses(_ teacher: TeacherPredictions) -> (values: [Float], gradients: [Float]) {
      let gradient = Matrix(rows, v)
      let found = outputLosses(
        [student.strip], unembedding: identity.strip, teacher: teacher, dStates: [gradient.strip],
        scratch: OutputLossScratch())
      return (found[0].values, gradient.values)
    }
    let exact = losses(.states(SharedMatrix(teacher.copy())))
    let bucketed = losses(.buckets(buckets))
    let coded = losses(.logits(CodedLogits(codes: codes, steps: steps)))
    for i in 0..<rows {
      let z = student.values[i * v..<(i + 1) * v].map(Double.init)
      let q = Self.logSoftmax(z).map { exp($0) }
      let rest = Set(0..<v).subtracting(listed[i])
      let (r, qTail) = (tails[i], rest.reduce(0) { $0 + q[$1] })
      let missing = rest.reduce(0) { $0 + p[i][$1] * log(p[i][$1] / r * qTail / q[$1]) }
      #expect(abs(Double(exact.values[i] - bucketed.values[i]) - missing) < 1e-5 && missing > 1e-3)
      func distance(_ gradients: [Float]) -> Double {
        (i * v..<(i + 1) * v).reduce(0.0) { $0 + Double(abs(gradients[$1] - exact.gradients[$1])) }
      }
      #expect(distance(bucketed.gradients) <= 2 * r)
      // Codes are half a step off, log-probabilities a step: p changes by that part, the KL by that part of E_p|log p/q|
      // and by the step.
      let step = Double(steps[i])
      let size = (0..<v).reduce(0.0) { $0 + p[i][$1] * abs(log(p[i][$1] / q[$1])) }
      #expect(Double(abs(coded.values[i] - exact.values[i])) < expm1(step) * size + step + 1e-6)
      #expect(distance(coded.gradients) < expm1(step) + 1e-6)
    }
  }

  @Test(arguments: 0..<4) func resultsDoNotDependOnThreadsNorMuchOnTheOtherStudents(kind: Int) {
    let example = Example(200, 3, 530)
    let before = Threads.count
    defer { Threads.count = before }
    var first: Found?
    for threads in 1...3 {
      Threads.count = threads
      let found = run(example, kind: kind)
      if let first {
        for student in 0..<2 {
          #expect(difference(found.losses[student].values, first.losses[student].values) == nil)
          #expect(difference(found.gradients[student], first.gradients[student]) == nil)
        }
      } else {
        first = found
      }
    }
    for student in 0..<2 {
      let alone = run(example, kind: kind, students: [student])
      let worst = zip(alone.gradients[0], first?.gradients[student] ?? []).map { abs($0 - $1) }.max() ?? 0
      #expect(worst < 1e-5)
    }
  }

  @Test func extremeLogitsStayFiniteAndBrokenStatesDoNotGoUnnoticed() {
    let w = Matrix(3, 1, [1, 0, -1])
    let far = Matrix(2, 1, [1000, -1000])
    let teacher = Matrix(2, 1, [-1000, 1])
    let gradient = Matrix(2, 1)
    func losses(_ student: borrowing Matrix, _ predictions: TeacherPredictions) -> [Float] {
      outputLosses(
        [student.strip], unembedding: w.strip, teacher: predictions, nextTokens: [0, 0], dStates: [gradient.strip],
        scratch: OutputLossScratch())[0].values
    }
    #expect(losses(far, .nextTokens) == [0, 2000])
    #expect(gradient.values == [0, -2])
    let kl = losses(far, .states(SharedMatrix(teacher.copy())))
    // −H + E_p[−log q]: all on the last token, 2,000 below; p = (e, 1, 1/e)/Z.
    let (e, inverse) = (2.718_281_828_459_045, 0.367_879_441_171_442)
    let z = e + 1 + inverse
    let expected: Double = 1000 + (e - inverse) / z * 1001 - log(z)
    #expect(kl[0] == 2000 && abs(Double(kl[1]) - expected) < 1e-3, "\(kl), \(expected)")
    let broken = Matrix(2, 1, [.nan, .infinity])
    let targets = BucketTargets(
      starts: [0, 1, 2], tokens: [1, 2], probabilities: [0.5, 0.5], tailMasses: [0.5, 0.5])
    for predictions in [TeacherPredictions.nextTokens, .states(SharedMatrix(teacher.copy())), .buckets(targets)] {
      #expect(losses(broken, predictions).allSatisfy { !$0.isFinite })
    }
  }

  /// `scripts/fixtures/output_losses.py`
  private struct Fixture: Decodable {
    var rows, width, vocabulary: Int
    var unembedding, teacher, student, weights, steps: [Float]
    var tokens: [UInt32]
    var codes: [UInt16]
    var losses, gradients: [String: [Float]]
  }

  @Test func lossesAndGradientsEqualThoseOfPyTorch() throws {
    let path = SharedInputs.packageRoot.appendingPathComponent(
      "Tests/LinearAlgebraTests/Fixtures/output_losses.json")
    let fixture = try JSONDecoder().decode(Fixture.self, from: Data(contentsOf: path))
    let w = Matrix(fixture.vocabulary, fixture.width, fixture.unembedding)
    let teacher = Matrix(fixture.rows, fixture.width, fixture.teacher)
    let student = Matrix(fixture.rows, fixture.width, fixture.student)
    let next: [UInt32?] = fixture.tokens.enumerated().map { $0 == 4 ? nil : $1 }
    let cases: [(String, TeacherPredictions)] = [
      ("states", .states(SharedMatrix(teacher.copy()))),
      ("logits", .logits(CodedLogits(codes: fixture.codes, steps: fixture.steps))),
      ("nextTokens", .nextTokens),
    ]
    for (name, predictions) in cases {
      let gradient = Matrix(fixture.rows, fixture.width)
      let found = outputLosses(
        [student.strip], unembedding: w.strip, teacher: predictions, nextTokens: next, weights: fixture.weights,
        dStates: [gradient.strip], scratch: OutputLossScratch())[0]
      let (losses, gradients) = try (#require(fixture.losses[name]), #require(fixture.gradients[name]))
      for (a, b) in zip(found.values, losses) {
        #expect(abs(a - b) < 3e-6 * max(1, b), "\(name): \(a), PyTorch has \(b)")
      }
      for (a, b) in zip(gradient.values, gradients) { #expect(abs(a - b) < 5e-6, "\(name): \(a), PyTorch has \(b)") }
      let crossEntropies = try #require(fixture.losses["nextTokens"])
      for (a, b) in zip(found.nextToken ?? [], crossEntropies) { #expect(abs(a - b) < 3e-6 * max(1, b), "\(name)") }
    }
  }
}
