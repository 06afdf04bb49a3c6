import Foundation
import LinearAlgebra
import Memory
import TestSupport
import Testing

import Transformer

/// The models beside the project, where a checkout has them. Token ids and the reference losses (transformers, f32)
/// are in the fixtures.
@Suite struct RealModelTests {
  private struct Facts: Decodable {
    var prompt: [UInt32]
    var greedy: [UInt32]
    var loss: Double
    var shapeLoss: Double

    enum CodingKeys: String, CodingKey {
      case prompt = "stories260K.prompt"
      case greedy = "stories260K.greedy"
      case loss = "stories260K.loss"
      case shapeLoss = "tinystories-1m-shape.loss"
    }
  }

  private func facts() throws -> Facts {
    let data = try Data(contentsOf: URL(fileURLWithPath: Fixture.folder + "/real-models.json"))
    return try JSONDecoder().decode(Facts.self, from: data)
  }

  private func ids(_ name: String) throws -> [UInt32] {
    let file = try MappedFile(path: Fixture.folder + "/" + name)
    return file.withBytes { bytes in
      stride(from: 0, to: bytes.byteCount, by: 2).map { UInt32(bytes.integer(at: $0, as: UInt16.self)) }
    }
  }

  /// Mean next-token cross-entropy over windows of 256 tokens.
  private func loss(_ model: TransformerModel, _ ids: [UInt32]) throws -> Double {
    let workspace = ForwardWorkspace()
    let batch = TokenBatch(ids: ids, nSequences: ids.count / 256, nPositions: 256)
    try model.forward(batch, wantsFinalState: true, workspace: workspace)
    let losses = try model.crossEntropy(
      workspace.finalState, targets: batch.nextTokens, scratch: workspace.unembedding)
    return losses.map(Double.init).reduce(0, +) / Double(batch.nSequences * 255)
  }

  @Test func storiesModelContinuesAsTheReferenceDoes() throws {
    guard let path = SharedInputs.path("models/stories260K") else { return }
    let model = try TransformerModel.load(path: path)
    let facts = try facts()
    let workspace = ForwardWorkspace()
    // Greedy choice at every position of the reference's text gives the next token of that text.
    let batch = TokenBatch(ids: facts.greedy, nSequences: 1, nPositions: facts.greedy.count)
    try model.forward(batch, wantsFinalState: true, workspace: workspace)
    let logits = model.logits(workspace.finalState)
    for position in facts.prompt.count - 1..<facts.greedy.count - 1 {
      let row = (0..<512).map { logits[position, $0] }
      let best = row.indices.max { row[$0] < row[$1] }
      #expect(best.map(UInt32.init) == facts.greedy[position + 1], "position \(position)")
    }
  }

  #if !DEBUG
    @Test func storiesModelHasTheReferenceLoss() throws {
      guard let path = SharedInputs.path("models/stories260K") else { return }
      let found = try loss(TransformerModel.load(path: path), ids("stories260K.u16"))
      #expect(abs(found - (try facts().loss)) < 2e-5, "\(found)")
    }

    @Test func tinyStoriesShapeHasTheReferenceLoss() throws {
      guard let path = SharedInputs.path("models/tinystories-1m-shape") else { return }
      let found = try loss(TransformerModel.load(path: path), ids("tinystories-1m-shape.u16"))
      #expect(abs(found - (try facts().shapeLoss)) < 2e-5, "\(found)")
    }
  #endif
}
