import LinearAlgebra

/// One forward pass over a batch.
///
/// The pass is a row of stages (embedding, six per layer, two at the end). Threads take pieces of whole sequences
/// through as many stages as possible, so that a piece stays in a core's cache; all wait for each other only after
/// a stage whose value is lent out. How the batch is cut depends on its shape alone, and every stage does the same
/// arithmetic whether its value is observed or not: results depend neither on threads nor on the hooks asked for.
struct ForwardPass {
  /// Where a pass begins.
  enum Start: Equatable {
    case tokens
    /// The residual stream at this hook is given.
    case residual(HookPoint)
  }

  let model: TransformerModel
  let workspace: ForwardWorkspace
  let nSequences: Int
  let nPositions: Int
  /// Empty if the pass starts from a residual stream.
  let ids: [UInt32]
  let start: Start
  /// Observed hooks in forward order.
  let hooks: [HookPoint]
  let spliced: HookPoint?
  let wantsFinalState: Bool

  private var configuration: ModelConfiguration { model.configuration }
  private var nRows: Int { nSequences * nPositions }

  // Stages: 0 token embedding, 1 position embedding, 2 their sum; for layer l from 3 + 6·l on: z, attention out,
  // residual mid, post, MLP out, residual post; then the bare final norm and its scaling.
  private static let first = 3
  private static let perLayer = 6
  private var bareNorm: Int { Self.first + Self.perLayer * configuration.nLayers }

  /// The stage after which a hook has its value.
  private func stage(of hook: HookPoint) -> Int {
    switch hook {
    case .embed: return 0
    case .posEmbed: return 1
    case .finalNormalized: return bareNorm
    case .block(let layer, let hook):
      let offset =
        switch hook {
        case .residPre: -1
        case .z: 0
        case .attnOut: 1
        case .residMid: 2
        case .post: 3
        case .mlpOut: 4
        case .residPost: 5
        }
      return Self.first + Self.perLayer * layer + offset
    }
  }

  /// Throws `TransformerError`, and whatever the closures throw.
  func run(
    splice: ((HookPoint, inout Matrix) throws -> Void)?, observe: (HookPoint, borrowing Matrix) throws -> Void
  ) throws {
    let stops = Set(hooks + (spliced.map { [$0] } ?? [])).sorted()
    let last = max(stops.map(stage(of:)).max() ?? -1, wantsFinalState ? bareNorm + 1 : -1)
    var next = 0
    switch start {
    case .tokens: reshape(&workspace.residual, nRows, configuration.dModel)
    case .residual(let hook):
      next = stage(of: hook) + 1
      if let early = stops.first(where: { stage(of: $0) < next - 1 || !$0.isResidual && stage(of: $0) < next }) {
        throw TransformerError.invalidRequest(problem: "\(early) is computed before \(hook), where the pass starts")
      }
    }
    reserve(stops)
    // The values at the start, if they are asked for.
    if case .residual = start { try lend(stops, stage: next - 1, splice, observe) }
    for stop in Set(stops.map(stage(of:))).sorted() where stop >= next {
      compute(next...stop)
      try lend(stops, stage: stop, splice, observe)
      next = stop + 1
    }
    if next <= last { compute(next...last) }
  }

  private func needsBatch(_ stops: [HookPoint], _ kind: HookPoint.BlockHook) -> Bool {
    stops.contains { if case .block(_, kind) = $0 { true } else { false } }
  }

  /// Gives the matrices of the workspace the shapes of this pass; one that is not needed for the whole batch is
  /// emptied, and every thread uses its scratch instead.
  private func reserve(_ stops: [HookPoint]) {
    let c = configuration
    func shape(_ matrix: inout Matrix, _ isNeeded: Bool, _ columns: Int) {
      reshape(&matrix, isNeeded ? nRows : 0, columns)
    }
    shape(&workspace.positions, stops.contains(.posEmbed), c.dModel)
    shape(&workspace.z, needsBatch(stops, .z), c.nHeads * c.dHead)
    shape(&workspace.attentionOut, needsBatch(stops, .attnOut) || c.isParallel, c.dModel)
    shape(&workspace.post, needsBatch(stops, .post), c.dMLP)
    shape(&workspace.mlpOut, needsBatch(stops, .mlpOut), c.dModel)
    shape(&workspace.normalized, stops.contains(.finalNormalized), c.dModel)
    if wantsFinalState { reshape(&workspace.finalState, nRows, c.dModel) }
    workspace.reserveLayers(
      workers: Threads.count, rows: sequencesPerPiece * nPositions, nPositions: nPositions, c)
  }

  private func lend(
    _ stops: [HookPoint], stage: Int, _ splice: ((HookPoint, inout Matrix) throws -> Void)?,
    _ observe: (HookPoint, borrowing Matrix) throws -> Void
  ) throws {
    for hook in stops where self.stage(of: hook) == stage {
      let isObserved = hooks.contains(hook)
      func visit(_ matrix: inout Matrix) throws {
        if hook == spliced { try splice?(hook, &matrix) }
        precondition(
          matrix.rows == nRows && matrix.columns == configuration.width(of: hook), "a splice must keep the shape")
        if isObserved { try observe(hook, matrix) }
      }
      switch hook {
      case .posEmbed: try visit(&workspace.positions)
      case .block(_, .z): try visit(&workspace.z)
      case .block(_, .attnOut): try visit(&workspace.attentionOut)
      case .block(_, .post): try visit(&workspace.post)
      case .block(_, .mlpOut): try visit(&workspace.mlpOut)
      case .finalNormalized: try visit(&workspace.normalized)
      case .embed, .block(_, .residPre), .block(_, .residMid), .block(_, .residPost): try visit(&workspace.residual)
      }
    }
  }

