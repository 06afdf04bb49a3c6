import LinearAlgebra

/// Attention of one layer with the norm before it: z = heads(qkv(norm(x))), out = z·W_O + b_O.
final class AttentionBlock: Sendable {
  let norm: NormLayer
  /// q | k | v side by side: [dModel] → [(nHeads + 2·nKVHeads)·dHead].
  let qkv: Linear
  let out: Linear
  let shape: AttentionShape

  init(norm: NormLayer, qkv: Linear, out: Linear, shape: AttentionShape) {
    (self.norm, self.qkv, self.out, self.shape) = (norm, qkv, out, shape)
  }

  /// Whole sequences x [n·nPositions, dModel] into the heads' outputs z [n·nPositions, nHeads·dHead].
  func heads(_ x: Strip, nPositions: Int, rotary: RotaryTable?, scratch: LayerScratch, into z: Strip) {
    heads(
      x, nPositions: nPositions, rotary: rotary, normalized: scratch.normalized.strip.shaped(x.rows, x.columns),
      qkv: scratch.wide.strip.shaped(x.rows, shape.qkvWidth), statistics: nil, scratch: scratch.attention.strip,
      into: z)
  }

  /// The same, leaving what the way back needs.
  ///
  /// - Parameters:
  ///   - normalized: [rows, dModel], overwritten.
  ///   - qkv: [rows, qkvWidth], overwritten; after the rotation.
  ///   - statistics: [rows, 2·nHeads] or none, overwritten; see `causalAttention`.
  func heads(
    _ x: Strip, nPositions: Int, rotary: RotaryTable?, normalized: Strip, qkv: Strip, statistics: Strip?,
    scratch: Strip, into z: Strip
  ) {
    norm(x, into: normalized)
    self.qkv(normalized, into: qkv)
    for first in stride(from: 0, to: x.rows, by: nPositions) {
      let range = first..<first + nPositions
      let sequence = qkv.rows(range)
      if let rotary { rotate(sequence, nHeads: shape.nHeads + shape.nKVHeads, dHead: shape.dHead, rotary) }
      causalAttention(sequence, shape, scratch: scratch, into: z.rows(range), statistics: statistics?.rows(range))
    }
  }

  /// The gradient of z into that of queries, keys and values before the rotation, overwritten; qkv, statistics and z
  /// as `heads` left them.
  func headsBackward(
    _ dZ: Strip, nPositions: Int, rotary: RotaryTable?, qkv: Strip, statistics: Strip, z: Strip, scratch: Strip,
    into dQKV: Strip
  ) {
    for first in stride(from: 0, to: dZ.rows, by: nPositions) {
      let range = first..<first + nPositions
      let sequence = dQKV.rows(range)
      causalAttentionBackward(
        qkv.rows(range), shape, statistics: statistics.rows(range), z: z.rows(range), dZ: dZ.rows(range),
        scratch: scratch, into: sequence)
      if let rotary {
        rotate(sequence, nHeads: shape.nHeads + shape.nKVHeads, dHead: shape.dHead, rotary, isInverse: true)
      }
    }
  }
}
