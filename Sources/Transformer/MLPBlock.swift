import LinearAlgebra

/// The MLP of one layer with the norm before it: post = act(norm(x)·W_in + b_in), out = post·W_out + b_out; or, gated,
/// post = act(norm(x)·W_gate)·(norm(x)·W_up).
final class MLPBlock: Sendable {
  let norm: NormLayer
  /// [dModel] → [dMLP], or gate | up side by side: [2·dMLP].
  let input: Linear
  let out: Linear
  let activation: Activation
  let isGated: Bool

  init(norm: NormLayer, input: Linear, out: Linear, activation: Activation, isGated: Bool) {
    (self.norm, self.input, self.out) = (norm, input, out)
    (self.activation, self.isGated) = (activation, isGated)
  }

  /// x [rows, dModel] into post [rows, dMLP].
  func hidden(_ x: Strip, scratch: LayerScratch, into post: Strip) {
    let normalized = scratch.normalized.strip.shaped(x.rows, x.columns)
    norm(x, into: normalized)
    if isGated {
      let gateUp = scratch.wide.strip.shaped(x.rows, 2 * post.columns)
      input(normalized, into: gateUp)
      gatedActivation(gateUp, activation, into: post)
    } else {
      input.multiply(normalized, into: post)
      activate(post, activation, bias: input.biasStrip)
    }
  }

  /// The same, leaving the derivatives of post by what `input` gives: [rows, dMLP], or gated by gate and by up,
  /// [rows, 2·dMLP].
  func hiddenAndDerivatives(_ x: Strip, normalized: Strip, derivatives: Strip, into post: Strip) {
    norm(x, into: normalized)
    if isGated {
      input(normalized, into: derivatives)
      gatedActivationAndDerive(derivatives, activation, into: post)
    } else {
      input.multiply(normalized, into: derivatives)
      activateAndDerive(derivatives, activation, bias: input.biasStrip, into: post)
    }
  }
}
