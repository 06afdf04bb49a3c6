import ActCache
import LinearAlgebra
import Transformer

/// A language model as a source of activations.
package final class ModelSource: ActivationSource {
  package let model: TransformerModel
  private let workspace = ForwardWorkspace()
  /// Keeps its scratch memory from pass to pass.
  private var teacherPass: TeacherPass?

  package init(_ model: TransformerModel) { self.model = model }

  package var weightsDigest: String { get throws { try model.weightsDigest() } }
  package var configurationDescription: String { model.configuration.canonicalDescription }
  package var numerics: String { TransformerModel.numerics }
  package var nVocabulary: Int { model.configuration.dVocab }
  package var maxContext: Int { model.configuration.nCtx }

  package func width(of hook: String) throws -> Int {
    model.configuration.width(of: try model.configuration.hook(named: hook))
  }

  package func run(
    tokens: [UInt32], nSequences: Int, hooks: [String], teacher: TeacherRequest?,
    observe: (Int, borrowing Span<Float>) throws -> Void
  ) throws -> TeacherOutput? {
    let points = try hooks.map { try model.configuration.hook(named: $0) }
    let batch = TokenBatch(ids: tokens, nSequences: nSequences, nPositions: tokens.count / max(1, nSequences))
    var normalized = Matrix(0, 0)
    try model.forward(
      batch, hooks: points + (teacher?.hidden == nil ? [] : [.finalNormalized]), wantsFinalState: teacher != nil,
      workspace: workspace
    ) { hook, values in
      for i in points.indices where points[i] == hook { try values.withSpan { try observe(i, $0) } }
      if hook == .finalNormalized, teacher?.hidden != nil { normalized = values.copy() }
    }
    guard let teacher else { return nil }
    let pass: TeacherPass
    if let last = teacherPass, last.streams == teacher.streams {
      pass = last
    } else {
      pass = TeacherPass(model, streams: teacher.streams)
      teacherPass = pass
    }
    var output = TeacherOutput(frames: [], errors: teacher.streams.map { _ in PolicyError() })
    if !teacher.streams.isEmpty {
      output.frames = try pass.frames(of: teacher.block, finalState: workspace.finalState, errors: &output.errors)
    }
    if let type = teacher.hidden {
      try pass.addRounding(
        of: normalized, as: type, block: teacher.block, finalState: workspace.finalState, to: &output.hiddenError)
    }
    return output
  }
}
