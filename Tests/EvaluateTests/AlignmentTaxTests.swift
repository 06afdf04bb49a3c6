import ActCache
import Evaluate
import Foundation
import LinearAlgebra
import SAE
import TestSupport
import Testing
import Train
import Transformer

/// Runs whose half-layers were trained beside the SAE. Their numbers are in `EvaluationTests`, too.
@Suite struct AlignmentTaxTests {
  private static let hook = "blocks.1.hook_resid_mid"

  private struct Example {
    let folder: TemporaryFolder
    let model: TransformerModel
    let cache: CacheReader
    let sae: SparseAutoencoder
    let point: HookPoint
    var path: String { folder.path + "/half-layers.safetensors" }

    init(hook: String = AlignmentTaxTests.hook) throws {
      folder = try TemporaryFolder()
      model = try TransformerModel.load(path: StoriesCache.model)
      cache = try StoriesCache.harvest([hook], into: folder, model: model)
      let width = try cache.hook(hook).width
      sae = try SparseAutoencoder(SAEConfiguration(architecture: .topk, dIn: width, dSAE: 2 * width, k: 20), seed: 5)
      point = try model.configuration.hook(named: hook)
    }

    func evaluation(halfLayers: String?) throws -> Evaluation {
      try Evaluation(
        [.init(name: "run", sae: sae, halfLayers: halfLayers)], hook: point.name, cache: cache, model: model,
        tokensPerBatch: 48)
    }

    /// What an evaluation with the file says.
    func problem() -> String {
      do { _ = try evaluation(halfLayers: path).run(limit: 2) } catch { return "\(error)" }
      return ""
    }
  }

  /// At a hook after attention, one before it, and one with the next layer behind it.
  @Test(arguments: [hook, "blocks.2.hook_resid_pre", "blocks.1.hook_resid_post"])
  func unchangedHalfLayersCostNothingAndChangeNoNumber(hook: String) throws {
    let example = try Example(hook: hook)
    _ = try StoriesCache.halfLayers(at: example.point, of: example.model, changedBy: 0, path: example.path)
    let found = try example.evaluation(halfLayers: example.path).run(limit: 5)[0]
    let plain = try example.evaluation(halfLayers: nil).run(limit: 5)[0]
    let tax = try #require(found.result.alignmentTax)
    // Two kernels, which add in another order.
    #expect(abs(tax.ceIncrease) < 1e-6 && abs(tax.ce - plain.result.ceOriginal) < 1e-6, "\(tax)")
    #expect(abs(tax.kl) < 1e-6, "\(tax)")
    var sums = found.sums
    sums.withoutSAE = nil
    #expect(sums == plain.sums && plain.sums.own.variance > 0)
    #expect(found.result.fvu == plain.result.fvu && plain.result.alignmentTax == nil)
  }

