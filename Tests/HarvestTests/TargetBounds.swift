import ActCache
import Foundation
import LinearAlgebra
import TestSupport
import Testing

/// A teacher's and a student's predictions at some positions.
struct Predictions {
  let nVocabulary: Int
  /// Logits of the student, [positions, vocabulary].
  let student: [Float]
  /// log p of the teacher and log q of the student, row after row, in double precision.
  let logP: [Double]
  let logQ: [Double]
  let p: [Double]
  let q: [Double]

  /// Both [positions, vocabulary].
  init(teacher: borrowing Matrix, student: borrowing Matrix) {
    nVocabulary = teacher.columns
    self.student = student.values
    logP = Predictions.logProbabilities(teacher)
    logQ = Predictions.logProbabilities(student)
    p = logP.map { exp($0) }
    q = logQ.map { exp($0) }
  }

  /// log softmax of each row.
  private static func logProbabilities(_ logits: borrowing Matrix) -> [Double] {
    let n = logits.columns
    return logits.withSpan { values in
      var result: [Double] = []
      result.reserveCapacity(values.count)
      for start in stride(from: 0, to: values.count, by: n) {
        var (top, sum) = (-Double.infinity, 0.0)
        for i in start..<start + n { top = max(top, Double(values[i])) }
        for i in start..<start + n { sum += exp(Double(values[i]) - top) }
        let logSum = top + log(sum)
        for i in start..<start + n { result.append(Double(values[i]) - logSum) }
      }
      return result
    }
  }

  /// Checks all that docs/design.md promises of `targets`, those of the same positions; of those that are no text, that
  /// nothing comes of them.
  /// - Returns: the largest share of 2r that a gradient was off by.
  @discardableResult
  func expectBounds(of targets: TeacherTargets, _ policy: LogitPolicy, isText: (Int) -> Bool = { _ in true }) -> Double
  {
    let v = nVocabulary
    // Becomes the gradient.
    let logits = Matrix(targets.nTokens, v, student)
    let bucketed = bucketedDivergence(
      logits.strip,
      BucketTargets(
        starts: targets.starts, tokens: targets.indices, probabilities: targets.probabilities,
        tailMasses: targets.tailMasses), weights: [Float](repeating: 1, count: targets.nTokens))
    let gradients = logits.values
    var isListed = [Bool](repeating: false, count: v)
    var largestShare = 0.0
    for i in 0..<targets.nTokens {
      let entries = targets.starts[i]..<targets.starts[i + 1]
      let row = i * v..<(i + 1) * v
      guard isText(i) else {
        #expect(entries.isEmpty && abs(bucketed[i]) < 1e-6 && gradients[row].allSatisfy { abs($0) < 1e-6 })
        continue
      }
      for j in entries { isListed[Int(targets.indices[j])] = true }
      var (kl, ofTail, r, qTail, distance, nListed) = (0.0, 0.0, 0.0, 0.0, 0.0, 0)
      for j in 0..<v {
        let term = p[row.lowerBound + j] * (logP[row.lowerBound + j] - logQ[row.lowerBound + j])
        kl += term
        distance += abs(Double(gradients[row.lowerBound + j]) - (q[row.lowerBound + j] - p[row.lowerBound + j]))
        if isListed[j] {
          nListed += 1
        } else {
          ofTail += term
          r += p[row.lowerBound + j]
          qTail += q[row.lowerBound + j]
        }
      }
      for j in entries { isListed[Int(targets.indices[j])] = false }
      // r·KL(p_T/r ‖ q_T/q(T)).
      if r > 0 { ofTail -= r * (log(r) - log(qTail)) }
      let missing = kl - Double(bucketed[i])
      // Codes are half a step off at most; that and f32 logits are what differs beside the tail.
      let noise = 2e-4 * max(1, kl)
      #expect(abs(missing - ofTail) < noise, "\(policy.name): \(missing), r·KL(tail) is \(ofTail)")
      #expect(missing > -noise, "\(policy.name)")
      #expect(
        abs(Double(targets.tailMasses[i]) - r) <= 1e-4 * r + 1e-7, "\(policy.name): \(targets.tailMasses[i]), not \(r)")
      #expect(distance <= 2 * r + 5e-4, "\(policy.name): \(distance), 2r is \(2 * r)")
      #expect(nListed == entries.count)
      if r > 1e-3 { largestShare = max(largestShare, distance / (2 * r)) }
      switch policy {
      case .topK(let k): #expect(entries.count == k)
      case .mass(let most, let cap): #expect(entries.count == min(cap, v) || r <= most * 1.0001)
      case .full: #expect(entries.count == v && r == 0)
      case .hidden: break
      }
    }
    return largestShare
  }
}

/// Final states with noise, which moves the logits as an SAE in the model does.
func noisy(_ state: borrowing Matrix, _ random: inout SeededGenerator) -> Matrix {
  let values = state.values
  let scale = Float(0.1) * (values.reduce(0) { $0 + $1 * $1 } / Float(values.count)).squareRoot()
  return Matrix(state.rows, state.columns, values.map { $0 + scale * Float.random(in: -2...2, using: &random) })
}
