import Foundation
import LinearAlgebra
import SAE
import TestSupport
import Testing

@Suite struct DeepTests {
  private let provenance = SAELensFormat.Provenance(
    modelName: nil, hookName: "blocks.1.hook_resid_pre", context: 16, prependsBOS: false)

  private func configuration(_ change: (inout DeepShape) -> Void = { _ in }) -> SAEConfiguration {
    var configuration = SAEConfiguration(architecture: .deep, dIn: 7, dSAE: 18, k: 4, l1: 0.2)
    configuration.deep.encoder = [5, 7]
    configuration.deep.decoder = [6, 4]
    change(&configuration.deep)
    return configuration
  }

  private func message(_ body: () throws -> Void) -> String {
    do { try body() } catch { return "\(error)" }
    return "no error"
  }

  /// Tokens of a part and of a lane.
  @Test(arguments: [DeepShape.Sparse.relu, .topk], [(10, nil), (1, nil), (37, 5), (2, 9), (8, 1)])
  func partsOfABatchAddUpToTheWhole(sparse: DeepShape.Sparse, rows: (part: Int, lane: Int?)) throws {
    var random = SeededGenerator(seed: 41)
    let x = Matrix(37, 7, random.floats(37 * 7, in: -2...2))
    let configuration = configuration { $0.sparse = sparse }
    let (whole, cut) = (try Deep(configuration, seed: 1), try Deep(configuration, seed: 1))
    (cut.partRows, cut.laneRows) = rows
    let expected = whole.computeGradients(x)
    for isSplit in [false, true] {
      cut.activity = try Deep(configuration, seed: 1).activity
      var losses: StepLosses
      if isSplit {
        var recon = Matrix(37, 7)
        cut.forward(x, into: &recon)
        recon.add(x, times: -1)
        let mse = sumOfSquares(recon) / Double(recon.count)
        recon.scale(by: 2 / Float(recon.count))
        losses = cut.backward(recon)
        losses.total += mse
      } else {
        losses = cut.computeGradients(x)
      }
      #expect(abs(losses.total - expected.total) < 1e-6 * expected.total && losses.l0 == expected.l0)
      #expect(abs(losses.l1 - expected.l1) < 1e-6 && cut.activity == whole.activity)
      for (a, b) in zip(cut.parameters, whole.parameters) {
        let worst = zip(a.gradient.values, b.gradient.values).reduce(0) { max($0, abs($1.0 - $1.1)) }
        #expect(worst < 3e-6, "\(a.name)")
      }
    }
  }

  @Test func resultsDoNotDependOnTheNumberOfThreads() throws {
    let before = Threads.count
    defer { Threads.count = before }
    var random = SeededGenerator(seed: 43)
    let x = Matrix(103, 7, random.floats(103 * 7, in: -2...2))
    var first: (losses: StepLosses, gradients: [Float])?
    for count in [1, 2, 5] {
      Threads.count = count
      let sae = try Deep(configuration(), seed: 1)
      (sae.laneRows, sae.partRows) = (10, 4)
      let losses = sae.computeGradients(x)
      let gradients = sae.parameters.flatMap { $0.gradient.values }
      #expect(losses == first?.losses ?? losses)
      #expect(difference(gradients, first?.gradients ?? gradients) == nil)
      first = (losses, gradients)
    }
  }

