import TestSupport
import Testing

@testable import ActCache

@Suite struct FixedPointTests {
  /// Twin of `split` and `join`, value by value, in f64.
  private func twin(_ value: Float, step: Float) -> (z: UInt32, value: Float)? {
    let q = (Double(value) / Double(step)).rounded(.toNearestOrEven)
    guard q >= -8_388_608, q < 8_388_608 else { return nil }
    return (UInt32(q >= 0 ? 2 * q : -2 * q - 1), Float(q) * step)
  }

  @Test(arguments: [0, 1, 2, 3, 5], [1, 3, 15, 16, 17, 33, 64])
  func encodingAndDecodingEqualTheTwin(nRows: Int, width: Int) throws {
    var generator = SeededGenerator(seed: UInt64(100 * nRows + width))
    // Powers of two, so that f32 and f64 divide alike.
    let steps = (0..<width).map { _ in
      Float(sign: .plus, exponent: Int.random(in: -9...3, using: &generator), significand: 1)
    }
    var values = generator.floats(nRows * width, in: -30...30)
    for (i, value) in ([0, -0.0, 4_194_303, -4_194_304, 0.5, 1.5, -2.5] as [Float]).enumerated() where i < nRows {
      values[i * width] = value * steps[0]
    }
    let coding = try ValueCoding(type: .fixed(7), width: width, steps: steps, codec: .zstd(level: 1))
    let content = try coding.encode(values.span)
    let n = values.count
    #expect(content.count == 3 * n)
    var decoded = [Float](repeating: .nan, count: n)
    var output = decoded.mutableSpan
    content.withRawSpan { coding.decode($0, of: nRows, rows: 0..<nRows, into: &output) }
    for i in 0..<n {
      let expected = try #require(twin(values[i], step: steps[i % width]))
      let z = UInt32(content[i]) | UInt32(content[n + i]) << 8 | UInt32(content[2 * n + i]) << 16
      #expect(z == expected.z && decoded[i] == expected.value, "value \(i): \(values[i])")
      #expect(abs(decoded[i] - values[i]) <= steps[i % width] / 2)
    }
    for row in 0..<nRows {
      var one = [Float](repeating: .nan, count: width)
      var output = one.mutableSpan
      content.withRawSpan { coding.decode($0, of: nRows, rows: row..<(row + 1), into: &output) }
      #expect(one == Array(decoded[(row * width)..<((row + 1) * width)]))
    }
  }

  @Test(arguments: [1, 5, 16, 40]) func all24BitsAreUsedAndNoMore(width: Int) throws {
    let coding = try ValueCoding(
      type: .fixed(1), width: width, steps: [Float](repeating: 2, count: width), codec: .zstd(level: 1))
    var values = [Float](repeating: 0, count: 3 * width)
    let last = 3 * width - 1
    for (largest, isHeld) in [
      (8_388_607, true), (-8_388_608, true), (8_388_608, false), (-8_388_609, false), (.infinity, false),
      (.nan, false), (-3e38, false),
    ] as [(Float, Bool)] {
      values[last] = 2 * largest
      if isHeld {
        let content = try coding.encode(values.span)
        var decoded = [Float](repeating: .nan, count: 3 * width)
        var output = decoded.mutableSpan
        content.withRawSpan { coding.decode($0, of: 3, rows: 0..<3, into: &output) }
        #expect(decoded == values)
      } else {
        #expect(throws: ValueOverflow(index: last)) { try coding.encode(values.span) }
      }
    }
  }

  @Test func stepsAreAPartOfTheDeviationAndNeverZero() {
    #expect(FixedPoint.steps(means: [0, 1], variances: [4, 0.25], s: 3) == [0.25, 0.0625])
    // Always 0; always 1,024; so small that f32 has no normal number for it.
    #expect(
      FixedPoint.steps(means: [0, 1024, 1, 1e-45], variances: [0, 0, 1, 0], s: 1) == [0x1p-10, 0x1p-10, 0.5, 0x1p-10])
    #expect(FixedPoint.steps(means: [0], variances: [0], s: 7) == [0x1p-7])
    #expect(FixedPoint.steps(means: [0], variances: [.infinity], s: 7) == [.greatestFiniteMagnitude])
    #expect(FixedPoint.steps(means: [], variances: [], s: 7) == [])
  }

  @Test func theDigestOfStepsIsThatOfTheirBytes() {
    // printf '\0\0\200?\0\0\0\300' | sha256sum
    #expect(FixedPoint.digest(of: [1, -2]) == "ee4ac73c2bd27756ab82780f27c73a7bc4d3f0bb6acb37e008bc27eccd7e588b")
  }
}
