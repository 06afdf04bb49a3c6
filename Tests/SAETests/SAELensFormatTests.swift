import Foundation
import LinearAlgebra
import Memory
import SAE
import TestSupport
import Testing

@Suite struct SAELensFormatTests {
  private let provenance = SAELensFormat.Provenance(
    modelName: "m", hookName: "blocks.1.hook_resid_pre", context: 16, prependsBOS: true)

  private func sae(_ architecture: SAEConfiguration.Architecture) throws -> SparseAutoencoder {
    let sae = try SparseAutoencoder(SAEConfiguration(architecture: architecture, dIn: 5, dSAE: 12, k: 3), seed: 1)
    var random = SeededGenerator(seed: 31)
    sae.bEnc.value = Matrix(1, 12, random.floats(12))
    sae.bDec.value = Matrix(1, 5, random.floats(5))
    for parameter in sae.parameters.dropFirst(4) { parameter.value = Matrix(1, 12, random.floats(12, in: 0...0.5)) }
    return sae
  }

  @Test(arguments: SAEConfiguration.Architecture.allCases)
  func savedWithAnInputScaleItDoesToRawActivationsWhatItDidToScaledOnes(
    architecture: SAEConfiguration.Architecture
  ) throws {
    let folder = try TemporaryFolder()
    let trained: any Autoencoder =
      architecture == .deep
      ? try SAEConfiguration(architecture: .deep, dIn: 5, dSAE: 12).makeAutoencoder(seed: 1) : try sae(architecture)
    // A deep one's file keeps the scale beside the weights: its latents are the same.
    let latentScale: Float = architecture == .deep ? 1 : 0.25
    let scale: Float = 0.25
    try SAELensFormat.save(
      trained, normalization: .factor(scale), firingFrequency: nil, provenance: provenance, to: folder.path + "/sae")
    let (loaded, found) = try SAELensFormat.open(run: folder.path)
    #expect(found.hookName == provenance.hookName && found.context == 16 && found.prependsBOS == true)
    var random = SeededGenerator(seed: 32)
    let raw = Matrix(40, 5, random.floats(200, in: -8...8))
    var scaled = raw.copy()
    scaled.scale(by: scale)
    let (a, b) = (trained.encode(scaled), loaded.encode(raw))
    for row in 0..<40 {
      #expect(a.row(row).map(\.latent) == b.row(row).map(\.latent))
      for (x, y) in zip(a.row(row), b.row(row)) { #expect(abs(x.value - latentScale * y.value) < 1e-5) }
    }
    for (x, y) in zip(trained.decode(a).values, loaded.decode(b).values) { #expect(abs(x - scale * y) < 1e-5) }
  }

  @Test(arguments: SAEConfiguration.Architecture.allCases)
  func savedForStandardizedTokensItStandardizesRawOnesAndGivesThemBack(
    architecture: SAEConfiguration.Architecture
  ) throws {
    let folder = try TemporaryFolder()
    let trained: any Autoencoder =
      architecture == .deep
      ? try SAEConfiguration(architecture: .deep, dIn: 5, dSAE: 12).makeAutoencoder(seed: 1) : try sae(architecture)
    try SAELensFormat.save(
      trained, normalization: .perToken, firingFrequency: nil, provenance: provenance, to: folder.path)
    let loaded = try SAELensFormat.open(run: folder.path).sae
    #expect(loaded.standardizesTokens && !trained.standardizesTokens)
    var random = SeededGenerator(seed: 32)
    let raw = Matrix(40, 5, random.floats(200, in: -8...8))
    var standard = raw.copy()
    InputNormalization.perToken.apply(to: &standard)
    let moments = {
      var x = raw.copy()
      return standardizeTokens(&x)
    }()
    let (a, b) = (trained.encode(standard), loaded.encode(raw))
    for row in 0..<40 { #expect(a.row(row).map(\.value) == b.row(row).map(\.value)) }
    let x = trained.decode(a)
    let y = loaded.decode(b)
    for row in 0..<40 {
      for i in 0..<5 {
        let expected = x[row, i] * moments.deviations[row] + moments.means[row]
        #expect(abs(y[row, i] - expected) < 1e-5)
      }
    }
  }

  @Test(arguments: SAEConfiguration.Architecture.allCases.filter(\.canTranscode), [false, true])
  func aTranscoderOfRawActivationsDoesWhatItDidToScaledOnes(
    architecture: SAEConfiguration.Architecture, skip: Bool
  ) throws {
    let folder = try TemporaryFolder()
    var shape = SAEConfiguration(architecture: architecture, dIn: 5, dSAE: 12, k: 3)
    (shape.dOut, shape.skip) = (7, skip)
    let trained = try SparseAutoencoder(shape, seed: 1)
    var random = SeededGenerator(seed: 34)
    for parameter in trained.parameters.dropFirst(4) + [trained.bEnc, trained.bDec] {
      let (rows, columns) = (parameter.value.rows, parameter.value.columns)
      parameter.value = Matrix(rows, columns, random.floats(rows * columns, in: 0...0.5))
    }
    let (scale, targetScale): (Float, Float) = (0.25, 1.5)
    var hooks = provenance
    hooks.targetHook = "blocks.1.hook_mlp_out"
    try SAELensFormat.save(
      trained, normalization: .factor(scale), targetScale: targetScale, firingFrequency: nil, provenance: hooks,
      to: folder.path)
    let (loaded, found) = try SAELensFormat.open(run: folder.path)
    #expect(found.targetHook == "blocks.1.hook_mlp_out" && loaded.configuration.dOut == 7)
    let raw = Matrix(40, 5, random.floats(200, in: -8...8))
    var scaled = raw.copy()
    scaled.scale(by: scale)
    let (a, b) = (trained.encode(scaled), loaded.encode(raw))
    #expect(a.nActive > 0)
    for row in 0..<40 {
      #expect(a.row(row).map(\.latent) == b.row(row).map(\.latent))
      for (x, y) in zip(a.row(row), b.row(row)) { #expect(abs(x.value - targetScale * y.value) < 1e-5) }
    }
    let (ours, theirs) = (trained.decode(a, of: scaled).values, loaded.decode(b, of: raw).values)
    for (x, y) in zip(ours, theirs) { #expect(abs(x - targetScale * y) < 1e-5) }

    // And back: a run that goes on from the file, with other factors.
    let next = try SparseAutoencoder(shape, seed: 2)
    try next.takeWeights(
      of: #require(loaded as? SparseAutoencoder), normalization: .factor(2), targetScale: 3, name: "runs/a")
    var doubled = raw.copy()
    doubled.scale(by: 2)
    if architecture != .batchtopk && architecture != .matryoshka {
      let again = next.decode(next.encode(doubled), of: doubled).values
      for (x, y) in zip(again, theirs) { #expect(abs(x - 3 * y) < 3e-5) }
    }
  }

  @Test func namesOfTranscodersAreThoseOfSAELens() throws {
    let folder = try TemporaryFolder()
    func name(_ architecture: SAEConfiguration.Architecture, skip: Bool) throws -> String {
      var shape = SAEConfiguration(architecture: architecture, dIn: 2, dSAE: 3, k: 1)
      (shape.dOut, shape.skip) = (2, skip)
      try SAELensFormat.save(
        SparseAutoencoder(shape, seed: 1), normalization: .factor(1), firingFrequency: nil, provenance: provenance,
        to: folder.path)
      let text = try #require(FileManager.default.contents(atPath: folder.path + "/cfg.json"))
      let json = try #require(JSONSerialization.jsonObject(with: text) as? [String: Any])
      #expect(json["apply_b_dec_to_input"] as? Bool == false)
      return json["architecture"] as? String ?? ""
    }
    #expect(try name(.relu, skip: false) == "transcoder" && name(.panneal, skip: true) == "skip_transcoder")
    #expect(try name(.jumprelu, skip: false) == "jumprelu_transcoder")
    #expect(try name(.batchtopk, skip: true) == "jumprelu_skip_transcoder")
    #expect(try name(.topk, skip: true) == "topk_skip_transcoder" && name(.gated, skip: false) == "gated_transcoder")
  }

  @Test func rowsThatTheLossNormalisesAreSavedAtUnitNorm() throws {
    let folder = try TemporaryFolder()
    var configuration = SAEConfiguration(architecture: .relu, dIn: 5, dSAE: 12)
    configuration.decoderNorm = .graph
    let trained = try SparseAutoencoder(configuration, seed: 1)
    trained.wDec.value.scale(by: 3)
    try SAELensFormat.save(
      trained, normalization: .factor(1), firingFrequency: nil, provenance: provenance, to: folder.path)
    let loaded = try SAELensFormat.load(folder.path).sae
    let code = trained.encode(Matrix(4, 5, (0..<20).map { Float($0 % 7) - 3 }))
    for (a, b) in zip(trained.decode(code).values, loaded.decode(code).values) { #expect(abs(a - b) < 1e-6) }
  }

  @Test(arguments: [SAEConfiguration.Architecture.batchtopk, .matryoshka])
  func thresholdIsThatOfTheRunningMeanInRawUnits(architecture: SAEConfiguration.Architecture) throws {
    let folder = try TemporaryFolder()
    let trained = try sae(architecture)
    var random = SeededGenerator(seed: 33)
    for step in 0..<6 {
      trained.begin(step: step, of: 6)
      _ = trained.computeGradients(Matrix(20, 5, random.floats(100, in: -2...2)))
    }
    let threshold = Float(trained.state[0])
    #expect(threshold > 0)
    try SAELensFormat.save(
      trained, normalization: .factor(0.25), firingFrequency: nil, provenance: provenance, to: folder.path)
    let (loaded, _) = try SAELensFormat.load(folder.path)
    #expect(loaded.configuration.architecture == .jumprelu)
    let raw = Matrix(40, 5, random.floats(200, in: -8...8))
    let code = loaded.encode(raw)
    #expect(code.nActive > 0 && code.smallestValue ?? 0 > threshold / 0.25)
  }

  @Test func whatThisEngineDoesNotDoIsNamed() throws {
    let folder = try TemporaryFolder()
    try SAELensFormat.save(
      sae(.topk), normalization: .factor(1), firingFrequency: nil, provenance: provenance, to: folder.path)
    let path = folder.path + "/cfg.json"
    let text = try #require(FileManager.default.contents(atPath: path).map { String(decoding: $0, as: UTF8.self) })
    func message(replacing old: String, with new: String) throws -> String {
      try Data(text.replacing(old, with: new).utf8).write(to: URL(fileURLWithPath: path))
      do {
        _ = try SAELensFormat.load(folder.path)
        return "loaded"
      } catch { return "\(error)" }
    }
    #expect(try message(replacing: "x", with: "x") == "loaded")
    #expect(
      try message(replacing: "\"topk\"", with: "\"temporal\"")
        == "\(path): architecture is temporal, this program reads topk, standard, jumprelu, gated, their "
        + "transcoders, rica and deep")
    #expect(
      try message(replacing: "\"normalize_activations\" : \"none\"", with: "\"normalize_activations\" : \"covariance\"")
        == "\(path): normalize_activations is covariance, this program reads none and layer_norm (fold it into the weights)"
    )
    #expect(
      try message(replacing: "\"d_sae\" : 12", with: "\"d_sae\" : 13")
        == "\(folder.path)/sae_weights.safetensors: tensor W_enc is F32 [5, 12], expected F32 [5, 13]")
    #expect(
      try message(replacing: "\"k\" : 3", with: "\"k\" : 99")
        == "k is 99; it must be from 1 to the number of latents, 12")
    #expect(try message(replacing: "{", with: "[").hasPrefix("\(path): not an SAELens configuration"))
  }

  @Test func truncatedWeightsAreNoticed() throws {
    let folder = try TemporaryFolder()
    try SAELensFormat.save(
      sae(.relu), normalization: .factor(1), firingFrequency: [Float](repeating: 0.5, count: 12),
      provenance: provenance,
      to: folder.path)
    let path = folder.path + "/sae_weights.safetensors"
    let whole = try #require(FileManager.default.contents(atPath: path))
    for length in stride(from: 0, to: whole.count, by: 7) {
      try whole.prefix(length).write(to: URL(fileURLWithPath: path))
      #expect(throws: MemoryError.self) { _ = try SAELensFormat.load(folder.path) }
    }
  }
}
