import Foundation
import LinearAlgebra
import TestSupport
import Testing

@Suite struct AttentionBackwardTests {
  /// Gradients of Σ dz·z by definition, in double precision: every weight, then
  /// dv_j = Σ_i p_ij·dz_i, ds_ij = p_ij·(dz_i·v_j − Σ_l p_il·dz_i·v_l).
  private func naive(_ qkv: borrowing Matrix, _ shape: AttentionShape, dZ: borrowing Matrix) -> [Float] {
    let (t, d) = (qkv.rows, shape.dHead)
    let width = shape.qkvWidth
    var out = [Double](repeating: 0, count: t * width)
    for head in 0..<shape.nHeads {
      let kv = head / (shape.nHeads / shape.nKVHeads)
      let (q, k) = (head * d, (shape.nHeads + kv) * d)
      let v = (shape.nHeads + shape.nKVHeads + kv) * d
      for i in 0..<t {
        let first = max(0, i - (shape.window ?? t) + 1)
        func dot(_ j: Int, _ a: (Int) -> Float, _ column: Int) -> Double {
          (0..<d).reduce(0.0) { $0 + Double(a($1)) * Double(qkv[j, column + $1]) }
        }
        let scores = (first...i).map { dot($0, { qkv[i, q + $0] }, k) * Double(shape.scale) }
        let top = scores.max() ?? 0
        let weights = scores.map { Foundation.exp($0 - top) }
        let sum = weights.reduce(0, +)
        let p = weights.map { $0 / sum }
        let dP = (first...i).map { dot($0, { dZ[i, q + $0] }, v) }
        let delta = zip(p, dP).reduce(0) { $0 + $1.0 * $1.1 }
        for j in first...i {
          let dS = p[j - first] * (dP[j - first] - delta) * Double(shape.scale)
          for c in 0..<d {
            out[i * width + q + c] += dS * Double(qkv[j, k + c])
            out[j * width + k + c] += dS * Double(qkv[i, q + c])
            out[j * width + v + c] += p[j - first] * Double(dZ[i, q + c])
          }
        }
      }
    }
    return out.map { Float($0) }
  }

  @Test(
    arguments: [
      (0, 2, 1, 4, nil), (1, 1, 1, 1, nil), (3, 2, 2, 4, nil), (37, 3, 1, 6, nil), (40, 4, 2, 16, nil),
      (33, 2, 2, 32, nil), (35, 1, 1, 48, nil), (64, 2, 1, 64, nil), (70, 2, 2, 4, 5), (70, 1, 1, 16, 33),
      (65, 1, 1, 8, 1), (5, 1, 1, 4, 100),
    ] as [(Int, Int, Int, Int, Int?)])
  func equalsTheDefinition(nPositions: Int, nHeads: Int, nKVHeads: Int, dHead: Int, window: Int?) {
    var random = SeededGenerator(seed: 13)
    let shape = AttentionShape(nHeads: nHeads, nKVHeads: nKVHeads, dHead: dHead, scale: 0.7, window: window)
    let qkv = Matrix(nPositions, shape.qkvWidth, random.floats(nPositions * shape.qkvWidth, in: -2...2))
    let dZ = Matrix(nPositions, nHeads * dHead, random.floats(nPositions * nHeads * dHead))
    // Whatever scratch and results held before must not matter.
    let forward = Matrix(1, shape.scratchCount(nPositions: nPositions), repeating: .nan)
    let backward = Matrix(1, shape.backwardScratchCount(nPositions: nPositions), repeating: .nan)
    let z = Matrix(nPositions, nHeads * dHead, repeating: .nan)
    let statistics = Matrix(nPositions, 2 * nHeads, repeating: .nan)
    let dQKV = Matrix(nPositions, shape.qkvWidth, repeating: .nan)
    causalAttention(qkv.strip, shape, scratch: forward.strip, into: z.strip, statistics: statistics.strip)
    causalAttentionBackward(
      qkv.strip, shape, statistics: statistics.strip, z: z.strip, dZ: dZ.strip, scratch: backward.strip,
      into: dQKV.strip)
    let expected = naive(qkv, shape, dZ: dZ)
    // Sums of up to 70 terms; weights carry a relative error of some 1e-6.
    let bound = 1e-5 * max(1, expected.map(abs).max() ?? 0)
    let worst = zip(dQKV.values, expected).map { $0.isFinite ? abs($0 - $1) : .infinity }.max() ?? 0
    #expect(worst < bound, "\(worst)")
  }

  @Test func largeScoresDoNotOverflow() {
    let shape = AttentionShape(nHeads: 1, nKVHeads: 1, dHead: 1, scale: 1)
    // The second query sees scores of 90,000 and −90,000, and the key after it one of 89,700.
    let qkv = Matrix(3, 3, [300, 300, 1, 300, -300, 2, 300, 299, 3])
    let z = Matrix(3, 1)
    let statistics = Matrix(3, 2)
    let dQKV = Matrix(3, 3)
    let dZ = Matrix(3, 1, [1, 1, 1])
    let scratch = Matrix(1, max(shape.scratchCount(nPositions: 3), shape.backwardScratchCount(nPositions: 3)))
    causalAttention(
      qkv.strip, shape, scratch: scratch.strip, into: z.strip,
      statistics: statistics.strip)
    causalAttentionBackward(
      qkv.strip, shape, statistics: statistics.strip, z: z.strip, dZ: dZ.strip, scratch: scratch.strip,
      into: dQKV.strip)
    // All weight is on the first key, so scores do not matter.
    #expect(dQKV.values == [0, 0, 3, 0, 0, 0, 0, 0, 0])
  }
}
