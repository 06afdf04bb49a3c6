import LinearAlgebra
import Transformer

/// The model's own pass over a batch, kept so that passes with another value at the hook start from there: the layers
/// before the hook run once.
final class OriginalPass {
  /// The values at the hook, [rows, width].
  private(set) var activations = Matrix(0, 0)
  /// The input of the unembedding, [rows, dModel].
  private(set) var finalState = Matrix(0, 0)
  private let model: TransformerModel
  private let tokens: TokenBatch
  private let hook: HookPoint
  private let workspace: ForwardWorkspace
  /// The residual stream that later passes start from; nil: from the tokens.
  private let start: HookPoint?
  private var startResidual = Matrix(0, 0)

  init(_ model: TransformerModel, _ tokens: TokenBatch, hook: HookPoint, workspace: ForwardWorkspace) throws {
    self.model = model
    self.tokens = tokens
    self.hook = hook
    self.workspace = workspace
    switch hook {
    case .block(let layer, _): start = .block(layer, .residPre)
    case .finalNormalized: start = .block(model.configuration.nLayers - 1, .residPost)
    case .embed, .posEmbed: start = nil
    }
    try model.forward(
      tokens, hooks: Set([hook] + (start.map { [$0] } ?? [])), wantsFinalState: true, workspace: workspace
    ) { point, values in
      if point == hook { activations = values.copy() }
      if point == start { startResidual = values.copy() }
    }
    finalState = workspace.finalState.copy()
  }

  /// Runs the rest of the model with `values` at the hook; the result is in `workspace.finalState`.
  func run(replacing values: borrowing Matrix) throws {
    if case .block(_, let kind) = hook, kind == .residPre || kind == .residMid || kind == .residPost {
      try model.forward(
        from: hook, values, nSequences: tokens.nSequences, nPositions: tokens.nPositions, wantsFinalState: true,
        workspace: workspace)
      return
    }
    let replacement = SharedMatrix(values.copy())
    let splice = Splice(at: hook) { _, matrix in matrix.assign(replacement.matrix) }
    if let start {
      try model.forward(
        from: start, startResidual, nSequences: tokens.nSequences, nPositions: tokens.nPositions, splice: splice,
        wantsFinalState: true, workspace: workspace)
    } else {
      try model.forward(tokens, splice: splice, wantsFinalState: true, workspace: workspace)
    }
  }

  /// The summed next-token cross-entropy with `values` at the hook.
  func crossEntropy(replacing values: borrowing Matrix, targets: [UInt32?]) throws -> Double {
    try run(replacing: values)
    return try model.crossEntropy(workspace.finalState, targets: targets, scratch: workspace.unembedding)
      .reduce(0) { $0 + Double($1) }
  }
}
