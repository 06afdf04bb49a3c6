import ActCache
import Foundation
import LinearAlgebra
import SAE
import TestSupport
import Testing
import Train

@Suite struct InitialWeightsTests {
  private func configuration(
    _ out: String, _ change: (inout TrainConfiguration) -> Void = { _ in }
  ) -> TrainConfiguration {
    var configuration = TrainConfiguration(cache: "toy", hook: "blocks.0.hook_resid_post", out: out)
    configuration.arch = .relu
    configuration.latents = "3x"
    configuration.batch = 32
    configuration.tokens = 32 * 30
    configuration.lr = 3e-3
    configuration.logSteps = 1
    change(&configuration)
    configuration.setSparsity(k: 3, l1: 0.3)
    return configuration
  }

  private func weights(_ run: String) throws -> Data {
    try #require(FileManager.default.contents(atPath: "\(run)/sae/sae_weights.safetensors"))
  }

  private func firstLosses(_ run: String) throws -> StepMetrics {
    let text = try #require(FileManager.default.contents(atPath: "\(run)/metrics.jsonl"))
    return try JSONDecoder().decode(StepMetrics.self, from: text.split(separator: 0x0A)[0])
  }

  @Test func everyOptionChangesTheRunAndResumes() throws {
    let folder = try TemporaryFolder()
    let trained = configuration("\(folder.path)/trained")
    _ = try TrainRun(trained, source: ToyBatches()).run(resuming: false)
    let options: [(inout TrainConfiguration) -> Void] = [
      { $0.encoderInit = .random }, { $0.decoderInit = .orthogonal }, { $0.biasInit = .mean }, { $0.biasInit = .zero },
      { $0.initialWeights = "identity" }, { $0.initialWeights = trained.out },
    ]
    for (index, option) in options.enumerated() {
      let whole = configuration("\(folder.path)/whole-\(index)", option)
      #expect(try TrainRun(whole, source: ToyBatches()).run(resuming: false) == .finished)
      #expect(try weights(whole.out) != weights(trained.out))
      let parts = configuration("\(folder.path)/parts-\(index)", option)
      var steps = 0
      let first = try TrainRun(parts, source: ToyBatches()).run(
        resuming: false,
        isInterrupted: {
          steps += 1; return steps > 7
        })
      #expect(first == .interrupted(step: 7))
      #expect(try TrainRun(parts, source: ToyBatches()).run(resuming: true) == .finished)
      #expect(try weights(parts.out) == weights(whole.out), "option \(index)")
    }
  }

  @Test func identityStartsWithoutErrorAndARunWhereTheOtherEnded() throws {
    let folder = try TemporaryFolder()
    let identity = configuration("\(folder.path)/identity") { $0.initialWeights = "identity" }
    _ = try TrainRun(identity, source: ToyBatches()).run(resuming: false)
    #expect(try firstLosses(identity.out).fvu < 1e-4)

    let trained = configuration("\(folder.path)/trained") { $0.tokens = 32 * 300 }
    _ = try TrainRun(trained, source: ToyBatches()).run(resuming: false)
    // The factor on activations is another one: biases must follow it.
    let next = configuration("\(folder.path)/next") {
      $0.initialWeights = trained.out
      $0.normalization = "factor:1.4"
    }
    _ = try TrainRun(next, source: ToyBatches()).run(resuming: false)
    let sae = try SAELensFormat.open(run: trained.out).sae
    var x = Matrix(32, 12)
    try ToyBatches().read(batch: 0, into: &x)
    var error = sae.decode(sae.encode(x))
    error.add(x, times: -1)
    let fvu = sumOfSquares(error) / totalVariance(x)
    let start = try firstLosses(next.out).fvu
    #expect(abs(start - fvu) < 1e-4 * fvu, "\(start), not \(fvu)")
  }

