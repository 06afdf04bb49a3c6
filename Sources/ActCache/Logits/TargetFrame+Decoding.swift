import Foundation

extension TargetFrameShape {
  /// Reads the content of a frame of `nTokens` tokens, of which nothing is believed: whatever bytes come, they are
  /// targets that this policy could have written, or a `TargetFault`.
  package func decode(_ content: RawSpan, nTokens: Int) throws(TargetFault) -> TeacherTargets {
    guard allows(contentBytes: content.byteCount, nTokens: nTokens) else {
      throw TargetFault("\(content.byteCount) bytes cannot be \(nTokens) tokens of \(policy.name)")
    }
    switch layout {
    case .listed(let most, let indexByteCount):
      return try decodeListed(content, nTokens, most: most, indexByteCount: indexByteCount)
    case .full: return try decodeFull(content, nTokens)
    }
  }

  package func decode(_ content: [UInt8], nTokens: Int) throws(TargetFault) -> TeacherTargets {
    try content.withRawSpan { (bytes: RawSpan) throws(TargetFault) in try decode(bytes, nTokens: nTokens) }
  }

  private func decodeListed(
    _ content: RawSpan, _ n: Int, most: Int, indexByteCount: Int
  ) throws(TargetFault) -> TeacherTargets {
    let counts: [UInt32] = try list(content, at: 0, n)
    let tailMasses = try floats(content, at: 4 * n, n)
    let entropies = try floats(content, at: 8 * n, n)
    let tops = try floats(content, at: 12 * n, n)
    let steps = try floats(content, at: 16 * n, n)
    var starts = [0]
    for token in 0..<n {
      // At most 2^26 tokens of 4,096 entries: no overflow.
      guard counts[token] <= most else { throw fault(token, "\(counts[token]) entries, at most \(most) are allowed") }
      starts.append(starts[token] + Int(counts[token]))
    }
    let total = starts[n]
    guard content.byteCount == 20 * n + total * (indexByteCount + 2) else {
      throw TargetFault("\(total) entries of \(n) tokens do not take \(content.byteCount) bytes")
    }
    let indices: [UInt32] = try list(content, at: 20 * n, total, byteCount: indexByteCount)
    var codes: [UInt16] = try list(content, at: 20 * n + indexByteCount * total, total)
    var probabilities: [Float] = []
    probabilities.reserveCapacity(total)
    // Which token last listed an index, plus one.
    var lister = [Int32](repeating: 0, count: nVocabulary)
    for token in 0..<n {
      let entries = starts[token]..<starts[token + 1]
      let (top, step, tail) = (tops[token], steps[token], tailMasses[token])
      if entries.isEmpty {
        guard top == 0, step == 0, tail == 1, entropies[token] == 0 else {
          throw fault(token, "no entries, but it is not padding")
        }
        continue
      }
      try check(token, top: top, step: step, entropy: entropies[token])
      guard isTail(tail, count: entries.count, most: most) else {
        throw fault(token, "\(entries.count) entries leave a mass of \(tail), which \(policy.name) does not")
      }
      for i in entries {
        guard indices[i] < nVocabulary, lister[Int(indices[i])] != token + 1 else {
          throw fault(token, "index \(indices[i]) is outside the vocabulary of \(nVocabulary) or listed twice")
        }
        lister[Int(indices[i])] = Int32(token + 1)
      }
      guard codes[entries.lowerBound] == 0 else { throw fault(token, "its codes do not begin with 0") }
      for i in entries.dropFirst() {
        let (sum, overflow) = codes[i].addingReportingOverflow(codes[i - 1])
        guard !overflow else { throw fault(token, "its codes exceed 65535") }
        codes[i] = sum
      }
      try appendProbabilities(token, codes[entries], top: top, step: step, mass: 1 - Double(tail), to: &probabilities)
    }
    return TeacherTargets(
      nVocabulary: nVocabulary, starts: starts, indices: indices, probabilities: probabilities,
      tailMasses: tailMasses, entropies: entropies)
  }

