import LinearAlgebra

/// The layers after a hook, with exact gradients: of the value at the hook, and of the weights of trained half-layers.
///
///     value (+ base) ─► stream 0 ─ step ─► stream 1 ─ … ─► stream n ─ final norm ─► finalState
///
/// A step is a half-layer, or a whole layer where attention and MLP read the same stream. Forward keeps the streams and,
/// as long as there is room, what each half-layer leaves on its tape (`HalfLayerTape`); the rest is computed again on the
/// way back, with the same bits. The arithmetic is that of `TransformerModel.forward(from:)`, in the same pieces of whole
/// sequences, so values are equal to its bit for bit, and neither they nor gradients depend on the number of threads.
/// Weights' gradients are sums over all rows, made after the way back from matrices of the whole batch.
///
/// Not for two threads at a time.
package final class DifferentiablePass {
  package let hook: HookPoint
  package let downstream: [HookPoint]
  let model: TransformerModel
  let steps: [DifferentiableStep]
  /// Where the gradients of downstream values come in.
  private let places: [HookPoint: Int]
  /// The blocks beside the hook whose output is added to stream 0 with the value, computed from the base.
  private let neighbour: HalfLayer?
  private let tapeLimit: Int

  private var nSequences = 0
  private var nPositions = 0
  /// Steps that `forward` has run.
  private var nRun = 0
  private var hasFinalState = false
  private var streams: [SharedMatrix] = []
  private var scratches: [BackwardScratch] = []
  /// The input of the unembedding, [nSequences·nPositions, dModel], after a pass that went so far.
  package private(set) var finalState = Matrix(0, 0)

  /// - Parameters:
  ///   - hook: where the value goes in: a residual stream, `hook_attn_out` or `hook_mlp_out`.
  ///   - downstream: residual streams after it whose values are asked for.
  ///   - trained: half-layers after the hook that are run with other weights than the model's, and get gradients.
  ///   - tapeLimit: bytes that the tapes of half-layers that are not trained may take; streams come on top.
  ///
  /// Throws `TransformerError.unknownHook` and `.invalidRequest`.
  package init(
    _ model: TransformerModel, hook: HookPoint, downstream: [HookPoint] = [], trained: [TrainedHalfLayer] = [],
    tapeLimit: Int = 1 << 30
  ) throws(TransformerError) {
    let c = model.configuration
    for hook in [hook] + downstream where !c.has(hook) {
      throw .unknownHook(name: hook.name, valid: c.validHooks.map(\.name))
    }
    guard let start = Self.start(of: hook, c) else {
      throw .invalidRequest(
        problem: "no gradients go back to \(hook), only to residual streams, hook_attn_out and hook_mlp_out")
    }
    (self.model, self.hook, self.downstream, self.tapeLimit) = (model, hook, downstream, tapeLimit)
    steps = (start..<c.nLayers * c.streamsPerLayer).map { DifferentiableStep(at: $0, of: model, trained) }
    var places: [HookPoint: Int] = [:]
    for stream in downstream {
      // What a block's output is added to comes after it.
      guard stream.isResidual, let place = Self.start(of: stream, c),
        place > start || place == start && !hook.isResidual
      else {
        throw .invalidRequest(problem: "\(stream) is not a residual stream after \(hook)")
      }
      places[stream] = place - start
    }
    self.places = places
    for half in trained where !steps.contains(where: { $0.halves.contains { $0.trained === half } }) {
      throw .invalidRequest(problem: "\(half.halfLayer) is not computed after \(hook), or is given twice")
    }
    neighbour =
      switch hook {
      case .block(let layer, .attnOut) where c.isParallel: .mlp(layer)
      case .block(let layer, .mlpOut) where c.isParallel: .attention(layer)
      default: nil
      }
  }

  /// The residual stream that a pass with a value at `hook` needs beside it: `hook_resid_pre` of the block, or
  /// `hook_resid_mid` for `hook_mlp_out` of a model that has it; nil for residual streams.
  package static func base(of hook: HookPoint, in model: TransformerModel) -> HookPoint? {
    switch hook {
    case .block(let layer, .attnOut): .block(layer, .residPre)
    case .block(let layer, .mlpOut): .block(layer, model.configuration.isParallel ? .residPre : .residMid)
    default: nil
    }
  }

  /// Which residual stream a value at `hook` is, or is added to: streams are numbered from the embedding on.
  private static func start(of hook: HookPoint, _ c: ModelConfiguration) -> Int? {
    switch hook {
    case .block(let layer, .residPre): layer * c.streamsPerLayer
    case .block(let layer, .residMid): layer * c.streamsPerLayer + 1
    case .block(let layer, .attnOut): layer * c.streamsPerLayer + 1
    case .block(let layer, .residPost), .block(let layer, .mlpOut): (layer + 1) * c.streamsPerLayer
    default: nil
    }
  }

  /// Runs the layers after the hook: to `finalState`, or only as far as the last downstream hook.
  ///
  /// - Parameters:
  ///   - value: [nSequences·nPositions, dModel], at the hook; copied.
  ///   - base: of the same shape, the residual stream that `base(of:in:)` names; none if that is nil.
  ///
  /// Throws `TransformerError.sequenceTooLong`.
  package func forward(
    _ value: borrowing Matrix, base: Strip? = nil, nSequences: Int, nPositions: Int, toFinalState: Bool = true
  ) throws(TransformerError) {
    let c = model.configuration
    let nRows = nSequences * nPositions
    if nPositions > c.nCtx { throw .sequenceTooLong(nPositions: nPositions, nCtx: c.nCtx) }
    precondition(
      value.rows == nRows && value.columns == c.dModel,
      "[\(value.rows), \(value.columns)] for \(nSequences)·\(nPositions) positions of \(c.dModel)")
    precondition(
      (base != nil) == (Self.base(of: hook, in: model) != nil)
        && base.map { $0.rows == nRows && $0.columns == c.dModel } ?? true, "the base of \(hook)")
    (self.nSequences, self.nPositions, hasFinalState) = (nSequences, nPositions, toFinalState)
    nRun = toFinalState ? steps.count : places.values.max() ?? 0
    reserve(nRows)
    let (value, final) = (value.strip, finalState.strip)
    forEachPiece { rows, scratch, layout in
      enter(value.rows(rows), base?.rows(rows), layout, scratch, into: streams[0].matrix.strip.rows(rows))
      for i in 0..<nRun {
        steps[i].forward(
          streams[i].matrix.strip.rows(rows), rows, layout, scratch, into: streams[i + 1].matrix.strip.rows(rows))
      }
      if toFinalState { model.finalNorm(streams[nRun].matrix.strip.rows(rows), into: final.rows(rows)) }
    }
  }

  /// The residual stream at a downstream hook, [nSequences·nPositions, dModel], until the next pass.
  package func value(at hook: HookPoint) -> SharedMatrix {
    guard let place = places[hook], place <= nRun, place < streams.count else {
      preconditionFailure("\(hook) is not downstream, or no pass has been run")
    }
    return streams[place]
  }

  /// Takes the gradient of the loss back to the value at the hook, and adds to the gradients of trained half-layers.
  /// May be called again for the same forward pass.
  ///
  /// - Parameters:
  ///   - dFinalState: [nSequences·nPositions, dModel], gradient of `finalState`; none if the loss does not read it: then
  ///     nothing above the last of the downstream hooks is touched.
  ///   - dDownstream: gradients of the values at downstream hooks, where the loss reads them directly.
  ///   - dValue: [nSequences·nPositions, dModel], overwritten.
  package func backward(
    dFinalState: SharedMatrix?, dDownstream: [HookPoint: SharedMatrix] = [:], into dValue: inout Matrix
  ) {
    let nRows = nSequences * nPositions
    precondition(!streams.isEmpty && (dFinalState == nil || hasFinalState), "there was no such forward pass")
    var arriving = [[Strip]](repeating: [], count: steps.count + 1)
    // In a fixed order, as two hooks can name one stream.
    for (hook, shared) in dDownstream.sorted(by: { $0.key < $1.key }) {
      let gradient = shared.matrix.strip
      guard let place = places[hook], place <= nRun else { preconditionFailure("\(hook) is not downstream") }
      precondition(
        gradient.rows == nRows && gradient.columns == model.configuration.dModel, "the gradient at \(hook)")
      arriving[place].append(gradient)
    }
    let nBack = dFinalState != nil ? steps.count : arriving.lastIndex { !$0.isEmpty } ?? 0
    reshape(&dValue, nRows, model.configuration.dModel)
    let whole = dValue.strip
    for step in steps[..<nBack] { step.reserveGradients(nRows) }
    forEachPiece { rows, scratch, layout in
      let gradient = whole.rows(rows)
      gradient.fill(0)
      if let dFinalState {
        model.finalNorm.backward(
          streams[nBack].matrix.strip.rows(rows), dY: dFinalState.matrix.strip.rows(rows), accumulatingInto: gradient)
      }
      for i in (0...nBack).reversed() {
        for other in arriving[i] { add(other.rows(rows), to: gradient) }
        if i > 0 {
          steps[i - 1].backward(gradient, streams[i - 1].matrix.strip.rows(rows), rows, layout, scratch)
        }
      }
    }
    for (step, stream) in zip(steps[..<nBack], streams) { step.accumulateGradients(stream.matrix.strip) }
  }

  /// Stream 0 from the value.
  private func enter(
    _ value: Strip, _ base: Strip?, _ layout: SequenceLayout, _ scratch: BackwardScratch, into stream: Strip
  ) {
    guard let base else { return stream.assign(value) }
    stream.assign(base)
    guard let neighbour else { return add(value, to: stream) }
    let block = HalfLayerBlock(neighbour, of: model)
    let out = scratch.out.strip.rows(0..<value.rows)
    block.forward(
      base, layout, tape: HalfLayerTape(neighbour, model.configuration).cut(0..<value.rows, scratch),
      scratch: scratch.attention.strip, into: out)
    // MLP first: the order of the forward pass.
    if case .mlp = neighbour { add(out, value, to: stream) } else { add(value, out, to: stream) }
  }

  /// Gives streams and tapes the shapes of this pass.
  private func reserve(_ nRows: Int) {
    let c = model.configuration
    if streams.first.map({ $0.matrix.rows != nRows }) ?? true { streams = [] }
    while streams.count <= nRun { streams.append(SharedMatrix(Matrix(uninitialized: nRows, c.dModel))) }
    if hasFinalState { reshape(&finalState, nRows, c.dModel) }
    var room = tapeLimit / 4
    for step in steps[..<nRun] { step.reserve(nRows, room: &room) }
  }

  /// Calls `body` for the pieces of the batch, in parallel.
  private func forEachPiece(
    _ body: (_ rows: Range<Int>, _ scratch: BackwardScratch, _ layout: SequenceLayout) -> Void
  ) {
    if nSequences * nPositions == 0 { return }
    let perPiece = ForwardPass.sequencesPerPiece(nSequences: nSequences, nPositions: nPositions)
    let rows = perPiece * nPositions
    let fits = scratches.first.map { $0.rows >= rows && $0.nPositions >= nPositions } ?? false
    if !fits || scratches.count < Threads.count {
      scratches = (0..<Threads.count).map { _ in
        BackwardScratch(model.configuration, rows: rows, nPositions: nPositions)
      }
    }
    let layout = SequenceLayout(nPositions: nPositions, rotary: model.rotary(nPositions: nPositions))
    Threads.forEach((nSequences + perPiece - 1) / perPiece, limit: scratches.count) { worker, piece in
      let sequences = piece * perPiece..<min(nSequences, (piece + 1) * perPiece)
      body(sequences.lowerBound * nPositions..<sequences.upperBound * nPositions, scratches[worker], layout)
    }
  }
}
