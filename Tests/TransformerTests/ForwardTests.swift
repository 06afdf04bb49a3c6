import LinearAlgebra
import TestSupport
import Testing

import Transformer

@Suite struct ForwardTests {
  /// 1e-4 is the project's bound; found: below 2e-6.
  private let tolerance: Float = 1e-5

  @Test(arguments: Fixture.all)
  func everyHookEqualsHuggingFace(_ fixture: Fixture) throws {
    let model = try fixture.model()
    let expected = try fixture.expected()
    let workspace = ForwardWorkspace()
    let batch = try fixture.batch(expected)
    var seen: [HookPoint] = []
    try model.forward(
      batch, hooks: model.configuration.validHooks, wantsFinalState: true, workspace: workspace
    ) { hook, values in
      seen.append(hook)
      let error = relativeError(values, try expected.all(hook.name))
      #expect(error < tolerance, "\(hook): \(error)")
      #expect(values.columns == model.configuration.width(of: hook))
    }
    #expect(seen == model.configuration.validHooks)
    #expect(relativeError(workspace.finalState, try expected.all("final")) < tolerance)
    #expect(relativeError(model.logits(workspace.finalState), try expected.all("logits")) < tolerance)
    let losses = try model.crossEntropy(
      workspace.finalState, targets: batch.nextTokens, scratch: workspace.unembedding)
    let mean = losses.map(Double.init).reduce(0, +) / Double(batch.nSequences * (batch.nPositions - 1))
    #expect(abs(Float(mean) - (try expected.all("loss"))[0, 0]) < 1e-5)
  }