  private func decodeFull(_ content: RawSpan, _ n: Int) throws(TargetFault) -> TeacherTargets {
    let v = nVocabulary
    let coded = try decodeCodes(content, nTokens: n)
    let vocabulary = (0..<UInt32(v))
    var starts = [0]
    var tailMasses: [Float] = []
    var indices: [UInt32] = []
    var probabilities: [Float] = []
    probabilities.reserveCapacity(n * v)
    indices.reserveCapacity(n * v)
    for token in 0..<n {
      if coded.isPadding(token) {
        tailMasses.append(1)
      } else {
        try appendProbabilities(
          token, coded.codes[token * v..<(token + 1) * v], top: coded.tops[token], step: coded.steps[token], mass: 1,
          to: &probabilities)
        indices.append(contentsOf: vocabulary)
        tailMasses.append(0)
      }
      starts.append(indices.count)
    }
    return TeacherTargets(
      nVocabulary: v, starts: starts, indices: indices, probabilities: probabilities, tailMasses: tailMasses,
      entropies: coded.entropies)
  }

  /// Targets of `full` as they are stored, 2 bytes per token of the vocabulary where `decode` takes 8. As `decode`, but
  /// that the largest log-probability is not compared with the codes, which say all by themselves.
  package func decodeCodes(_ content: RawSpan, nTokens n: Int) throws(TargetFault) -> CodedTargets {
    let v = nVocabulary
    guard layout == .full, allows(contentBytes: content.byteCount, nTokens: n) else {
      throw TargetFault("\(content.byteCount) bytes of \(policy.name) cannot be \(n) tokens of full")
    }
    let coded = CodedTargets(
      nVocabulary: v, codes: try list(content, at: 12 * n, n * v), tops: try floats(content, at: 4 * n, n),
      steps: try floats(content, at: 8 * n, n), entropies: try floats(content, at: 0, n))
    for token in 0..<n {
      let mine = coded.codes[token * v..<(token + 1) * v]
      if coded.isPadding(token) {
        guard coded.entropies[token] == 0, mine.allSatisfy({ $0 == 0 }) else {
          throw fault(token, "it is no whole padding")
        }
      } else {
        try check(token, top: coded.tops[token], step: coded.steps[token], entropy: coded.entropies[token])
        guard mine.contains(0) else { throw fault(token, "none of its codes is 0") }
      }
    }
    return coded
  }

  private func fault(_ token: Int, _ what: String) -> TargetFault {
    TargetFault("token \(token) of the frame: \(what)")
  }

  private func list<I: FixedWidthInteger & UnsignedInteger>(
    _ content: RawSpan, at offset: Int, _ count: Int, byteCount: Int = I.bitWidth / 8
  ) throws(TargetFault) -> [I] {
    guard let values: [I] = IntegerPlanes.join(content, at: offset, count: count, byteCount: byteCount) else {
      throw TargetFault("the content ends in the middle of its planes")
    }
    return values
  }

  private func floats(_ content: RawSpan, at offset: Int, _ count: Int) throws(TargetFault) -> [Float] {
    let bits: [UInt32] = try list(content, at: offset, count)
    return bits.map { Float(bitPattern: $0) }
  }

  /// The largest log-probability is at least that of a uniform distribution, the entropy at most its.
  private func check(_ token: Int, top: Float, step: Float, entropy: Float) throws(TargetFault) {
    let most = log(Float(nVocabulary)) + 1e-3
    guard top <= 0, top >= -most, step >= 0, step.isFinite, entropy >= 0, entropy <= most else {
      throw fault(token, "largest log-probability \(top), step \(step), entropy \(entropy)")
    }
  }

  private func isTail(_ tail: Float, count: Int, most: Int) -> Bool {
    guard tail >= 0, tail < 1, tail == 0 || count < nVocabulary else { return false }
    switch policy {
    case .topK: return count == most
    // r is rounded to f32.
    case .mass(let r, _): return count == most || Double(tail) <= r * (1 + 1e-6)
    case .hidden, .full: return false
    }
  }

  /// Probabilities of the codes, which together have `mass`: what the rounding to codes moved is put right here.
  private func appendProbabilities(
    _ token: Int, _ codes: ArraySlice<UInt16>, top: Float, step: Float, mass: Double, to probabilities: inout [Float]
  ) throws(TargetFault) {
    let first = probabilities.count
    let sum = LinearCodes.appendWeights(codes, step: step, to: &probabilities)
    // A code is off by half a step at most, an f32 log-probability by 1e-5.
    let found = exp(Double(top)) * sum
    guard abs(found - mass) <= mass * expm1(0.51 * Double(step) + 1e-4) + 1e-5 else {
      throw fault(token, "probabilities of \(Float(found)) in all, \(Float(mass)) expected")
    }
    let factor = Float(mass / sum)
    for i in first..<probabilities.count { probabilities[i] *= factor }
  }
}
