import Foundation

/// Teacher distributions of some rows: the probabilities of some tokens and that of all others together.
package struct BucketTargets: Sendable {
  /// Row i is entries `starts[i]..<starts[i + 1]` of `tokens` and `probabilities`.
  package let starts: [Int]
  package let tokens: [UInt32]
  package let probabilities: [Float]
  /// 1 − Σ probabilities of the row.
  package let tailMasses: [Float]

  package init(starts: [Int], tokens: [UInt32], probabilities: [Float], tailMasses: [Float]) {
    precondition(
      starts.count == tailMasses.count + 1 && starts.first == 0 && starts.last == tokens.count
        && tokens.count == probabilities.count,
      "\(starts.count) starts, \(tokens.count) tokens, \(probabilities.count) probabilities, \(tailMasses.count) tails")
    (self.starts, self.tokens, self.probabilities, self.tailMasses) = (starts, tokens, probabilities, tailMasses)
  }

  package var rows: Int { tailMasses.count }
}

/// KL(teacher ‖ student) in nats of every row, over the listed tokens and one bucket for all others, and its gradient.
///
/// With S the listed tokens, T the others, p and r the teacher's probabilities and tail, q the student's:
/// KL = CE − H = Σ_S p (log p − log q) + r (log r − log q(T)), where q(T) = Σ_T q is summed over T, never 1 − Σ_S q.
/// It is below the KL over all tokens by r·KL(p_T/r ‖ q_T/q(T)) ≥ 0. The gradient by the logits is q − p on S and
/// q_T (1 − r/q(T)) on T; its L1 distance from that of the full KL is at most 2r.
///
/// Computed as Σ p(δ − 1 + e^−δ), δ = log p − log q, over S and the bucket, which is the same since both sum to 1 but
/// keeps the digits of a small KL. A row without tokens and tail 1 (padding) has KL 0 and gradient 0.
///
/// - Parameters:
///   - logits: [R, V] of the student; overwritten: by `weights[i]` times the gradient of row i, or if there are no
///     weights by anything.
///   - targets: of these rows; tokens below V, none twice in a row (checked: the former).
///   - weights: R factors, for instance 1 / number of scored rows.
package func bucketedDivergence(_ logits: Strip, _ targets: BucketTargets, weights: [Float]? = nil) -> [Float] {
  check(targets, rows: logits.rows, weights, vocabulary: logits.columns)
  return [Float](unsafeUninitializedCapacity: logits.rows) { kl, count in
    let out = Shared(kl)
    Threads.forEach(logits.rows) { i in
      out.value.initializeElement(
        at: i, to: divergenceOfRow(logits.row(i), logits.columns, targets, i, weight: weights?[i]))
    }
    count = logits.rows
  }
}

/// The same from the inputs of the unembedding, with logits for 64 rows at a time and worker.
///
/// - Parameters:
///   - states: [R, D] of the student.
///   - unembedding: [V, D].
///   - dStates: [R, D], overwritten by the gradient times the weights; nil if it is not wanted.
package func bucketedDivergence(
  _ states: Strip, unembedding: Strip, _ targets: BucketTargets, weights: [Float]? = nil, dStates: Strip? = nil,
  scratch: LogitScratch
) -> [Float] {
  let (n, v) = (states.rows, unembedding.rows)
  check(targets, rows: n, weights, vocabulary: v)
  precondition((weights == nil) == (dStates == nil), "weights and dStates come together")
  precondition(
    dStates.map { $0.rows == n && $0.columns == states.columns } ?? true,
    "the gradient is not [\(n), \(states.columns)]")
  let perPiece = 64
  let tiles = scratch.reserve(Threads.count, perPiece * v)
  return [Float](unsafeUninitializedCapacity: n) { kl, count in
    let out = Shared(kl)
    Threads.forEach((n + perPiece - 1) / perPiece) { worker, piece in
      let rows = piece * perPiece..<min(n, (piece + 1) * perPiece)
      let logits = tiles.rows(worker..<worker + 1).shaped(rows.count, v)
      gemm(states.rows(rows), unembedding, into: logits, transposeB: true)
      for i in rows {
        let row = logits.row(i - rows.lowerBound)
        out.value.initializeElement(at: i, to: divergenceOfRow(row, v, targets, i, weight: weights?[i]))
      }
      if let dStates { gemm(logits, unembedding, into: dStates.rows(rows)) }
    }
    count = n
  }
}

