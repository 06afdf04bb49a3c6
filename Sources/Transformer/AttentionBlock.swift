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
    let normalized = scratch.normalized.strip.shaped(x.rows, x.columns)
    norm(x, into: normalized)
    let qkv = scratch.wide.strip.shaped(x.rows, shape.qkvWidth)
    self.qkv(normalized, into: qkv)
    for first in stride(from: 0, to: x.rows, by: nPositions) {
      let sequence = qkv.rows(first..<first + nPositions)
      if let rotary { rotate(sequence, nHeads: shape.nHeads + shape.nKVHeads, dHead: shape.dHead, rotary) }
      causalAttention(sequence, shape, scratch: scratch.attention.strip, into: z.rows(first..<first + nPositions))
    }
  }
}
