import Foundation
import Memory
import TestSupport
import Testing

@testable import ActCache

/// Contents that no policy could have written.
@Suite struct TargetFaultTests {
  /// Two tokens of topk:2 over 8 tokens, one of them padding, with numbers that a test may change.
  private struct Fields {
    var counts: [UInt32] = [2, 0]
    var tails: [Float] = [0.25, 1]
    var entropies: [Float] = [1.5, 0]
    var tops: [Float] = [log(Float(0.5)), 0]
    var steps: [Float] = [log(Float(2)) / 65_535, 0]
    var indices: [UInt16] = [7, 3]
    var codes: [UInt16] = [0, 65_535]

    var content: [UInt8] {
      var content = TargetFrameContent()
      content.append(counts)
      for floats in [tails, entropies, tops, steps] { content.append(floats) }
      content.append(indices)
      content.append(codes)
      return content.bytes
    }
  }

  private func fault(_ policy: String = "topk:2", _ change: (inout Fields) -> Void) throws -> String {
    var fields = Fields()
    change(&fields)
    let shape = try TargetFrameTests.shape(policy, 8)
    let error = #expect(throws: TargetFault.self) { try shape.decode(fields.content, nTokens: 2) }
    return error?.what ?? ""
  }

  @Test func eachFieldIsChecked() throws {
    let shape = try TargetFrameTests.shape("topk:2", 8)
    #expect(throws: Never.self) { try shape.decode(Fields().content, nTokens: 2) }
    let token = "token 0 of the frame: "
    #expect(try fault { $0.counts[0] = 3 } == token + "3 entries, at most 2 are allowed")
    #expect(try fault { $0.counts[0] = .max } == token + "4294967295 entries, at most 2 are allowed")
    #expect(try fault { $0.counts[0] = 1 } == "1 entries of 2 tokens do not take 48 bytes")
    #expect(try fault { $0.counts = [0, 2] } == token + "no entries, but it is not padding")
    #expect(try fault { $0.tails[1] = 0 } == "token 1 of the frame: no entries, but it is not padding")
    #expect(try fault { $0.entropies[1] = 1 } == "token 1 of the frame: no entries, but it is not padding")
    let tail = "2 entries leave a mass of "
    #expect(try fault { $0.tails[0] = -0.1 } == token + tail + "-0.1, which topk:2 does not")
    #expect(try fault { $0.tails[0] = .nan } == token + tail + "nan, which topk:2 does not")
    #expect(try fault { $0.tails[0] = 1 } == token + tail + "1.0, which topk:2 does not")
    #expect(
      try fault("topk:3", { _ in }) == token + tail + "0.25, which topk:3 does not")
    #expect(try fault("mass:0.2:3", { _ in }) == token + tail + "0.25, which mass:0.2:3 does not")
    let numbers = "largest log-probability "
    #expect(try fault { $0.entropies[0] = 2.2 }.hasPrefix(token + numbers))
    #expect(try fault { $0.entropies[0] = -1 }.hasPrefix(token + numbers))
    #expect(try fault { $0.tops[0] = 0.1 }.hasPrefix(token + numbers))
    #expect(try fault { $0.tops[0] = -3 }.hasPrefix(token + numbers))
    #expect(try fault { $0.steps[0] = -1 } == token + "largest log-probability -0.6931472, step -1.0, entropy 1.5")
    #expect(try fault { $0.steps[0] = .infinity }.hasPrefix(token + numbers))
    let index = " is outside the vocabulary of 8 or listed twice"
    #expect(try fault { $0.indices[1] = 8 } == token + "index 8" + index)
    #expect(try fault { $0.indices[1] = 7 } == token + "index 7" + index)
    #expect(try fault { $0.codes[0] = 1 } == token + "its codes do not begin with 0")
    let sum = try fault { $0.tops[0] = log(0.45) }
    #expect(sum.hasPrefix(token + "probabilities of 0.67") && sum.hasSuffix(" in all, 0.75 expected"), "\(sum)")
    var fields = Fields()
    (fields.counts, fields.indices, fields.codes) = ([3, 0], [7, 3, 1], [0, 65_535, 1])
    let three = try TargetFrameTests.shape("topk:3", 8)
    #expect(throws: TargetFault(token + "its codes exceed 65535")) { try three.decode(fields.content, nTokens: 2) }
    #expect(throws: TargetFault("47 bytes cannot be 2 tokens of topk:2")) {
      try shape.decode(Array(Fields().content.dropLast()), nTokens: 2)
    }
    #expect(throws: TargetFault("48 bytes cannot be 3 tokens of topk:2")) {
      try shape.decode(Fields().content, nTokens: 3)
    }
    // 2^62 tokens: no overflow either.
    #expect(!shape.allows(contentBytes: 48, nTokens: 1 << 62) && !shape.allows(contentBytes: 48, nTokens: -1))
  }

  @Test func aWholeDistributionIsChecked() throws {
    let shape = try TargetFrameTests.shape("full", 2)
    func fault(_ entropy: Float, _ top: Float, _ step: Float, _ codes: [UInt16]) -> String? {
      var content = TargetFrameContent()
      for value in [entropy, top, step] { content.append([value]) }
      content.append(codes)
      return #expect(throws: TargetFault.self) { try shape.decode(content.bytes, nTokens: 1) }?.what
    }
    let token = "token 0 of the frame: "
    #expect(fault(0, 0, 0, [0, 1]) == token + "it is no whole padding")
    #expect(fault(0.1, 0, 0, [0, 0]) == token + "it is no whole padding")
    #expect(fault(0.6, log(0.5), 1e-5, [1, 1]) == token + "none of its codes is 0")
    #expect(fault(0.6, log(0.4), 0, [0, 0])?.hasPrefix(token + "largest log-probability") == true)
    #expect(fault(0.6, log(0.6), 0, [0, 0]) == token + "probabilities of 1.2 in all, 1.0 expected")
  }

  /// Random bytes, and whole frames with random changes: targets that could have been written, or a fault.
  @Test(arguments: ["topk:3", "mass:0.999:6", "full"]) func nothingThatIsReadTraps(policy: String) throws {
    let shape = try TargetFrameTests.shape(policy, 11)
    var random = SeededGenerator(seed: 99)
    let (_, content) = try TargetFrameTests.frame(shape, tokens: 6, k: 3, spread: 3)
    #expect(throws: Never.self) { try shape.decode(content.bytes, nTokens: 6) }
    var nRead = 0
    for round in 0..<4000 {
      var bytes = content.bytes
      switch round % 4 {
      case 0:
        bytes = (0..<Int.random(in: 0...300, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random) }
      case 1: bytes[Int.random(in: bytes.indices, using: &random)] ^= 1 << UInt8.random(in: 0...7, using: &random)
      case 2:
        for _ in 0..<8 {
          bytes[Int.random(in: bytes.indices, using: &random)] = UInt8.random(in: 0...255, using: &random)
        }
      default: bytes.removeLast(Int.random(in: 0...bytes.count, using: &random))
      }
      let n = round % 8 == 0 ? Int.random(in: 0...20, using: &random) : 6
      guard let targets = try? shape.decode(bytes, nTokens: n) else { continue }
      nRead += 1
      for token in 0..<n {
        let range = targets.starts[token]..<targets.starts[token + 1]
        let sum = targets.probabilities[range].reduce(Double(targets.tailMasses[token])) { $0 + Double($1) }
        #expect(abs(sum - 1) < 1e-6 && targets.entropies[token] >= 0)
        #expect(Set(targets.indices[range]).count == range.count && targets.indices[range].allSatisfy { $0 < 11 })
        #expect(targets.probabilities[range].allSatisfy { $0 >= 0 })
      }
    }
    // Flips of a low bit of an entropy or of a code pass: a frame's digest is there for those.
    #expect(nRead > 0 && nRead < 2000, "\(nRead)")
  }
}
