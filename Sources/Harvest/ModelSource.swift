import LinearAlgebra
import Transformer

/// A language model as a source of activations.
package final class ModelSource: ActivationSource {
  package let model: TransformerModel
  private let workspace = ForwardWorkspace()

  package init(_ model: TransformerModel) { self.model = model }

  package var weightsDigest: String { get throws { try model.weightsDigest() } }
  package var configurationDescription: String { model.configuration.canonicalDescription }
  package var numerics: String { "f32 openblas" }
  package var nVocabulary: Int { model.configuration.dVocab }
  package var maxContext: Int { model.configuration.nCtx }

  package func width(of hook: String) throws -> Int {
    model.configuration.width(of: try model.configuration.hook(named: hook))
  }

  package func run(
    tokens: [UInt32], nSequences: Int, hooks: [String], observe: (Int, borrowing Span<Float>) throws -> Void
  ) throws {
    let points = try hooks.map { try model.configuration.hook(named: $0) }
    let batch = TokenBatch(ids: tokens, nSequences: nSequences, nPositions: tokens.count / max(1, nSequences))
    try model.forward(batch, hooks: points, workspace: workspace) { hook, values in
      guard let i = points.firstIndex(of: hook) else { return }
      try values.withSpan { try observe(i, $0) }
    }
  }
}
