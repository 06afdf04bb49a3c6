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

  func check(rows n: Int, vocabulary v: Int) {
    precondition(rows == n, "targets of \(rows) rows for \(n) rows")
    for token in tokens { precondition(Int(token) < v, "token \(token), vocabulary of \(v)") }
  }
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
  targets.check(rows: logits.rows, vocabulary: logits.columns)
  precondition(
    weights.map { $0.count == logits.rows } ?? true, "\(weights?.count ?? 0) weights for \(logits.rows) rows")
  return [Float](unsafeUninitializedCapacity: logits.rows) { kl, count in
    let out = Shared(kl)
    Threads.forEach(logits.rows) { i in
      out.value.initializeElement(
        at: i, to: divergenceOfRow(logits.row(i), logits.columns, targets, i, weight: weights?[i]))
    }
    count = logits.rows
  }
}

private func divergenceOfRow(
  _ logits: UnsafeMutablePointer<Float>, _ v: Int, _ targets: BucketTargets, _ row: Int, weight: Float?
) -> Float {
  let entries = targets.starts[row]..<targets.starts[row + 1]
  // The listed logits leave the row, so that what remains is the tail.
  let listed = entries.map { entry in
    let token = Int(targets.tokens[entry])
    defer { logits[token] = -.infinity }
    return logits[token]
  }
  let tail = exponentiate(logits, v)
  let found = BucketedRow(listed[...], tailTop: tail.top, tailSum: tail.sum, targets, row)
  if let weight {
    multiply(logits, by: Float(found.tailFactor) * weight, count: v)
    for (place, entry) in entries.enumerated() {
      let difference = found.difference(listed[place], targets.probabilities[entry])
      logits[Int(targets.tokens[entry])] = Float(difference) * weight
    }
  }
  return Float(found.kl)
}

/// What remains of a student's row once its exponentials are summed over the tail.
struct BucketedRow {
  let kl: Double
  /// log Σ e^z over the vocabulary.
  let logSum: Double
  /// (1 − r/q(T))·q/e^(z − tailTop) of a token of the tail: times its exponential it is the gradient.
  let tailFactor: Double

  /// - Parameters:
  ///   - listed: the student's logits of the listed tokens.
  ///   - tailSum: Σ e^(z − tailTop) over the others, 0 if there is none.
  init(_ listed: ArraySlice<Float>, tailTop: Double, tailSum: Double, _ targets: BucketTargets, _ row: Int) {
    let topOfListed = Double(listed.max() ?? -.infinity)
    let sumOfListed = listed.reduce(0.0) { $0 + exp(Double($1) - topOfListed) }
    let top = max(topOfListed, tailTop)
    logSum = top + log(sumOfListed * exp(topOfListed - top) + tailSum * exp(tailTop - top))
    var kl = 0.0
    for (logit, entry) in zip(listed, targets.starts[row]..<targets.starts[row + 1]) {
      kl += term(Double(targets.probabilities[entry]), logQ: Double(logit) - logSum)
    }
    let r = Double(targets.tailMasses[row])
    if tailSum > 0 {
      let logTail = tailTop + log(tailSum) - logSum
      kl += term(r, logQ: logTail)
      tailFactor = (exp(logTail) - r) / tailSum
    } else {
      if r > 0 { kl = .infinity }
      tailFactor = 0
    }
    self.kl = kl
  }

  /// q − p of a listed token.
  func difference(_ logit: Float, _ p: Float) -> Double { exp(Double(logit) - logSum) - Double(p) }
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
