import Foundation
import Memory
import TestSupport
import Testing

@testable import ActCache

@Suite struct TargetFrameTests {
  /// A token's distribution, exact.
  struct Token {
    var indices: [UInt32]
    var logProbabilities: [Float]
    var tail: Float
    var entropy: Float
    var logits: [Float]

    /// Random logits of a vocabulary, of which the `k` most likely tokens are listed.
    init(_ v: Int, k: Int, spread: Float, _ random: inout SeededGenerator) {
      let logits = random.floats(v, in: -spread...spread)
      self.logits = logits
      let values = logits.map(Double.init)
      let logSum = log(values.reduce(0) { $0 + exp($1) })
      let order = logits.indices.sorted { (logits[$0], -$0) > (logits[$1], -$1) }
      indices = order.prefix(k).map { UInt32($0) }
      logProbabilities = indices.map { Float(values[Int($0)] - logSum) }
      tail = Float(order.dropFirst(k).reduce(0.0) { $0 + exp(values[$1] - logSum) })
      entropy = Float(-values.reduce(0) { $0 + exp($1 - logSum) * ($1 - logSum) })
    }

    func append(to encoder: inout TargetFrameEncoder) throws(TargetFault) {
      if encoder.shape.policy == .full {
        let logSum = log(logits.reduce(0.0) { $0 + exp(Double($1)) })
        try encoder.append(logits: logits.span, logSumExp: logSum, entropy: entropy)
      } else {
        try encoder.append(
          indices: indices[...], logProbabilities: logProbabilities[...], tailMass: tail, entropy: entropy)
      }
    }
  }

  static func shape(_ policy: String, _ v: Int) throws -> TargetFrameShape {
    let policy = try #require(LogitPolicy(policy))
    return try #require(TargetFrameShape(policy: policy, nVocabulary: v))
  }

  /// A frame with padding after every third token.
  static func frame(_ shape: TargetFrameShape, tokens n: Int, k: Int, spread: Float = 6, seed: UInt64 = 1) throws -> (
    tokens: [Token?], content: TargetFrameContent
  ) {
    var random = SeededGenerator(seed: seed)
    var encoder = TargetFrameEncoder(shape)
    var tokens: [Token?] = []
    for i in 0..<n {
      if i % 4 == 3 {
        encoder.appendPadding()
        tokens.append(nil)
      } else {
        let most = shape.policy == .full ? shape.nVocabulary : k
        let isMass = if case .mass = shape.policy { true } else { false }
        let token = Token(shape.nVocabulary, k: isMass ? 1 + i % most : most, spread: spread, &random)
        try token.append(to: &encoder)
        tokens.append(token)
      }
    }
    #expect(encoder.nTokens == n)
    return (tokens, encoder.content())
  }

