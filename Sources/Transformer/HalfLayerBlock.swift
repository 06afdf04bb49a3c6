import LinearAlgebra

/// Attention or MLP of one layer, with what the two have in common: a norm, a product in, a product out.
enum HalfLayerBlock {
  case attention(AttentionBlock)
  case mlp(MLPBlock)

  init(_ half: HalfLayer, of model: TransformerModel) {
    switch half {
    case .attention(let layer): self = .attention(model.attentions[layer])
    case .mlp(let layer): self = .mlp(model.mlps[layer])
    }
  }

  var norm: NormLayer {
    switch self {
    case .attention(let block): block.norm
    case .mlp(let block): block.norm
    }
  }

  var input: Linear {
    switch self {
    case .attention(let block): block.qkv
    case .mlp(let block): block.input
    }
  }

  var out: Linear {
    switch self {
    case .attention(let block): block.out
    case .mlp(let block): block.out
    }
  }

  /// Lends a part, its matrices as [dIn, dOut] if `isTransposed`, else [dOut, dIn]. It must be there.
  func withPart(_ part: HalfLayerPlace.Part, isTransposed: Bool, _ body: (Strip) -> Void) {
    func weight(_ linear: Linear) {
      if linear.isTransposed == isTransposed { return body(linear.weight.strip) }
      let other = linear.weight.transposed()
      body(other.strip)
    }
    func vector(_ strip: Strip?) {
      guard let strip else { preconditionFailure("the half-layer has no \(part)") }
      body(strip)
    }
    switch part {
    case .normWeight: body(norm.weight.strip)
    case .normBias: vector(norm.biasStrip)
    case .inputWeight: weight(input)
    case .inputBias: vector(input.biasStrip)
    case .outWeight: weight(out)
    case .outBias: vector(out.biasStrip)
    }
  }

  /// x into the block's output, [rows, dModel] both, leaving on `tape` what the way back needs.
  func forward(_ x: Strip, _ sequences: SequenceLayout, tape: HalfLayerTape.Slots, scratch: Strip, into out: Strip) {
    switch self {
    case .attention(let block):
      block.heads(
        x, nPositions: sequences.nPositions, rotary: sequences.rotary, normalized: tape.normalized, qkv: tape.wide,
        statistics: tape.statistics, scratch: scratch, into: tape.narrow)
      block.out(tape.narrow, into: out)
    case .mlp(let block):
      block.hiddenAndDerivatives(x, normalized: tape.normalized, derivatives: tape.wide, into: tape.narrow)
      block.out(tape.narrow, into: out)
    }
  }

  /// The gradient of the block's output into that of its normalised input, by way of the others.
  func backward(
    _ dOut: Strip, _ sequences: SequenceLayout, tape: HalfLayerTape.Slots, scratch: Strip,
    into gradients: HalfLayerGradients.Slots
  ) {
    out.backward(dOut, into: gradients.dNarrow)
    switch self {
    case .attention(let block):
      block.headsBackward(
        gradients.dNarrow, nPositions: sequences.nPositions, rotary: sequences.rotary, qkv: tape.wide,
        statistics: tape.statistics, z: tape.narrow, scratch: scratch, into: gradients.dWide)
    case .mlp: activationBackward(gradients.dNarrow, derivatives: tape.wide, into: gradients.dWide)
    }
    input.backward(gradients.dWide, into: gradients.dNormalized)
  }
}

/// How rows are cut into sequences, and the angles of their positions.
struct SequenceLayout {
  var nPositions: Int
  var rotary: RotaryTable?
}
