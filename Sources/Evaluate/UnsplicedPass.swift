import LinearAlgebra
import Transformer

/// A model's pass over a batch with nothing replaced, kept so that passes with another value at the hook start from there:
/// the layers before the hook run once.
final class UnsplicedPass {
  /// The values at the hook, [rows, width].
  private(set) var activations = Matrix(0, 0)
  /// The values at `input`, [rows, its width], where that is another.
  private var others = Matrix(0, 0)
  private let input: HookPoint
  /// The input of the unembedding, [rows, dModel].
  private(set) var finalState = Matrix(0, 0)
  /// The residual streams asked for, [rows, dModel] each.
  private(set) var streams: [HookPoint: SharedMatrix] = [:]
  private let model: TransformerModel
  private let tokens: TokenBatch
  private let hook: HookPoint
  private let workspace: ForwardWorkspace
  /// The residual stream that later passes start from, if the hook is none itself; nil: from the tokens.
  private let start: HookPoint?
  private var startResidual = Matrix(0, 0)

  /// - Parameters:
  ///   - input: where codes are computed.
  ///   - streams: residual streams to keep.
  ///   - given: a residual stream that is known, not after the hook, which must be a residual stream, too; nil: from the
  ///     tokens.
  init(
    _ model: TransformerModel, _ tokens: TokenBatch, input: HookPoint, hook: HookPoint,
    keeping streams: Set<HookPoint>, from given: (point: HookPoint, values: SharedMatrix)? = nil,
    workspace: ForwardWorkspace
  ) throws {
    precondition(given == nil || hook.isResidual, "a pass to \(hook) from \(given?.point.name ?? "")")
    self.model = model
    self.input = input
    self.tokens = tokens
    self.hook = hook
    self.workspace = workspace
    switch hook {
    case .block where hook.isResidual: start = nil
    case .block(let layer, _): start = .block(layer, .residPre)
    case .finalNormalized: start = .block(model.configuration.nLayers - 1, .residPost)
    case .embed, .posEmbed: start = nil
    }
    var kept: [HookPoint: SharedMatrix] = [:]
    let hooks = streams.union([input, hook] + (start.map { [$0] } ?? []))
    func keep(_ point: HookPoint, _ values: borrowing Matrix) {
      if point == hook { activations = values.copy() }
      if point == input && input != hook { others = values.copy() }
      if point == start { startResidual = values.copy() }
      if streams.contains(point) { kept[point] = SharedMatrix(values.copy()) }
    }
    if let given {
      try model.forward(
        from: given.point, given.values.matrix, nSequences: tokens.nSequences, nPositions: tokens.nPositions,
        hooks: hooks, wantsFinalState: true, workspace: workspace, observe: keep)
    } else {
      try model.forward(tokens, hooks: hooks, wantsFinalState: true, workspace: workspace, observe: keep)
    }
    self.streams = kept
    finalState = workspace.finalState.copy()
  }

  /// What codes are computed from.
  var inputs: Matrix { _read { if input == hook { yield activations } else { yield others } } }

  /// Runs the rest of the model with `values` at the hook; the result is in `workspace.finalState`. `observe` sees the
  /// residual streams named in `observing`.
  func run(
    replacing values: borrowing Matrix, observing: Set<HookPoint> = [],
    observe: (HookPoint, borrowing Matrix) throws -> Void = { _, _ in }
  ) throws {
    if hook.isResidual { return try run(from: hook, values, observing: observing, observe: observe) }
    let replacement = SharedMatrix(values.copy())
    let splice = Splice(at: hook) { _, matrix in matrix.assign(replacement.matrix) }
    if let start {
      try model.forward(
        from: start, startResidual, nSequences: tokens.nSequences, nPositions: tokens.nPositions, hooks: observing,
        splice: splice, wantsFinalState: true, workspace: workspace, observe: observe)
    } else {
      try model.forward(
        tokens, hooks: observing, splice: splice, wantsFinalState: true, workspace: workspace, observe: observe)
    }
  }

  /// Runs the layers after the residual stream `point`, which is `values`; the result is in `workspace.finalState`.
  func run(
    from point: HookPoint, _ values: borrowing Matrix, observing: Set<HookPoint> = [],
    observe: (HookPoint, borrowing Matrix) throws -> Void = { _, _ in }
  ) throws {
    try model.forward(
      from: point, values, nSequences: tokens.nSequences, nPositions: tokens.nPositions, hooks: observing,
      wantsFinalState: true, workspace: workspace, observe: observe)
  }

  /// The next-token cross-entropy of every row with `values` at the hook.
  func crossEntropy(replacing values: borrowing Matrix, targets: [UInt32?]) throws -> [Float] {
    try run(replacing: values)
    return try model.crossEntropy(workspace.finalState, targets: targets, scratch: workspace.unembedding)
  }
}
