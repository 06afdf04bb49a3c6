import LinearAlgebra

/// What lies between two residual streams of a `DifferentiablePass`: one half-layer, or both of a parallel layer.
final class DifferentiableStep {
  /// A half-layer in a pass.
  final class Half {
    let halfLayer: HalfLayer
    let trained: TrainedHalfLayer?
    private let configuration: ModelConfiguration
    private(set) var block: HalfLayerBlock
    private(set) var tape: HalfLayerTape
    private(set) var gradients: HalfLayerGradients

    init(_ halfLayer: HalfLayer, of model: TransformerModel, _ trained: TrainedHalfLayer?) {
      (self.halfLayer, self.trained, configuration) = (halfLayer, trained, model.configuration)
      block = HalfLayerBlock(halfLayer, of: model)
      tape = HalfLayerTape(halfLayer, configuration)
      gradients = HalfLayerGradients(tape.widths, rows: 0)
    }

    /// Rows of the tape that are kept; all of them or none.
    var isKept: Bool { tape.wide.rows > 0 }

    func reserve(_ nRows: Int, room: inout Int) {
      if let trained { block = trained.block() }
      let needed = nRows * tape.widths.floatsPerRow
      let keeps = trained != nil || needed <= room
      if trained == nil && keeps { room -= needed }
      let rows = keeps ? nRows : 0
      if tape.wide.rows != rows {
        tape = HalfLayerTape(halfLayer, tape.widths, rows: rows, isTrained: trained != nil)
      }
    }

    func reserveGradients(_ nRows: Int) {
      if trained != nil && gradients.dOut.rows != nRows { gradients = HalfLayerGradients(tape.widths, rows: nRows) }
    }

    func forward(_ x: Strip, _ rows: Range<Int>, _ layout: SequenceLayout, _ scratch: BackwardScratch, into out: Strip)
    {
      block.forward(x, layout, tape: tape.cut(rows, scratch), scratch: scratch.attention.strip, into: out)
    }

    /// The gradient of the output into that of the normalised input, which is returned.
    func backward(
      _ dOut: Strip, _ x: Strip, _ rows: Range<Int>, _ layout: SequenceLayout, _ scratch: BackwardScratch,
      isSecond: Bool
    ) -> Strip {
      if !isKept { forward(x, rows, layout, scratch, into: scratch.out.strip.rows(0..<rows.count)) }
      if trained != nil { gradients.dOut.strip.rows(rows).assign(dOut) }
      let slots = gradients.cut(rows, scratch, isSecond: isSecond)
      block.backward(dOut, layout, tape: tape.cut(rows, scratch), scratch: scratch.attention.strip, into: slots)
      return slots.dNormalized
    }

    func accumulateGradients(_ x: Strip) {
      trained?.accumulateGradients(x: x, block.norm, tape, gradients)
    }
  }

  /// Attention before MLP, if there are two.
  let halves: [Half]

  /// - Parameter stream: number of the residual stream that is read, from the embedding on.
  init(at stream: Int, of model: TransformerModel, _ trained: [TrainedHalfLayer]) {
    let layer = stream / model.configuration.streamsPerLayer
    let members: [HalfLayer] =
      if model.configuration.isParallel {
        [.attention(layer), .mlp(layer)]
      } else {
        [stream % 2 == 0 ? .attention(layer) : .mlp(layer)]
      }
    halves = members.map { half in Half(half, of: model, trained.first { $0.halfLayer == half }) }
  }

  /// Shapes for a pass over `nRows` rows, with the weights as they are now; `room` is how many floats more tapes may take.
  func reserve(_ nRows: Int, room: inout Int) {
    for half in halves { half.reserve(nRows, room: &room) }
  }

  func reserveGradients(_ nRows: Int) {
    for half in halves { half.reserveGradients(nRows) }
  }

  /// Some rows of the stream x into those of the next, overwritten.
  func forward(_ x: Strip, _ rows: Range<Int>, _ layout: SequenceLayout, _ scratch: BackwardScratch, into y: Strip) {
    let out = scratch.out.strip.rows(0..<rows.count)
    y.assign(x)
    if halves.count == 1 {
      halves[0].forward(x, rows, layout, scratch, into: out)
      add(out, to: y)
    } else {
      let attentionOut = scratch.attentionOut.strip.rows(0..<rows.count)
      halves[0].forward(x, rows, layout, scratch, into: attentionOut)
      halves[1].forward(x, rows, layout, scratch, into: out)
      add(out, attentionOut, to: y)
    }
  }

  /// The gradient of the next stream, `gradient`, becomes that of the stream x.
  func backward(
    _ gradient: Strip, _ x: Strip, _ rows: Range<Int>, _ layout: SequenceLayout, _ scratch: BackwardScratch
  ) {
    // Both members of a parallel layer see the gradient before either adds to it.
    let ways = halves.enumerated().map { i, half in
      (half.block.norm, half.backward(gradient, x, rows, layout, scratch, isSecond: i == 1))
    }
    for (norm, dNormalized) in ways { norm.backward(x, dY: dNormalized, accumulatingInto: gradient) }
  }

  /// Adds to the gradients of trained weights, after the way back of all rows.
  func accumulateGradients(_ x: Strip) {
    for half in halves { half.accumulateGradients(x) }
  }
}