  @Test func lastRowsHaveUnitNormAndOnlyHiddenWeightsDecay() throws {
    let sae = try configuration().makeAutoencoder(seed: 2)
    #expect(
      sae.parameters.filter(\.decays).map(\.name) == [
        "encoder.0.weight", "encoder.1.weight", "W_dec", "decoder.0.weight",
      ])
    #expect(sae.parameters.filter(\.hasUnitRows).map(\.name) == ["decoder.1.weight"])
    let last = try #require(sae.parameters.first { $0.hasUnitRows })
    #expect(last.value.rows == 4 && last.value.columns == 7)
    for row in 0..<4 {
      let squares = (0..<7).reduce(Float(0)) { $0 + last.value[row, $1] * last.value[row, $1] }
      #expect(abs(squares - 1) < 1e-5)
    }
    let shallow = try configuration { ($0.encoder, $0.decoder) = ([], []) }.makeAutoencoder(seed: 2)
    #expect(!shallow.parameters.contains { $0.decays })
    #expect(shallow.parameters.filter(\.hasUnitRows).map(\.name) == ["W_dec"])
  }

  @Test func aFileGivesTheSameSAEForRawActivations() throws {
    for change in [
      { _ in }, { $0.sparse = .topk }, { ($0.encoder, $0.decoder, $0.residual) = ([9], [], false) },
      { ($0.layerNorm, $0.encoderActivation, $0.decoderActivation) = (false, .relu, .tanh) },
    ] as [(inout DeepShape) -> Void] {
      let folder = try TemporaryFolder()
      let trained = try configuration(change).makeAutoencoder(seed: 3)
      try SAELensFormat.save(
        trained, normalization: .factor(0.5), firingFrequency: nil, provenance: provenance, to: folder.path)
      let (loaded, found) = try SAELensFormat.load(folder.path)
      #expect(loaded.configuration.deep == trained.configuration.deep && found.hookName == provenance.hookName)
      var random = SeededGenerator(seed: 42)
      let raw = Matrix(30, 7, random.floats(210, in: -4...4))
      var scaled = raw.copy()
      scaled.scale(by: 0.5)
      let (a, b) = (trained.encode(scaled), loaded.encode(raw))
      #expect(a.nActive > 0)
      for row in 0..<30 { #expect(a.row(row).map(\.value) == b.row(row).map(\.value)) }
      #expect(loaded.decode(b).values == trained.decode(a).values.map { 2 * $0 })
    }
  }

  @Test func filesThatDoNotFitAreNamed() throws {
    let folder = try TemporaryFolder()
    try SAELensFormat.save(
      configuration().makeAutoencoder(seed: 4), normalization: .factor(1), firingFrequency: nil, provenance: provenance,
      to: folder.path)
    let path = folder.path + "/cfg.json"
    let text = try #require(FileManager.default.contents(atPath: path).map { String(decoding: $0, as: UTF8.self) })
    func message(replacing old: String, with new: String) throws -> String {
      try Data(text.replacing(old, with: new).utf8).write(to: URL(fileURLWithPath: path))
      return self.message { _ = try SAELensFormat.load(folder.path) }
    }
    #expect(try message(replacing: "x", with: "x") == "no error")
    #expect(
      try message(replacing: "\"d_sae\" : 18", with: "\"d_sae\" : 19")
        == "\(folder.path)/sae_weights.safetensors: tensor W_enc is F32 [7, 18], expected F32 [7, 19]")
    #expect(
      try message(replacing: "\"input_scale\" : 1", with: "\"input_scale\" : 0")
        == "\(path): input_scale is 0.0, expected a positive number")
    #expect(
      try message(replacing: "\"layer_norm\"", with: "\"layer\"")
        == "\(path): not an SAELens configuration (layer_norm is missing); point at a folder that holds an SAE")
  }

  @Test func shapesThatMakeNoSenseAreNamed() throws {
    #expect(
      message { try configuration { $0.encoder = [5] }.validate() }
        == "the last of encoder-hidden is 5, but the residual adds the input of width 7 to it; make it 7, or give --no-residual"
    )
    #expect(
      message { try configuration { $0.decoder = [0] }.validate() }
        == "decoder-hidden is [0]; up to 16 layers of 1 to 65,536 are allowed")
    #expect(try DeepShape.widths("2x,5", of: "encoder-hidden", dIn: 7) == [14, 5])
    #expect(try DeepShape.widths("none", of: "encoder-hidden", dIn: 7).isEmpty)
    for text in ["", "x", "-3", "4,", "99999999999999999999", "9223372036854775807x"] {
      #expect(
        message { _ = try DeepShape.widths(text, of: "encoder-hidden", dIn: 7) }
          == "encoder-hidden is \(text); expected widths of layers such as 128 or 2x,1x (times the input's), or none")
    }
  }
}
