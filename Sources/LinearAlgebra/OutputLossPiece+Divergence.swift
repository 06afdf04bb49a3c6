extension OutputLossPiece {
  /// KL from the teacher's logits, computed or decoded; its exponentials and Σ e^a·W serve all students.
  ///
  /// The gradient is the difference of two sums of V terms, E_q[W] − E_p[W]: each is exact to some 1e-7 of the largest
  /// |W|, and so is the difference, whatever is left of it. f32 logits alone make q that inexact.
  mutating func divergences() -> [Double] {
    let (m, d, v) = (rows.count, sums.columns, task.unembedding.rows)
    let nStudents = task.students.count
    var terms = [RunningDivergence](repeating: RunningDivergence(), count: nStudents * m)
    forEachTile { piece, columns, padded in
      if case .logits(let coded) = piece.task.teacher {
        for (i, row) in piece.rows.enumerated() {
          decode(coded, row * v + columns.lowerBound, step: coded.steps[row], into: piece.tile.row(i), columns.count)
        }
      }
      for i in 0..<m { piece.addTile(to: &terms, i, padded) }
    }
    for i in 0..<m { logSums[i] = running[i].logSum }
    return (0..<nStudents * m).map { place in
      let (i, student) = (place % m, running[m + place])
      logSums[m + place] = student.logSum
      if let gradient = task.dStates?[place / m].row(rows[i]) {
        let weight = task.weights?[rows[i]] ?? 1
        gradient.update(from: sums.row(m + place), count: d)
        multiply(gradient, by: Float(1 / student.sum), count: d)
        accumulate(sums.row(i), times: Float(-1 / running[i].sum), into: gradient, count: d)
        multiply(gradient, by: weight, count: d)
      }
      return terms[place].value(teacher: running[i], student: student)
    }
  }

  /// Row i of a tile, of the teacher and of all students.
  @inline(__always)
  private mutating func addTile(to terms: inout [RunningDivergence], _ i: Int, _ count: Int) {
    let (m, d) = (rows.count, sums.columns)
    let y = tile.row(i)
    let top = largest(y, count)
    if let factor = running[i].raise(to: top) {
      if wantsGradient { multiply(sums.row(i), by: Float(factor), count: d) }
      var token = 0
      while token < count - 1 && y[token] != top { token += 1 }
      for place in 0..<terms.count / m {
        terms[place * m + i].raise(by: factor, u: top - tile.row((place + 1) * m + i)[token])
      }
    }
    let teacher = running[i]
    spare.update(from: y, count: count)
    running[i].add(y, count)
    for place in stride(from: i, to: terms.count, by: m) {
      let z = tile.row(m + place)
      if let factor = running[m + place].raise(to: largest(z, count)), wantsGradient {
        multiply(sums.row(m + place), by: Float(factor), count: d)
      }
      terms[place].add(spare, y, z, count, teacher: teacher, student: &running[m + place])
    }
  }
}

/// out = −step·code of `count` codes from `first` on.
private func decode(
  _ coded: CodedLogits, _ first: Int, step: Float, into out: UnsafeMutablePointer<Float>, _ count: Int
) {
  coded.codes.withUnsafeBufferPointer { codes in
    guard let start = codes.baseAddress else { return }
    let whole = count & ~15
    let factor = Lanes(repeating: -step)
    for i in stride(from: 0, to: whole, by: 16) {
      let codes = UnsafeRawPointer(start + first + i).loadUnaligned(as: SIMD16<UInt16>.self)
      // In the low bits of 2²³ they are floats: a conversion would not be vectorised.
      let bits = SIMD16<UInt32>(truncatingIfNeeded: codes) | 0x4B00_0000
      out.store((unsafeBitCast(bits, to: Lanes.self) - 0x1p23) * factor, at: i)
    }
    for i in whole..<count { out[i] = -step * Float(start[first + i]) }
  }
}
