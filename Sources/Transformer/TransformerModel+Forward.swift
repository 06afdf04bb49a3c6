import LinearAlgebra

/// A replacement of the value at one hook: the closure changes the lent matrix [nSequences·nPositions, width] in
/// place, keeping its shape, and the pass goes on with it.
package struct Splice {
  package var hook: HookPoint
  package var replace: (HookPoint, inout Matrix) throws -> Void

  package init(at hook: HookPoint, _ replace: @escaping (HookPoint, inout Matrix) throws -> Void) {
    (self.hook, self.replace) = (hook, replace)
  }
}

extension TransformerModel {
  /// Runs the model on a batch of tokens, as far as the last value that is asked for.
  ///
  /// - Parameters:
  ///   - hooks: what to observe.
  ///   - splice: a value to replace. The observer of the same hook sees the replacement.
  ///   - wantsFinalState: leave the input of the unembedding in `workspace.finalState`.
  ///   - workspace: memory of the pass, used again by the next.
  ///   - observe: called for every hook in forward order with its values, one row per position, sequence after
  ///     sequence. The matrix is lent: copy what should be kept.
  ///
  /// Throws `TransformerError.unknownHook`, `.tokenOutOfRange`, `.sequenceTooLong` (also for rotary positions: the
  /// model was not trained beyond its context), and whatever the closures throw.
  package func forward(
    _ batch: TokenBatch, hooks: some Sequence<HookPoint> = [], splice: Splice? = nil, wantsFinalState: Bool = false,
    workspace: ForwardWorkspace, observe: (HookPoint, borrowing Matrix) throws -> Void = { _, _ in }
  ) throws {
    try check(batch)
    try pass(
      .tokens, batch.ids, batch.nSequences, batch.nPositions, hooks, splice, wantsFinalState, workspace
    ).run(splice: splice?.replace, observe: observe)
  }

  /// Runs the layers after a residual stream that is given: `start` is a `hook_resid_pre`, `mid` or `post`.
  ///
  /// - Parameter residual: [nSequences·nPositions, dModel], the values at `start`; copied.
  package func forward(
    from start: HookPoint, _ residual: borrowing Matrix, nSequences: Int, nPositions: Int,
    hooks: some Sequence<HookPoint> = [], splice: Splice? = nil, wantsFinalState: Bool = false,
    workspace: ForwardWorkspace, observe: (HookPoint, borrowing Matrix) throws -> Void = { _, _ in }
  ) throws {
    try check([start], nPositions: nPositions)
    guard start.isResidual else {
      throw TransformerError.invalidRequest(problem: "a pass cannot start at \(start), only at a residual stream")
    }
    precondition(
      residual.rows == nSequences * nPositions && residual.columns == configuration.dModel,
      "[\(residual.rows), \(residual.columns)] for \(nSequences)·\(nPositions) positions of \(configuration.dModel)")
    reshape(&workspace.residual, residual.rows, residual.columns)
    workspace.residual.assign(residual)
    try pass(
      .residual(start), [], nSequences, nPositions, hooks, splice, wantsFinalState, workspace
    ).run(splice: splice?.replace, observe: observe)
  }

  private func pass(
    _ start: ForwardPass.Start, _ ids: [UInt32], _ nSequences: Int, _ nPositions: Int,
    _ hooks: some Sequence<HookPoint>, _ splice: Splice?, _ wantsFinalState: Bool, _ workspace: ForwardWorkspace
  ) throws(TransformerError) -> ForwardPass {
    let hooks = Set(hooks).sorted()
    try check(hooks + (splice.map { [$0.hook] } ?? []), nPositions: nPositions)
    return ForwardPass(
      model: self, workspace: workspace, nSequences: nSequences, nPositions: nPositions, ids: ids, start: start,
      hooks: hooks, spliced: splice?.hook, wantsFinalState: wantsFinalState)
  }

  private func check(_ hooks: [HookPoint], nPositions: Int) throws(TransformerError) {
    for hook in hooks where !configuration.has(hook) {
      throw .unknownHook(name: hook.name, valid: configuration.validHooks.map(\.name))
    }
    if nPositions > configuration.nCtx {
      throw .sequenceTooLong(nPositions: nPositions, nCtx: configuration.nCtx)
    }
  }

  private func check(_ batch: TokenBatch) throws(TransformerError) {
    for (i, id) in batch.ids.enumerated() where Int(id) >= configuration.dVocab {
      throw .tokenOutOfRange(
        id: id, sequence: i / batch.nPositions, position: i % batch.nPositions, dVocab: configuration.dVocab)
    }
  }

  /// Next-token cross-entropy in nats of every row of a final state; 0 for rows without a target.
  ///
  /// - Parameters:
  ///   - finalState: [rows, dModel], as `forward` leaves it in the workspace.
  ///   - targets: one per row, see `TokenBatch.nextTokens`.
  package func crossEntropy(
    _ finalState: borrowing Matrix, targets: [UInt32?], scratch: UnembeddingScratch
  ) throws(TransformerError) -> [Float] {
    try check(targets)
    return LinearAlgebra.crossEntropy(finalState.strip, unembedding: unembedding, targets: targets, scratch: scratch)
  }

  /// KL(original ‖ spliced) and both cross-entropies, row by row, without logits in memory beyond a tile.
  package func divergence(
    original: borrowing Matrix, spliced: borrowing Matrix, targets: [UInt32?], scratch: UnembeddingScratch
  ) throws(TransformerError) -> Divergence {
    try check(targets)
    return LinearAlgebra.divergence(
      original: original.strip, spliced: spliced.strip, unembedding: unembedding, targets: targets, scratch: scratch)
  }

  /// Logits of some rows of a final state: [rows, dVocab]. For tests and sampling; large.
  package func logits(_ finalState: borrowing Matrix, rows: Range<Int>? = nil) -> Matrix {
    let states = finalState.strip.rows(rows ?? 0..<finalState.rows)
    let logits = Matrix(uninitialized: states.rows, configuration.dVocab)
    gemm(states, unembedding, into: logits.strip, transposeB: true)
    return logits
  }

  /// Logits of all rows of a final state, as many at a time as fit into a tile of about 64 MiB (see
  /// `LinearAlgebra.forEachLogitTile`); the body may overwrite them.
  package func forEachLogitTile<E: Error>(
    _ finalState: borrowing Matrix, scratch: Scratch,
    _ body: (_ logits: Strip, _ rows: Range<Int>) throws(E) -> Void
  ) throws(E) {
    try LinearAlgebra.forEachLogitTile(finalState.strip, unembedding: unembedding, scratch: scratch, body)
  }

  /// The final state, from which logits are one product, of values of `ln_final.hook_normalized`: that hook lies
  /// before the weight (and for LayerNorm the bias) of the final norm, so they are applied here, in the arithmetic of
  /// the forward pass. f32 values as the hook gave them lead to the very bits of `workspace.finalState`.
  package func finalState(normalized: borrowing Matrix) -> Matrix {
    let state = Matrix(uninitialized: normalized.rows, configuration.dModel)
    finalNorm.scale(normalized.strip, into: state.strip)
    return state
  }

  private func check(_ targets: [UInt32?]) throws(TransformerError) {
    for (row, target) in targets.enumerated() {
      if let target, Int(target) >= configuration.dVocab {
        throw .tokenOutOfRange(id: target, sequence: 0, position: row, dVocab: configuration.dVocab)
      }
    }
  }
}