  @Test func contextsAreOfTheChangedModelsActivations() throws {
    let example = try Example()
    let halves = try StoriesCache.halfLayers(
      at: example.point, of: example.model, changedBy: 0.1, path: example.path)
    let evaluation = try example.evaluation(halfLayers: example.path)
    let latents = try TopContexts(
      example.sae, hook: Self.hook, cache: example.cache, changed: evaluation.changed[0]
    ).find(nLatents: 3, nContexts: 1, radius: 1)
    #expect(latents.count == 3)
    let changed = TransformerModel(example.model, replacing: halves)
    let reader = try HeldOutReader(example.cache)
    let workspace = ForwardWorkspace()
    var moved = 0
    for latent in latents {
      let context = latent.contexts[0]
      let ordinal = try #require(
        try (0..<reader.count).first { try reader.sequence($0).number == context.sequence })
      let tokens = TokenBatch(ids: try reader.sequence(ordinal).tokens, nSequences: 1, nPositions: reader.context)
      func activation(_ model: TransformerModel) throws -> Float {
        var found: Float = 0
        try model.forward(tokens, hooks: [example.point], workspace: workspace) { _, x in
          found = example.sae.encode(x).row(context.position).first { $0.0 == latent.latent }?.1 ?? 0
        }
        return found
      }
      #expect(abs(try activation(changed) - context.activation) < 1e-4 * context.activation)
      moved += abs(try activation(example.model) - context.activation) > 0.01 * context.activation ? 1 : 0
    }
    #expect(moved > 0)
  }

  @Test func filesThatCannotBeUsedAreErrors() throws {
    let example = try Example()
    let (path, model) = (example.path, example.model)
    let end = "; these are no half-layers of this model, restore the file or train the run again"
    _ = try StoriesCache.halfLayers(at: example.point, of: model, changedBy: 0, path: path)
    #expect(example.problem() == "")
    let whole = try Data(contentsOf: URL(fileURLWithPath: path))
    try whole.dropLast().write(to: URL(fileURLWithPath: path))
    #expect(
      example.problem()
        == "\(path): the trained half-layers are damaged: tensor transformer.h.1.mlp.c_proj.weight has data_offsets "
        + "[529408, 791552], the file has 791551 bytes of data; restore the file, or train the run again")

    // Of other widths, and of another architecture.
    let fixtures = SharedInputs.packageRoot.appendingPathComponent("Tests/TransformerTests/Fixtures")
    let narrow = try TransformerModel.load(path: fixtures.appendingPathComponent("gpt-neo").path)
    _ = try StoriesCache.halfLayers(
      at: narrow.configuration.hook(named: Self.hook), of: narrow, changedBy: 0, path: path)
    let width = narrow.configuration.dModel
    #expect(
      example.problem()
        == "\(path): tensor transformer.h.1.ln_1.weight has shape [\(width)], the configuration asks for [128]" + end)
    let llama = try TransformerModel.load(path: fixtures.appendingPathComponent("llama-tied").path)
    _ = try StoriesCache.halfLayers(at: llama.configuration.hook(named: Self.hook), of: llama, changedBy: 0, path: path)
    #expect(
      example.problem()
        == "\(path): tensor model.layers.1.input_layernorm.weight is not part of a gpt_neo model; it may change what the "
        + "model computes" + end)

    // Of another hook of the model, and only one of the two.
    let neighbours =
      "\(path): the half-layers next to \(Self.hook) are the attention of layer 1 and the MLP of layer 1, "
    _ = try StoriesCache.halfLayers(
      at: model.configuration.hook(named: "blocks.1.hook_resid_post"), of: model, changedBy: 0, path: path)
    #expect(
      example.problem() == neighbours
        + "the file has the MLP of layer 1 and the attention of layer 2; give the file of this run")
    try TrainedHalfLayer.write([TrainedHalfLayer(.mlp(1), of: model)], to: path)
    #expect(example.problem() == neighbours + "the file has the MLP of layer 1; give the file of this run")

    let halves = try StoriesCache.halfLayers(at: example.point, of: model, changedBy: 0, path: path)
    halves[1].weights[0].value.fill(.nan)
    try TrainedHalfLayer.write(halves, to: path)
    #expect(
      example.problem()
        == "run: the predictions with its trained half-layers are not finite; they are damaged or diverged, train it again"
    )
  }

  @Test func noHalfLayerLiesNextToWhatIsNoResidualStream() throws {
    let example = try Example(hook: "blocks.1.hook_mlp_out")
    try TrainedHalfLayer.write([TrainedHalfLayer(.mlp(1), of: example.model)], to: example.path)
    #expect(
      example.problem()
        == "\(example.path): an SAE at blocks.1.hook_mlp_out has no trained half-layers: half-layers lie between residual "
        + "streams, blocks.1.hook_mlp_out is none")
  }

  @Test func keptEvaluationsAreOfTheHalfLayers() throws {
    let example = try Example()
    let (run, file) = (example.folder.path, URL(fileURLWithPath: example.path))
    try SAELensFormat.save(
      example.sae, normalization: .factor(1), firingFrequency: nil,
      provenance: .init(modelName: nil, hookName: Self.hook, context: 24, prependsBOS: false), to: run + "/sae")
    func key() throws -> StoredEvaluation.Key { try .init(run: run, cache: example.cache, limit: 3) }
    let without = try key()
    _ = try StoriesCache.halfLayers(at: example.point, of: example.model, changedBy: 0.02, path: example.path)
    let with = try key()
    #expect(without.halfLayers == nil && with.halfLayers != nil)
    let found = try example.evaluation(halfLayers: example.path).run(limit: 3)[0]
    try StoredEvaluation(found, key: with).save(in: run)
    let text = String(decoding: try Data(contentsOf: URL(fileURLWithPath: run + "/eval.json")), as: UTF8.self)
    #expect(text.contains(#""alignmentTax":{"ce":"#))
    #expect(StoredEvaluation.load(run: run, key: with)?.sums == found.sums)
    #expect(StoredEvaluation.load(run: run, key: with)?.result.alignmentTax == found.result.alignmentTax)
    #expect(StoredEvaluation.load(run: run, key: without) == nil)
    var bytes = try Data(contentsOf: file)
    bytes[bytes.count - 1] ^= 1
    try bytes.write(to: file)
    #expect(try StoredEvaluation.load(run: run, key: key()) == nil)
  }

  /// Null is written; a file of before the key can be read.
  @Test func runsWithoutTrainedHalfLayersHaveNoTax() throws {
    let example = try Example()
    let plain = try example.evaluation(halfLayers: nil).run(limit: 2)[0]
    let text = String(decoding: try JSONEncoder().encode(plain), as: UTF8.self)
    #expect(text.contains(#""alignmentTax":null"#) && !text.contains("withoutSAE"))
    let older = text.replacing(#""alignmentTax":null,"#, with: "").replacing(#","alignmentTax":null"#, with: "")
    #expect(!older.contains("alignmentTax"))
    let read = try JSONDecoder().decode(Evaluation.Evaluated.self, from: Data(older.utf8))
    #expect(read.result == plain.result && read.sums == plain.sums)
  }
}