  private func check(_ targets: TeacherTargets, _ tokens: [Token?], spread: Float) {
    #expect(targets.nTokens == tokens.count)
    for (i, token) in tokens.enumerated() {
      let range = targets.starts[i]..<targets.starts[i + 1]
      guard let token else {
        #expect(range.isEmpty && targets.tailMasses[i] == 1 && targets.entropies[i] == 0)
        continue
      }
      let isFull = range.count == token.logits.count && targets.indices[range].elementsEqual(0..<UInt32(range.count))
      if !isFull { #expect(targets.indices[range] == token.indices[...]) }
      #expect(targets.entropies[i] == token.entropy)
      #expect(targets.tailMasses[i] == (isFull ? 0 : token.tail))
      let sum = targets.probabilities[range].reduce(Double(targets.tailMasses[i])) { $0 + Double($1) }
      #expect(abs(sum - 1) < 1e-7, "\(sum)")
      // Half a step of 1/65,535 of the range, and what putting the sum right moves.
      let allowed = Double(2 * spread) / 65_535 * 1.1 + 2e-6
      for (index, probability) in zip(targets.indices[range], targets.probabilities[range]) {
        let place = token.indices.firstIndex(of: index)
        let exact = place.map { Double(token.logProbabilities[$0]) }
        #expect(exact.map { abs(log(Double(probability)) - $0) < allowed } ?? false)
      }
    }
  }

  @Test(arguments: ["topk:1", "topk:5", "mass:0.999:9", "full"], [0, 1, 2, 7, 64])
  func whatIsEncodedIsDecoded(policy: String, tokens n: Int) throws {
    for v in [9, 40] {
      let shape = try TargetFrameTests.shape(policy, v)
      let k = policy == "topk:1" ? 1 : 5
      let (tokens, content) = try TargetFrameTests.frame(shape, tokens: n, k: k)
      #expect(shape.allows(contentBytes: content.bytes.count, nTokens: n))
      #expect(content.blockEnds.last == content.bytes.count || n == 0)
      check(try shape.decode(content.bytes, nTokens: n), tokens, spread: 6)
      if n >= 7 {
        let part = try shape.decode(content.bytes, nTokens: n).tokens(2..<6)
        check(part, Array(tokens[2..<6]), spread: 6)
      }
    }
  }

  @Test func codesAreTheDistributionsThatTheyDecodeTo() throws {
    let (n, v) = (5, 40)
    let shape = try TargetFrameTests.shape("full", v)
    let content = try TargetFrameTests.frame(shape, tokens: n, k: 5).content.bytes
    func codes(_ content: [UInt8], _ shape: TargetFrameShape, _ n: Int) throws(TargetFault) -> CodedTargets {
      try content.withRawSpan { (bytes: RawSpan) throws(TargetFault) in try shape.decodeCodes(bytes, nTokens: n) }
    }
    let coded = try codes(content, shape, n)
    let targets = try shape.decode(content, nTokens: n)
    #expect(coded.entropies == targets.entropies)
    for token in 0..<n {
      let range = targets.starts[token]..<targets.starts[token + 1]
      #expect(coded.isPadding(token) == range.isEmpty)
      if range.isEmpty { continue }
      let weights = coded.codes[token * v..<(token + 1) * v].map { exp(-Double(coded.steps[token]) * Double($0)) }
      let sum = weights.reduce(0, +)
      for (p, weight) in zip(targets.probabilities[range], weights) { #expect(abs(Double(p) - weight / sum) < 1e-6) }
    }
    #expect(throws: TargetFault("\(content.count - 1) bytes of full cannot be 5 tokens of full")) {
      try codes(Array(content.dropLast()), shape, n)
    }
    let other = try TargetFrameTests.shape("topk:5", v)
    #expect(throws: TargetFault("100 bytes of topk:5 cannot be 5 tokens of full")) {
      try codes([UInt8](repeating: 0, count: 100), other, n)
    }
  }

  @Test func indicesOfALargeVocabularyTakeFourBytes() throws {
    for (v, bytes) in [(65_536, 2), (65_537, 4)] {
      let shape = try TargetFrameTests.shape("topk:2", v)
      var encoder = TargetFrameEncoder(shape)
      let last = UInt32(v - 1)
      try encoder.append(
        indices: [last, 300], logProbabilities: [log(Float(0.5)), log(Float(0.25))], tailMass: 0.25, entropy: 2)
      let content = encoder.content()
      #expect(content.bytes.count == 20 + 2 * (bytes + 2))
      let targets = try shape.decode(content.bytes, nTokens: 1)
      #expect(targets.indices == [last, 300])
      #expect(abs(targets.probabilities[0] - 0.5) < 1e-7 && abs(targets.probabilities[1] - 0.25) < 1e-7)
    }
  }

