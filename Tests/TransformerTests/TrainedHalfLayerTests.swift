import LinearAlgebra
import Memory
import TestSupport
import Testing

import Transformer

@Suite struct TrainedHalfLayerTests {
  private func halves(_ model: TransformerModel) -> [HalfLayer] {
    (0..<model.configuration.nLayers).flatMap { [.attention($0), .mlp($0)] }
  }

  private func start(_ fixture: Fixture, _ model: TransformerModel) throws -> (TokenBatch, SharedMatrix, WeightFiles) {
    let gradients = try Fixture.tensors(at: fixture.path + "/gradients.safetensors")
    let batch = try fixture.batch(gradients)
    let workspace = ForwardWorkspace()
    try model.forward(batch, hooks: [.block(0, .residPre)], workspace: workspace)
    return (batch, SharedMatrix(workspace.residual.copy()), gradients)
  }

  @Test(arguments: Fixture.all)
  func gradientsOfAllWeightsArePyTorchs(_ fixture: Fixture) throws {
    let model = try fixture.model()
    let (batch, value, gradients) = try start(fixture, model)
    let all = halves(model).map { TrainedHalfLayer($0, of: model) }
    let pass = try DifferentiablePass(model, hook: .block(0, .residPre), trained: all)
    let dFinal = try gradients.all("dFinal")
    var dValue = Matrix(0, 0)
    for _ in 0..<2 {
      try pass.forward(value.matrix, nSequences: batch.nSequences, nPositions: batch.nPositions)
      pass.backward(dFinalState: SharedMatrix(dFinal.copy()), into: &dValue)
    }
    #expect(relativeError(dValue, try gradients.all("blocks.0.hook_resid_pre")) < 2e-5)
    var seen = 0
    for weight in all.flatMap(\.weights) {
      let tensor = try #require(gradients.tensors[weight.name], "\(weight.name)")
      #expect(tensor.shape == weight.shape)
      // Two passes add up.
      var expected = try gradients.all(weight.name)
      expected.scale(by: 2)
      let error = relativeError(weight.gradient, expected)
      #expect(error < 2e-5, "\(weight.name): \(error)")
      seen += 1
    }
    // Every parameter of the layers; the rest are the hooks, the tokens and dFinal.
    #expect(seen == gradients.tensors.keys.filter { $0.contains(".h.") || $0.contains(".layers.") }.count)
    for half in all { half.clearGradients() }
    #expect(all.flatMap(\.weights).allSatisfy { $0.gradient.values.allSatisfy { $0 == 0 } })
  }

  @Test(arguments: Fixture.all)
  func copiesAreTheFilesTensorsAndComputeTheSame(_ fixture: Fixture) throws {
    let model = try fixture.model()
    let files = try Safetensors.open(folder: fixture.path)
    let all = halves(model).map { TrainedHalfLayer($0, of: model) }
    for weight in all.flatMap(\.weights) {
      let stored = try files.matrix(weight.name, shape: weight.shape)
      #expect(difference(weight.value.values, stored.values) == nil, "\(weight.name)")
    }
    let (batch, _, _) = try start(fixture, model)
    let (workspace, other) = (ForwardWorkspace(), ForwardWorkspace())
    try model.forward(batch, wantsFinalState: true, workspace: workspace)
    try TransformerModel(model, replacing: all).forward(batch, wantsFinalState: true, workspace: other)
    #expect(difference(other.finalState.values, workspace.finalState.values) == nil)
  }

