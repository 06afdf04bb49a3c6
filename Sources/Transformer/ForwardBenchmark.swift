import Foundation
import LinearAlgebra

/// Times forward passes over sequences of random tokens.
package struct ForwardBenchmark {
  /// Tokens per second, the best of the repeats: by wall clock, and by processor time of all threads, which others on
  /// the machine disturb less.
  package struct Rate: Codable, Sendable {
    package var wall = 0.0
    package var processor = 0.0
  }

  package struct Result: Codable, Sendable {
    package var context, sequences, threads: Int
    package var blasCore: String
    /// To the next-token cross-entropy of every position.
    package var loss = Rate()
    /// To the input of the unembedding.
    package var finalState = Rate()
    /// To the residual stream in the middle of the layers.
    package var middleHook = Rate()
    /// From there to the input of the unembedding.
    package var fromMiddle = Rate()
    /// The same, and back to the gradient of the stream in the middle.
    package var fromMiddleAndBack = Rate()
  }

  private let model: TransformerModel
  private let context: Int
  private let sequences: Int
  private let repeats: Int

  package init(_ model: TransformerModel, context: Int, sequences: Int, repeats: Int) {
    self.model = model
    self.context = context
    self.sequences = sequences
    self.repeats = repeats
  }

  package func run() throws -> Result {
    let vocabulary = UInt32(model.configuration.dVocab)
    // Any tokens will do: the arithmetic does not depend on them.
    let ids = (0..<sequences * context).map { (UInt32(truncatingIfNeeded: $0) &* 2_654_435_761) % vocabulary }
    let batch = TokenBatch(ids: ids, nSequences: sequences, nPositions: context)
    let targets = batch.nextTokens
    let workspace = ForwardWorkspace()
    let middle = HookPoint.block(model.configuration.nLayers / 2, .residPre)
    var result = Result(
      context: context, sequences: sequences, threads: Threads.count, blasCore: BLASLibrary.coreName)
    result.loss = try best {
      try model.forward(batch, wantsFinalState: true, workspace: workspace)
      _ = try model.crossEntropy(workspace.finalState, targets: targets, scratch: workspace.unembedding)
    }
    result.finalState = try best { try model.forward(batch, wantsFinalState: true, workspace: workspace) }
    result.middleHook = try best { try model.forward(batch, hooks: [middle], workspace: workspace) }
    let stream = workspace.residual.copy()
    result.fromMiddle = try best {
      try model.forward(
        from: middle, stream, nSequences: sequences, nPositions: context, wantsFinalState: true, workspace: workspace)
    }
    let pass = try DifferentiablePass(model, hook: middle)
    var gradient = Matrix(0, 0)
    result.fromMiddleAndBack = try best {
      try pass.forward(stream, nSequences: sequences, nPositions: context)
      // The final state in the place of a loss' gradient: any will do.
      pass.backward(dFinalState: SharedMatrix(pass.finalState.copy()), into: &gradient)
    }
    return result
  }

  private func best(_ body: () throws -> Void) rethrows -> Rate {
    try body()
    var rate = Rate()
    let tokens = Double(sequences * context)
    for _ in 0..<max(1, repeats) {
      let (start, processorStart) = (ContinuousClock.now, clock())
      try body()
      rate.wall = max(rate.wall, tokens / ((ContinuousClock.now - start) / .seconds(1)))
      rate.processor = max(rate.processor, tokens * Double(CLOCKS_PER_SEC) / Double(max(1, clock() - processorStart)))
    }
    return rate
  }
}
