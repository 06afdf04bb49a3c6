import Foundation

// R rows, D width of the final state, V vocabulary.

/// What the predictions of a student are compared with, row by row.
package enum TeacherPredictions: Sendable {
  /// KL over the listed tokens and one bucket for all others: see `bucketedDivergence`.
  case buckets(BucketTargets)
  /// KL over the vocabulary, from the teacher's final states [R, D], through the same unembedding.
  case states(SharedMatrix)
  /// KL over the vocabulary, from all of the teacher's logits.
  case logits(CodedLogits)
  /// Cross-entropy of the next token; rows without one are not scored.
  case nextTokens
}

/// Logits of all tokens in 16-bit steps below the largest of the row, up to a constant per row.
package struct CodedLogits: Sendable {
  /// [R, V]; the logit of a token is −step·code.
  package let codes: [UInt16]
  /// R numbers, at least 0.
  package let steps: [Float]

  package init(codes: [UInt16], steps: [Float]) { (self.codes, self.steps) = (codes, steps) }
}

/// What `outputLosses` found of one student: R numbers each, nats; 0 where a row is not scored.
package struct OutputLoss: Sendable, Equatable {
  package fileprivate(set) var values: [Float]
  /// Cross-entropy of the next token, 0 where there is none; nil if no tokens were given.
  package fileprivate(set) var nextToken: [Float]?
}

/// The loss of every row at the model's output, and its gradient by the final states; logits exist only as a tile that
/// stays in the cache of a core.
///
/// One sweep over the vocabulary: with every tile of logits z the sums Σ e^(z − m) and Σ e^(z − m)·W are carried on, m
/// the largest so far (as in flash attention, Dao et al. 2022, arXiv 2205.14135); the gradient (q − p)·W is put
/// together from them at the end. That takes two products per student, and two for a teacher's states or one for its
/// coded logits, which all students of a call share.
///
/// Rows of weight 0 are left out before the products. There is no unembedding bias: no model of ours has one. Results
/// do not depend on the number of threads.
///
/// - Parameters:
///   - students: final states [R, D] of each, as they go into the unembedding.
///   - unembedding: [V, D], W.
///   - nextTokens: R token ids below V (checked), nil where a row has none. Needed for `.nextTokens`; with other
///     teachers they add `OutputLoss.nextToken`.
///   - weights: R factors of the gradient, for instance 1 / number of scored rows; a row of weight 0 is not scored.
///     nil: all 1.
///   - dStates: [R, D] of each student, overwritten by the gradient times the weights, by 0 in rows that are not
///     scored; nil if it is not wanted, which halves the work.
package func outputLosses(
  _ students: [Strip], unembedding: Strip, teacher: TeacherPredictions, nextTokens: [UInt32?]? = nil,
  weights: [Float]? = nil, dStates: [Strip]? = nil, scratch: OutputLossScratch
) -> [OutputLoss] {
  guard let n = students.first?.rows else { return [] }
  check(students, unembedding, teacher, nextTokens, weights, dStates)
  var scored = Array(0..<n)
  if let weights { scored.removeAll { weights[$0] == 0 } }
  if case .nextTokens = teacher, let nextTokens { scored.removeAll { nextTokens[$0] == nil } }
  if let dStates, scored.count < n {
    for gradient in dStates {
      for i in 0..<n { gradient.row(i).update(repeating: 0, count: gradient.columns) }
    }
  }
  let task = OutputLossTask(
    students: students, unembedding: unembedding, teacher: teacher.resolved(nextTokens), nextTokens: nextTokens,
    weights: weights, dStates: dStates)
  let perPiece = task.rowsPerPiece(scored.count)
  let nPieces = (scored.count + perPiece - 1) / perPiece
  let memory = scratch.reserve(min(Threads.count, nPieces), task.scratchCount(rows: perPiece))

  var values = [Float](repeating: 0, count: students.count * n)
  var nextValues = [Float](repeating: 0, count: nextTokens == nil ? 0 : students.count * n)
  values.withUnsafeMutableBufferPointer { values in
    nextValues.withUnsafeMutableBufferPointer { nextValues in
      let out = Shared((values: values, next: nextValues))
      Threads.forEach(nPieces) { worker, i in
        let rows = Array(scored[i * perPiece..<min(scored.count, (i + 1) * perPiece)])
        var piece = OutputLossPiece(task, rows, memory: memory.row(worker))
        piece.run { student, row, value, nextToken in
          out.value.values[student * n + row] = Float(value)
          if let nextToken { out.value.next[student * n + row] = Float(nextToken) }
        }
      }
    }
  }
  return students.indices.map { student in
    let range = student * n..<(student + 1) * n
    return OutputLoss(
      values: Array(values[range]), nextToken: nextTokens == nil ? nil : Array(nextValues[range]))
  }
}

/// Memory of `outputLosses`, some 2 MiB per worker; keep one and pass it to every call.
package final class OutputLossScratch {
  private var matrix = Matrix(0, 0)

  package init() {}

  /// One row per worker.
  func reserve(_ workers: Int, _ count: Int) -> Strip {
    if matrix.rows < workers || matrix.columns < count { matrix = Matrix(uninitialized: workers, count) }
    return matrix.strip
  }
}

extension TeacherPredictions {
  /// Next tokens are buckets: one listed token of probability 1, whose KL is its cross-entropy.
  fileprivate func resolved(_ nextTokens: [UInt32?]?) -> TeacherPredictions {
    guard case .nextTokens = self, let nextTokens else { return self }
    let starts = nextTokens.reduce(into: [0]) { $0.append($0[$0.count - 1] + ($1 == nil ? 0 : 1)) }
    let tokens = nextTokens.compactMap { $0 }
    return .buckets(
      BucketTargets(
        starts: starts, tokens: tokens, probabilities: [Float](repeating: 1, count: tokens.count),
        tailMasses: nextTokens.map { $0 == nil ? 1 : 0 }))
  }
}

private func check(
  _ students: [Strip], _ unembedding: Strip, _ teacher: TeacherPredictions, _ nextTokens: [UInt32?]?,
  _ weights: [Float]?, _ dStates: [Strip]?
) {
  let (n, d, v) = (students[0].rows, unembedding.columns, unembedding.rows)
  precondition(n == 0 || v > 0, "a vocabulary of 0")
  precondition(dStates.map { $0.count == students.count } ?? true, "gradients are not those of the students")
  for strip in students + (dStates ?? []) {
    precondition(strip.rows == n && strip.columns == d, "[\(strip.rows), \(strip.columns)], not [\(n), \(d)]")
  }
  precondition(
    weights.map { $0.count == n } ?? true && nextTokens.map { $0.count == n } ?? true,
    "\(weights?.count ?? n) weights and \(nextTokens?.count ?? n) next tokens for \(n) rows")
  for case let token? in nextTokens ?? [] { precondition(Int(token) < v, "token \(token), vocabulary of \(v)") }
  switch teacher {
  case .buckets(let targets): targets.check(rows: n, vocabulary: v)
  case .states(let shared):
    let states = shared.matrix.strip
    precondition(
      states.rows == n && states.columns == d, "teacher's [\(states.rows), \(states.columns)], not [\(n), \(d)]")
  case .logits(let coded):
    precondition(
      coded.steps.count == n && coded.codes.count == n * v,
      "\(coded.codes.count) codes and \(coded.steps.count) steps for [\(n), \(v)]")
  case .nextTokens: precondition(nextTokens != nil, "no next tokens are given")
  }
}