  @Test(arguments: Fixture.all)
  func changedHalfLayersComputeTheSameInPassModelAndFile(_ fixture: Fixture) throws {
    let model = try fixture.model()
    let digest = try model.weightsDigest()
    let (batch, value, _) = try start(fixture, model)
    let changed = [HalfLayer.mlp(0), .attention(1)].map { TrainedHalfLayer($0, of: model) }
    var random = SeededGenerator(seed: 41)
    for weight in changed.flatMap(\.weights) {
      weight.value.add(Matrix(weight.value.rows, weight.value.columns, random.floats(weight.value.count)), times: 0.2)
    }
    let pass = try DifferentiablePass(model, hook: .block(0, .residPre), trained: changed)
    try pass.forward(value.matrix, nSequences: batch.nSequences, nPositions: batch.nPositions)
    let workspace = ForwardWorkspace()
    let other = TransformerModel(model, replacing: changed)
    try other.forward(batch, wantsFinalState: true, workspace: workspace)
    #expect(difference(pass.finalState.values, workspace.finalState.values) == nil)
    #expect(try other.weightsDigest().hasPrefix(digest + "+"))

    let folder = try TemporaryFolder()
    let path = folder.path + "/half_layers.safetensors"
    try TrainedHalfLayer.write(changed, to: path)
    let read = try TrainedHalfLayer.read(path, of: model)
    #expect(read.map(\.halfLayer) == [.mlp(0), .attention(1)])
    for (a, b) in zip(changed.flatMap(\.weights), read.flatMap(\.weights)) {
      #expect(a.name == b.name && difference(a.value.values, b.value.values) == nil)
    }
    #expect(try TransformerModel(model, replacing: read).weightsDigest() == other.weightsDigest())
    // The model itself is what it was.
    try model.forward(batch, hooks: [.block(0, .residPre)], wantsFinalState: true, workspace: workspace)
    let fresh = try fixture.model()
    let second = ForwardWorkspace()
    try fresh.forward(batch, wantsFinalState: true, workspace: second)
    #expect(difference(workspace.finalState.values, second.finalState.values) == nil)
  }

  @Test func filesWithOtherTensorsAreErrors() throws {
    let model = try Fixture(name: "gpt2").model()
    let path = Fixture(name: "gpt2").path + "/model.safetensors"
    #expect(
      throws: TransformerError.unexpectedTensor(
        path: path, tensor: "transformer.ln_f.bias", architecture: "gpt2")
    ) { try TrainedHalfLayer.read(path, of: model) }
  }

  @Test func copiesOfGGUFModelsHaveTheLayoutOfHuggingFace() throws {
    let fixture = Fixture(name: "llama-tied")
    let model = try TransformerModel.load(path: Fixture.folder + "/gguf/llama-tied.gguf")
    let files = try Safetensors.open(folder: fixture.path)
    for half in halves(model) {
      for weight in TrainedHalfLayer(half, of: model).weights {
        let stored = try files.matrix(weight.name, shape: weight.shape)
        #expect(difference(weight.value.values, stored.values) == nil, "\(weight.name)")
      }
    }
  }

  @Test func halfLayersLieBetweenResidualStreams() throws {
    let model = try Fixture(name: "gpt-neo").model()
    func names(_ hook: HookPoint) throws -> [HalfLayer] {
      [try model.halfLayer(before: hook), try model.halfLayer(after: hook)]
    }
    #expect(try names(.block(0, .residMid)) == [.attention(0), .mlp(0)])
    #expect(try names(.block(1, .residPre)) == [.mlp(0), .attention(1)])
    #expect(try names(.block(2, .residPost)) == [.mlp(2), .attention(3)])
    #expect(
      HalfLayer.attention(1).input == .block(1, .residPre) && HalfLayer.attention(1).output == .block(1, .residMid))
    #expect(HalfLayer.mlp(1).input == .block(1, .residMid) && HalfLayer.mlp(1).output == .block(1, .residPost))
    func problem(_ body: () throws -> HalfLayer) -> String? {
      do {
        _ = try body()
        return nil
      } catch { return "\(error)" }
    }
    #expect(
      problem { try model.halfLayer(before: .block(0, .residPre)) }
        == "no half-layer comes before blocks.0.hook_resid_pre, only the embedding")
    #expect(
      problem { try model.halfLayer(after: .block(3, .residPost)) }
        == "no half-layer comes after blocks.3.hook_resid_post, only the unembedding")
    #expect(
      problem { try model.halfLayer(after: .block(0, .attnOut)) }
        == "half-layers lie between residual streams, blocks.0.hook_attn_out is none")
    let parallel = try Fixture(name: "gpt-neox-parallel").model()
    #expect(
      problem { try parallel.halfLayer(after: .block(0, .residPre)) }
        == "attention and MLP of this model read the same stream, so no half-layer lies beside blocks.0.hook_resid_pre")
  }
}