  @Test(arguments: Fixture.all)
  func valuesDoNotDependOnWhatElseIsAskedFor(_ fixture: Fixture) throws {
    let model = try fixture.model()
    let batch = try fixture.batch(fixture.expected())
    let workspace = ForwardWorkspace()
    var all: [HookPoint: [Float]] = [:]
    try model.forward(batch, hooks: model.configuration.validHooks, wantsFinalState: true, workspace: workspace) {
      all[$0] = $1.values
    }
    let final = workspace.finalState.values
    try model.forward(batch, wantsFinalState: true, workspace: workspace)
    #expect(workspace.finalState.values == final)
    for hook in model.configuration.validHooks {
      try model.forward(batch, hooks: [hook], workspace: workspace) { #expect($1.values == all[$0], "\($0)") }
    }
  }

  @Test(arguments: Fixture.all)
  func logitsComeFromTheNormalizedStreamAndInTiles(_ fixture: Fixture) throws {
    let model = try fixture.model()
    let workspace = ForwardWorkspace()
    var normalized = Matrix(0, 0)
    try model.forward(
      try fixture.batch(fixture.expected()), hooks: [.finalNormalized], wantsFinalState: true, workspace: workspace
    ) { normalized = $1.copy() }
    let state = model.finalState(normalized: normalized)
    #expect(state.values == workspace.finalState.values)
    let whole = model.logits(workspace.finalState)
    var nRows = 0
    model.forEachLogitTile(state, scratch: Scratch()) { logits, rows in
      for i in 0..<logits.rows {
        logits.withSpan(row: i) { row in
          for j in 0..<whole.columns { #expect(abs(row[j] - whole[rows.lowerBound + i, j]) < 1e-5) }
        }
      }
      nRows += rows.count
    }
    #expect(nRows == state.rows)
  }

  @Test(arguments: Fixture.all)
  func passFromAnyResidualStreamEndsWhereTheWholePassEnds(_ fixture: Fixture) throws {
    let model = try fixture.model()
    let batch = try fixture.batch(fixture.expected())
    let workspace = ForwardWorkspace()
    var streams: [(HookPoint, Matrix.Box)] = []
    let hooks = model.configuration.validHooks.filter { $0.name.contains("hook_resid") }
    try model.forward(batch, hooks: hooks, wantsFinalState: true, workspace: workspace) {
      streams.append(($0, Matrix.Box($1.copy())))
    }
    let final = workspace.finalState.values
    let fresh = ForwardWorkspace()
    for (hook, stream) in streams {
      var seen: [HookPoint] = []
      try model.forward(
        from: hook, stream.matrix, nSequences: batch.nSequences, nPositions: batch.nPositions, hooks: [hook],
        wantsFinalState: true, workspace: fresh
      ) { found, values in
        seen.append(found)
        #expect(values.values == stream.matrix.values)
      }
      #expect(seen == [hook])
      #expect(fresh.finalState.values == final, "\(hook)")
    }
  }

  @Test(arguments: Fixture.all)
  func spliceOfTheSameValuesChangesNothingAndOfOthersChangesTheEnd(_ fixture: Fixture) throws {
    let model = try fixture.model()
    let batch = try fixture.batch(fixture.expected())
    let workspace = ForwardWorkspace()
    try model.forward(batch, wantsFinalState: true, workspace: workspace)
    let final = workspace.finalState.values
    for hook in model.configuration.validHooks {
      var calls = 0
      let same = Splice(at: hook) { found, _ in
        calls += 1
        #expect(found == hook)
      }
      try model.forward(batch, splice: same, wantsFinalState: true, workspace: workspace)
      #expect(workspace.finalState.values == final, "\(hook)")
      let zero = Splice(at: hook) { _, matrix in matrix.fill(0) }
      try model.forward(batch, hooks: [hook], splice: zero, wantsFinalState: true, workspace: workspace) {
        #expect($1.values.allSatisfy { $0 == 0 })
      }
      #expect(workspace.finalState.values != final, "\(hook)")
      #expect(calls == 1)
    }
  }

  @Test func spliceIsWhatLaterLayersSee() throws {
    let model = try Fixture(name: "gpt2").model()
    let batch = try Fixture(name: "gpt2").batch(Fixture(name: "gpt2").expected())
    let workspace = ForwardWorkspace()
    // Without the outputs of a block, the residual stream passes it unchanged.
    var before: [Float] = []
    var after: [Float] = []
    try model.forward(
      batch, hooks: [.block(1, .residMid), .block(1, .residPost)],
      splice: Splice(at: .block(1, .mlpOut)) { $1.fill(0) }, workspace: workspace
    ) { if $0 == .block(1, .residMid) { before = $1.values } else { after = $1.values } }
    #expect(before == after && !before.isEmpty)
  }

  @Test(arguments: Fixture.all)
  func paddingOnTheRightAndBatchesOfOneChangeNothing(_ fixture: Fixture) throws {
    let model = try fixture.model()
    let batch = try fixture.batch(fixture.expected())
    let workspace = ForwardWorkspace()
    try model.forward(batch, wantsFinalState: true, workspace: workspace)
    let whole = workspace.finalState.copy()
    let kept = batch.nPositions - 3
    for sequence in 0..<batch.nSequences {
      let ids = Array(batch.ids[sequence * batch.nPositions..<(sequence + 1) * batch.nPositions])
      try model.forward(
        TokenBatch(ids: Array(ids.prefix(kept)), nSequences: 1, nPositions: kept), wantsFinalState: true,
        workspace: workspace)
      let error = relativeError(
        workspace.finalState, whole.copy(rows: sequence * batch.nPositions..<sequence * batch.nPositions + kept))
      #expect(error < 1e-5)
    }
  }

  @Test func resultDoesNotDependOnTheNumberOfThreads() throws {
    let model = try Fixture(name: "gpt-neo").model()
    var random = SeededGenerator(seed: 4)
    let batch = TokenBatch(
      ids: (0..<7 * 11).map { _ in UInt32.random(in: 0..<61, using: &random) }, nSequences: 7, nPositions: 11)
    let before = Threads.count
    defer { Threads.count = before }
    var results: [[Float]] = []
    for threads in [1, 2, 3, 8] {
      Threads.count = threads
      let workspace = ForwardWorkspace()
      try model.forward(batch, wantsFinalState: true, workspace: workspace)
      results.append(workspace.finalState.values)
    }
    #expect(results.allSatisfy { $0 == results[0] })
  }

  @Test func passStopsAfterTheLastHook() throws {
    let fixture = Fixture(name: "llama-tied")
    let model = try fixture.model()
    let expected = try fixture.expected()
    let batch = try fixture.batch(expected)
    let workspace = ForwardWorkspace()
    try model.forward(batch, hooks: [.block(0, .residMid)], workspace: workspace) { _, _ in }
    // The workspace still holds that stream: nothing was added after it.
    #expect(relativeError(workspace.residual, try expected.all("blocks.0.hook_resid_mid")) < tolerance)
  }

  @Test func emptyBatchesAndSingleTokensPassInOneWorkspaceOfAllModels() throws {
    let workspace = ForwardWorkspace()
    for fixture in Fixture.all {
      let model = try fixture.model()
      try model.forward(
        TokenBatch(ids: [], nSequences: 0, nPositions: 5), hooks: model.configuration.validHooks,
        wantsFinalState: true, workspace: workspace
      ) { #expect($1.rows == 0) }
      try model.forward(
        TokenBatch(ids: [3], nSequences: 1, nPositions: 1), wantsFinalState: true, workspace: workspace)
      #expect(workspace.finalState.rows == 1)
    }
  }

  @Test func impossibleRequestsAreErrors() throws {
    let model = try Fixture(name: "gpt-neox-parallel").model()
    let workspace = ForwardWorkspace()
    #expect(
      throws: TransformerError.tokenOutOfRange(id: 57, sequence: 1, position: 1, dVocab: 57)
    ) {
      try model.forward(TokenBatch(ids: [0, 1, 2, 57], nSequences: 2, nPositions: 2), workspace: workspace)
    }
    #expect(throws: TransformerError.sequenceTooLong(nPositions: 41, nCtx: 40)) {
      try model.forward(
        TokenBatch(ids: [UInt32](repeating: 0, count: 41), nSequences: 1, nPositions: 41), workspace: workspace)
    }
    let error = #expect(throws: TransformerError.self) {
      try model.forward(
        TokenBatch(ids: [0], nSequences: 1, nPositions: 1), hooks: [.block(0, .residMid)], workspace: workspace)
    }
    #expect(
      error?.description.hasPrefix(
        "blocks.0.hook_resid_mid is not a hook point of this model; valid: hook_embed, blocks.0.hook_resid_pre, blocks.0.attn.hook_z, blocks.0.hook_attn_out, blocks.0.mlp.hook_post"
      ) == true)
    #expect(
      throws: TransformerError.invalidRequest(
        problem: "blocks.0.hook_attn_out is computed before blocks.1.hook_resid_pre, where the pass starts")
    ) {
      try model.forward(
        from: .block(1, .residPre), Matrix(1, 24), nSequences: 1, nPositions: 1, hooks: [.block(0, .attnOut)],
        workspace: workspace)
    }
    #expect(
      throws: TransformerError.invalidRequest(
        problem: "a pass cannot start at blocks.0.attn.hook_z, only at a residual stream")
    ) {
      try model.forward(from: .block(0, .z), Matrix(1, 24), nSequences: 1, nPositions: 1, workspace: workspace)
    }
    #expect(throws: TransformerError.tokenOutOfRange(id: 99, sequence: 0, position: 0, dVocab: 57)) {
      try model.crossEntropy(Matrix(1, 24), targets: [99], scratch: workspace.unembedding)
    }
  }
}

extension Matrix {
  /// Keeps a matrix in an array.
  final class Box {
    let matrix: Matrix
    init(_ matrix: consuming Matrix) { self.matrix = matrix }
  }
}