  @Test func aRunOfStandardizedTokensGoesOnInAnother() throws {
    let folder = try TemporaryFolder()
    let trained = configuration("\(folder.path)/trained") { $0.normalization = "unit" }
    _ = try TrainRun(trained, source: ToyBatches()).run(resuming: false)
    let next = configuration("\(folder.path)/next") {
      $0.initialWeights = trained.out
      $0.normalization = "unit"
      $0.tokens = 32
    }
    _ = try TrainRun(next, source: ToyBatches()).run(resuming: false)
    var x = Matrix(32, 12)
    try ToyBatches().read(batch: 0, into: &x)
    let sae = try SAELensFormat.open(run: trained.out).sae
    sae.standardizesTokens = false
    _ = standardizeTokens(&x)
    var error = sae.decode(sae.encode(x))
    error.add(x, times: -1)
    let fvu = sumOfSquares(error) / totalVariance(x)
    let start = try firstLosses(next.out).fvu
    #expect(abs(start - fvu) < 1e-4 * fvu, "\(start), not \(fvu)")
    #expect(
      throws: SAEError.invalid(
        "init \(trained.out) is for tokens normalised one by one (--normalization unit), this run is not for them; choose "
          + "the --normalization that it was trained with")
    ) {
      let other = configuration("\(folder.path)/other") { $0.initialWeights = trained.out }
      _ = try TrainRun(other, source: ToyBatches())
    }
  }

  @Test func dataNamesTheWeightsThatARunBeganFrom() throws {
    let folder = try TemporaryFolder()
    let trained = configuration("\(folder.path)/trained")
    _ = try TrainRun(trained, source: ToyBatches()).run(resuming: false)
    func data(_ run: String) throws -> DataIdentity {
      try JSONDecoder().decode(
        DataIdentity.self, from: #require(FileManager.default.contents(atPath: "\(run)/data.json")))
    }
    #expect(try data(trained.out).initial == nil)
    let next = configuration("\(folder.path)/next") { $0.initialWeights = trained.out }
    _ = try TrainRun(next, source: ToyBatches()).run(resuming: false, isInterrupted: { true })
    let initial = try #require(data(next.out).initial)
    let digest = CanonicalJSON.hexDigest(of: [UInt8](try weights(trained.out)))
    #expect(initial.path == trained.out && initial.weights == digest)
    #expect(try TrainRun(next, source: ToyBatches()).run(resuming: true) == .finished)
    #expect(try data(next.out).initial == initial)
  }

  @Test func resumingDoesNotNeedTheOtherRunAnyMore() throws {
    let folder = try TemporaryFolder()
    let trained = configuration("\(folder.path)/trained")
    _ = try TrainRun(trained, source: ToyBatches()).run(resuming: false)
    let next = configuration("\(folder.path)/next") { $0.initialWeights = trained.out }
    _ = try TrainRun(next, source: ToyBatches()).run(resuming: false, isInterrupted: { true })
    try FileManager.default.removeItem(atPath: trained.out)
    #expect(try TrainRun(next, source: ToyBatches()).run(resuming: true) == .finished)
  }

  @Test func whatCannotBeIsRefusedBeforeAnythingIsWritten() throws {
    let folder = try TemporaryFolder()
    let out = "\(folder.path)/run"
    func message(_ change: (inout TrainConfiguration) -> Void) -> String {
      do { _ = try TrainRun(configuration(out, change), source: ToyBatches()).run(resuming: false) } catch {
        return "\(error)"
      }
      return "trained"
    }
    #expect(
      message { ($0.initialWeights, $0.encoderInit) = ("identity", .random) }
        == "encoder-init is given, but init is identity, which says what encoder and decoder are; leave one of them out"
    )
    #expect(
      message { ($0.initialWeights, $0.biasInit) = ("runs/a", .zero) }
        == "bias-init is given, but init is runs/a, which brings its bias along; leave one of them out")
    #expect(
      message { $0.initialWeights = "runs/a" }
        == "init runs/a: no SAE there (runs/a/sae/cfg.json); give identity, or the folder of a finished run or of an SAE"
    )
    #expect(
      message { ($0.initialWeights, $0.latents) = ("identity", "23") }
        == "init is identity, which needs 24 latents or more (two per dimension, 12); latents are 23")
    let other = configuration("\(folder.path)/other") { $0.latents = "2x" }
    _ = try TrainRun(other, source: ToyBatches()).run(resuming: false)
    #expect(
      message { $0.initialWeights = other.out }
        == "init \(other.out) has 24 latents of width 12, this run 36 of width 12; give a run of the same shape")
    #expect(
      message { ($0.initialWeights, $0.latents, $0.normalization) = (other.out, "2x", "unit") }
        == "init \(other.out) is not for tokens normalised one by one (--normalization unit), this run is for them; choose "
        + "the --normalization that it was trained with")
    #expect(!FileManager.default.fileExists(atPath: out))
  }

  @Test func optionsAreReadFromYAML() throws {
    let text = "init: identity\nencoder-init: random\ndecoder-init: orthogonal\nbias-init: mean\n"
    let configuration = try TrainConfiguration(yaml: text, path: "x.yaml")
    #expect(configuration.initialWeights == "identity" && configuration.encoderInit == .random)
    #expect(configuration.decoderInit == .orthogonal && configuration.biasInit == .mean)
    #expect(try TrainConfiguration(yaml: configuration.yaml, path: "config.yaml") == configuration)
  }
}
