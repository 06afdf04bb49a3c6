import Foundation
import LinearAlgebra
import TestSupport
import Testing

@Suite struct AttentionTests {
  /// softmax(scale·q·kᵀ)·v by definition, in double precision.
  private func naive(_ qkv: borrowing Matrix, _ shape: AttentionShape) -> [Float] {
    let (t, d) = (qkv.rows, shape.dHead)
    var z = [Float](repeating: 0, count: t * shape.nHeads * d)
    for head in 0..<shape.nHeads {
      let kv = head / (shape.nHeads / shape.nKVHeads)
      let k = (shape.nHeads + kv) * d
      let v = (shape.nHeads + shape.nKVHeads + kv) * d
      for i in 0..<t {
        let first = max(0, i - (shape.window ?? t) + 1)
        var scores: [Double] = []
        for j in first...i {
          var dot = 0.0
          for c in 0..<d { dot += Double(qkv[i, head * d + c]) * Double(qkv[j, k + c]) }
          scores.append(dot * Double(shape.scale))
        }
        let top = scores.max() ?? 0
        let weights = scores.map { Foundation.exp($0 - top) }
        let sum = weights.reduce(0, +)
        for c in 0..<d {
          var out = 0.0
          for j in first...i { out += weights[j - first] / sum * Double(qkv[j, v + c]) }
          z[i * shape.nHeads * d + head * d + c] = Float(out)
        }
      }
    }
    return z
  }

  @Test(
    arguments: [
      (0, 2, 1, 4, nil), (1, 1, 1, 1, nil), (3, 2, 2, 4, nil), (37, 3, 1, 6, nil), (40, 4, 2, 16, nil),
      (33, 2, 2, 32, nil), (35, 1, 1, 48, nil), (64, 2, 1, 64, nil), (70, 2, 2, 4, 5), (70, 1, 1, 16, 33),
      (65, 1, 1, 8, 1), (5, 1, 1, 4, 100),
    ] as [(Int, Int, Int, Int, Int?)])
  func equalsTheDefinition(nPositions: Int, nHeads: Int, nKVHeads: Int, dHead: Int, window: Int?) {
    var random = SeededGenerator(seed: 11)
    let shape = AttentionShape(nHeads: nHeads, nKVHeads: nKVHeads, dHead: dHead, scale: 0.7, window: window)
    let qkv = Matrix(
      nPositions, shape.qkvWidth, random.floats(nPositions * shape.qkvWidth, in: -2...2))
    // Whatever the scratch and the result held before must not matter.
    let scratch = Matrix(1, shape.scratchCount(nPositions: nPositions), repeating: .nan)
    let z = Matrix(nPositions, nHeads * dHead, repeating: .nan)
    causalAttention(qkv.strip, shape, scratch: scratch.strip, into: z.strip)
    // The values are below 2; weights carry a relative error of some 1e-6.
    for (found, expected) in zip(z.values, naive(qkv, shape)) { #expect(abs(found - expected) < 1e-5) }
  }

  @Test func largeScoresDoNotOverflow() {
    let shape = AttentionShape(nHeads: 1, nKVHeads: 1, dHead: 1, scale: 1)
    let qkv = Matrix(3, 3, [300, 300, 1, 300, -300, 2, 300, 299, 3])
    let scratch = Matrix(1, shape.scratchCount(nPositions: 3))
    let z = Matrix(3, 1)
    causalAttention(qkv.strip, shape, scratch: scratch.strip, into: z.strip)
    #expect(z.values == [1, 1, 1])
  }

  @Test func laterPositionsDoNotMatter() {
    var random = SeededGenerator(seed: 12)
    let shape = AttentionShape(nHeads: 2, nKVHeads: 1, dHead: 16, scale: 1)
    let values = random.floats(50 * shape.qkvWidth)
    let scratch = Matrix(1, shape.scratchCount(nPositions: 50))
    let long = Matrix(50, 32)
    let short = Matrix(21, 32)
    let whole = Matrix(50, shape.qkvWidth, values)
    causalAttention(whole.strip, shape, scratch: scratch.strip, into: long.strip)
    let head = Matrix(21, shape.qkvWidth, Array(values.prefix(21 * shape.qkvWidth)))
    causalAttention(head.strip, shape, scratch: scratch.strip, into: short.strip)
    #expect(Array(long.values.prefix(short.count)) == short.values)
  }
}