  @Test func theLayoutIsThatOfTheDocument() throws {
    // Probabilities 1/2 and 1/4 of four tokens: top log ½, range log 2.
    let shape = try TargetFrameTests.shape("topk:2", 4)
    var encoder = TargetFrameEncoder(shape)
    try encoder.append(
      indices: [2, 1], logProbabilities: [log(Float(0.5)), log(Float(0.25))], tailMass: 0.25, entropy: 1.25)
    encoder.appendPadding()
    let content = encoder.content()
    func planes(_ values: [UInt32]) -> [UInt8] {
      (0..<4).flatMap { k in values.map { UInt8(truncatingIfNeeded: $0 >> (8 * k)) } }
    }
    func planes(_ values: [Float]) -> [UInt8] { planes(values.map(\.bitPattern)) }
    let step = (log(Float(0.5)) - log(Float(0.25))) / 65_535
    let expected =
      planes([2, 0] as [UInt32]) + planes([0.25, 1] as [Float]) + planes([1.25, 0] as [Float])
      + planes([log(Float(0.5)), 0]) + planes([step, 0])
      + [2, 1, 0, 0]  // indices
      + [0, 0xFF, 0, 0xFF]  // differences of codes: 0, 65535
    #expect(content.bytes == expected)
    #expect(content.blockEnds == Array(stride(from: 2, through: 48, by: 2)))
    let decoder = try ZstdDecoder()
    let frame = try content.bytes.withRawSpan { try ZstdEncoder(level: 1).frame($0, blockEnds: content.blockEnds) }
    let decoded = FrameBuffer(count: 48)
    try frame.withRawSpan { bytes in
      try decoded.withMutableBytes(0..<48) { try decoder.decode(bytes, into: &$0) }
    }
    #expect(decoded.withBytes(0..<48) { $0.bytes(0..<48) } == expected)
  }

  @Test func logitsThatAreNotFiniteAreRefusedAndNothingIsAppended() throws {
    let fault = TargetFault("the logits are not finite, or too far apart for f32")
    var encoder = TargetFrameEncoder(try TargetFrameTests.shape("topk:2", 4))
    #expect(throws: fault) {
      try encoder.append(indices: [], logProbabilities: [], tailMass: .nan, entropy: .nan)
    }
    #expect(throws: fault) {
      try encoder.append(indices: [1, 2], logProbabilities: [0, -.infinity], tailMass: 0, entropy: 0)
    }
    var full = TargetFrameEncoder(try TargetFrameTests.shape("full", 2))
    #expect(throws: fault) { try full.append(logits: ([1, .nan] as [Float]).span, logSumExp: .nan, entropy: .nan) }
    #expect(throws: fault) { try full.append(logits: ([3e38, -3e38] as [Float]).span, logSumExp: 3e38, entropy: 0) }
    #expect(encoder.nTokens == 0 && full.nTokens == 0)
    #expect(encoder.content().bytes.isEmpty && full.content().bytes.isEmpty)
  }

  @Test func extremeLogitsReadBack() throws {
    // Deterministic predictions, equal logits, ranges of 10^30 and subnormal steps.
    for logits in [
      [0, -200, -201, -90], [0, 0, 0, 0], [1e30, -1e30, 0, 5], [1e-38, 0, 0, 0], [0, -1e-3, -1e-3, -1e-3],
      [88, -88, 0, 0],
    ] as [[Float]] {
      let values = logits.map(Double.init)
      let top = values.max() ?? 0
      let logSum = top + log(values.reduce(0) { $0 + exp($1 - top) })
      let order = logits.indices.sorted { (logits[$0], -$0) > (logits[$1], -$1) }
      let logProbabilities = order.map { Float(values[$0] - logSum) }
      let p = values.map { exp($0 - logSum) }
      let entropy = Float(-zip(p, values).reduce(0) { $0 + ($1.0 > 0 ? $1.0 * ($1.1 - logSum) : 0) })
      for k in 1...4 {
        let shape = try TargetFrameTests.shape("topk:\(k)", 4)
        var encoder = TargetFrameEncoder(shape)
        try encoder.append(
          indices: order.prefix(k).map { UInt32($0) }[...], logProbabilities: logProbabilities[..<k],
          tailMass: Float(order.dropFirst(k).reduce(0) { $0 + p[$1] }), entropy: entropy)
        let targets = try shape.decode(encoder.content().bytes, nTokens: 1)
        #expect(targets.probabilities.count == k)
      }
      let shape = try TargetFrameTests.shape("full", 4)
      var encoder = TargetFrameEncoder(shape)
      try encoder.append(logits: logits.span, logSumExp: logSum, entropy: entropy)
      let targets = try shape.decode(encoder.content().bytes, nTokens: 1)
      for (found, exact) in zip(targets.probabilities, p) { #expect(abs(Double(found) - exact) < 1e-3) }
    }
  }
}