  /// About 512 positions, which amortises packing the weights in each product; fewer if that would leave fewer than
  /// four pieces to share.
  static func sequencesPerPiece(nSequences: Int, nPositions: Int) -> Int {
    max(1, min(512 / max(1, nPositions), (nSequences + 3) / 4))
  }

  private var sequencesPerPiece: Int { Self.sequencesPerPiece(nSequences: nSequences, nPositions: nPositions) }

  /// Takes all pieces through some stages.
  private func compute(_ stages: ClosedRange<Int>) {
    if nRows == 0 { return }
    let perPiece = sequencesPerPiece
    let rotary = model.rotary(nPositions: nPositions)
    let views = Views(workspace)
    let scratches = workspace.layers
    Threads.forEach((nSequences + perPiece - 1) / perPiece, limit: scratches.count) { worker, piece in
      let sequences = piece * perPiece..<min(nSequences, (piece + 1) * perPiece)
      let rows = sequences.lowerBound * nPositions..<sequences.upperBound * nPositions
      let slots = views.cut(rows, scratches[worker])
      for stage in stages { compute(stage, rows, slots, rotary, isLast: stage == stages.upperBound) }
    }
  }

  /// The residual stream and the values between stages, of one piece.
  private struct Slots {
    var residual: Strip
    var positions: Strip?
    var z: Strip
    var attentionOut: Strip
    var post: Strip
    var mlpOut: Strip
    var normalized: Strip?
    var finalState: Strip
    var scratch: LayerScratch
  }

  /// The same of the whole batch.
  private struct Views: Sendable {
    var residual: Strip
    var positions: Strip
    var z: Strip
    var attentionOut: Strip
    var post: Strip
    var mlpOut: Strip
    var normalized: Strip
    var finalState: Strip

    init(_ workspace: ForwardWorkspace) {
      residual = workspace.residual.strip
      positions = workspace.positions.strip
      z = workspace.z.strip
      attentionOut = workspace.attentionOut.strip
      post = workspace.post.strip
      mlpOut = workspace.mlpOut.strip
      normalized = workspace.normalized.strip
      finalState = workspace.finalState.strip
    }

    func cut(_ rows: Range<Int>, _ scratch: LayerScratch) -> Slots {
      func either(_ batch: Strip, _ own: Strip) -> Strip {
        batch.rows > 0 ? batch.rows(rows) : own.rows(0..<rows.count)
      }
      return Slots(
        residual: residual.rows(rows), positions: positions.rows > 0 ? positions.rows(rows) : nil,
        z: either(z, scratch.z.strip), attentionOut: either(attentionOut, scratch.attentionOut.strip),
        post: either(post, scratch.post.strip), mlpOut: either(mlpOut, scratch.mlpOut.strip),
        normalized: normalized.rows > 0 ? normalized.rows(rows) : nil,
        finalState: finalState.rows >= rows.upperBound ? finalState.rows(rows) : finalState, scratch: scratch)
    }
  }

  private func compute(_ stage: Int, _ rows: Range<Int>, _ slots: Slots, _ rotary: RotaryTable?, isLast: Bool) {
    switch stage {
    case 0: gatherRows(model.tokenEmbedding.matrix.strip, ids[rows], into: slots.residual)
    case 1, 2: embedPositions(stage, slots)
    case bareNorm:
      if let normalized = slots.normalized { model.finalNorm.bare(slots.residual, into: normalized) }
    case bareNorm + 1:
      // The same roundings in the same order either way.
      if let normalized = slots.normalized {
        model.finalNorm.scale(normalized, into: slots.finalState)
      } else {
        model.finalNorm(slots.residual, into: slots.finalState)
      }
    default:
      let (layer, part) = (stage - Self.first).quotientAndRemainder(dividingBy: Self.perLayer)
      let attention = model.attentions[layer]
      let mlp = model.mlps[layer]
      switch part {
      case 0:
        attention.heads(
          slots.residual, nPositions: nPositions, rotary: rotary, scratch: slots.scratch, into: slots.z)
      case 1: attention.out(slots.z, into: slots.attentionOut)
      case 2: if !configuration.isParallel { add(slots.attentionOut, to: slots.residual) }
      case 3: mlp.hidden(slots.residual, scratch: slots.scratch, into: slots.post)
      case 4: mlp.out(slots.post, into: slots.mlpOut)
      default: add(slots.mlpOut, configuration.isParallel ? slots.attentionOut : nil, to: slots.residual)
      }
    }
  }

  /// Stage 1 writes the position embeddings where they are lent out, stage 2 adds them.
  private func embedPositions(_ stage: Int, _ slots: Slots) {
    guard let positions = model.positions?.rows(0..<nPositions) else { return }
    for first in stride(from: 0, to: slots.residual.rows, by: nPositions) {
      let range = first..<first + nPositions
      if stage == 1 {
        slots.positions?.rows(range).assign(positions)
      } else {
        add(slots.positions?.rows(range) ?? positions, to: slots.residual.rows(range))
      }
    }
  }
}