private func check(_ targets: BucketTargets, rows: Int, _ weights: [Float]?, vocabulary v: Int) {
  precondition(
    targets.rows == rows && weights.map { $0.count == rows } ?? true,
    "targets of \(targets.rows) rows and \(weights?.count ?? rows) weights for \(rows) rows")
  for token in targets.tokens { precondition(Int(token) < v, "token \(token), vocabulary of \(v)") }
}

private func divergenceOfRow(
  _ logits: UnsafeMutablePointer<Float>, _ v: Int, _ targets: BucketTargets, _ row: Int, weight: Float?
) -> Float {
  let entries = targets.starts[row]..<targets.starts[row + 1]
  // The listed logits leave the row, so that what remains is the tail.
  let listed = entries.map { entry in
    let token = Int(targets.tokens[entry])
    defer { logits[token] = -.infinity }
    return Double(logits[token])
  }
  let topOfListed = listed.max() ?? -.infinity
  let sumOfListed = listed.reduce(0.0) { $0 + exp($1 - topOfListed) }
  let tail = exponentiate(logits, v)

  let top = max(topOfListed, tail.top)
  let logSum = top + log(sumOfListed * exp(topOfListed - top) + tail.sum * exp(tail.top - top))
  // nil where there is no other token.
  let logTail = tail.sum > 0 ? tail.top + log(tail.sum) - logSum : nil

  var kl = 0.0
  for (place, entry) in entries.enumerated() {
    kl += term(Double(targets.probabilities[entry]), logQ: listed[place] - logSum)
  }
  let r = Double(targets.tailMasses[row])
  if let logTail { kl += term(r, logQ: logTail) } else if r > 0 { kl = .infinity }

  if let weight {
    let factor = tail.sum > 0 ? Float((exp(logTail ?? 0) - r) / tail.sum) * weight : 0
    multiply(logits, by: factor, count: v)
    for (place, entry) in entries.enumerated() {
      let difference = exp(listed[place] - logSum) - Double(targets.probabilities[entry])
      logits[Int(targets.tokens[entry])] = Float(difference) * weight
    }
  }
  return Float(kl)
}

/// p(δ − 1 + e^−δ) with δ = log p − log q: p log(p/q) − p + q.
private func term(_ p: Double, logQ: Double) -> Double {
  if p <= 0 { return exp(logQ) }
  let delta = log(p) - logQ
  return p * (delta + expm1(-delta))
}

/// Replaces x by e^(x − top), top the largest of the row, and sums it. All −∞ become 0.
private func exponentiate(_ x: UnsafeMutablePointer<Float>, _ v: Int) -> (top: Double, sum: Double) {
  let whole = v & ~15
  let top = largest(x, v)
  if top == -.infinity {
    x.update(repeating: 0, count: v)
    return (-.infinity, 0)
  }
  let shift = Lanes(repeating: top)
  var sum = 0.0
  for block in stride(from: 0, to: whole, by: 1024) {
    var s = Lanes.zero
    for i in stride(from: block, to: min(whole, block + 1024), by: 16) {
      let e = exp(x.lanes(at: i) - shift)
      x.store(e, at: i)
      s += e
    }
    sum += Double(s.total)
  }
  for i in whole..<v {
    x[i] = exp(x[i] - top)
    sum += Double(x[i])
  }
  return (Double(top), sum)
}
