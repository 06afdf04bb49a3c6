import Foundation
import LinearAlgebra
import SAE
import TestSupport
import Testing
import Train

/// Ten steps of every fixture that `scripts/fixtures/sae_steps/make.py` wrote.
@Suite struct StepsAgainstPyTorchTests {
  struct Fixture: Decodable {
    struct Step: Decodable {
      var mse, l1, aux, sparsity, total, fvu, l0, gradientNorm: Double
      var nDead: Int
      var gradients, weights: [String: [Float]]?
    }
    var batch: Int
    var learningRate, clip: Float
    var start: [String: [Float]]
    var batches: [[Float]]
    /// Of transcoders.
    var targets: [[Float]]?
    var steps: [Step]
    /// batchtopk and matryoshka: what inference has after the last step.
    var threshold: Double?
  }

  private static let folder = SharedInputs.packageRoot.appendingPathComponent("Tests/TrainTests/Fixtures/steps")
  static let names = ((try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? []).filter {
    $0.hasSuffix(".json")
  }.sorted()

  /// The fixture and its SAE: what its configuration does not say is as by default.
  private func load(_ name: String) throws -> (fixture: Fixture, sae: any Autoencoder) {
    let data = try Data(contentsOf: Self.folder.appendingPathComponent(name))
    let whole = try #require(JSONSerialization.jsonObject(with: data) as? [String: Any])
    let given = try #require(whole["configuration"] as? [String: Any])
    let architecture = try #require((given["architecture"] as? String).flatMap(SAEConfiguration.Architecture.init))
    let (dIn, dSAE) = (try #require(given["dIn"] as? Int), try #require(given["dSAE"] as? Int))
    let defaults = SAEConfiguration(architecture: architecture, dIn: dIn, dSAE: dSAE, k: 3)
    let all = try #require(
      JSONSerialization.jsonObject(with: JSONEncoder().encode(defaults)) as? [String: Any])
    let configuration = try JSONDecoder().decode(
      SAEConfiguration.self, from: JSONSerialization.data(withJSONObject: all.merging(given) { $1 }))
    let fixture = try JSONDecoder().decode(Fixture.self, from: data)
    let sae = try configuration.makeAutoencoder(seed: 0)
    for parameter in sae.parameters {
      let values = try #require(fixture.start[parameter.name], "\(name): no \(parameter.name)")
      parameter.value = Matrix(parameter.value.rows, parameter.value.columns, values)
    }
    return (fixture, sae)
  }

  /// Largest difference relative to the largest expected element.
  private func difference(_ parameter: borrowing Matrix, _ expected: [Float]?) -> Float {
    let expected = expected ?? []
    let largest = expected.reduce(1e-3) { max($0, abs($1)) }
    return zip(parameter.values, expected).reduce(expected.count == parameter.count ? 0 : .infinity) {
      max($0, abs($1.0 - $1.1) / largest)
    }
  }

  @Test func thereAreFixtures() { #expect(Self.names.count >= 5) }

  @Test(arguments: names, [true, false])
  func lossesGradientsAndWeightsAgree(name: String, isDense: Bool) throws {
    let (fixture, sae) = try load(name)
    var settings = OptimizerConfiguration()
    settings.clip = fixture.clip
    let optimizer = Optimizer(sae.parameters, settings)
    for (step, (batch, expected)) in zip(fixture.batches, fixture.steps).enumerated() {
      sae.begin(step: step, of: fixture.steps.count)
      // Decides between dense and sparse arithmetic, where an architecture has both.
      sae.activity.activeFraction = isDense ? 1 : 0
      let x = Matrix(fixture.batch, sae.configuration.dIn, batch)
      let losses =
        fixture.targets.map { targets in
          sae.computeGradients(x, target: Matrix(fixture.batch, sae.configuration.outWidth, targets[step]))
        } ?? sae.computeGradients(x)
      // Ten steps of f32 arithmetic in another order of summation.
      func check(_ what: String, _ found: Double, _ expected: Double) {
        #expect(
          abs(found - expected) <= 2e-5 * max(abs(expected), 1e-2),
          "step \(step): \(what) \(found), expected \(expected)")
      }
      check("mse", losses.mse, expected.mse)
      check("fvu", losses.fvu, expected.fvu)
      check("l1", losses.l1, expected.l1)
      check("sparsity", losses.sparsity, expected.sparsity)
      check("aux", losses.aux, expected.aux)
      check("total", losses.total, expected.total)
      #expect(losses.l0 == expected.l0 && losses.nDead == expected.nDead, "step \(step): \(losses), \(expected)")
      if let gradients = expected.gradients {
        for parameter in sae.parameters {
          let worst = difference(parameter.gradient, gradients[parameter.name])
          #expect(worst < 2e-4, "step \(step): gradient of \(parameter.name) is off by \(worst)")
        }
      }
      let norm = try #require(optimizer.apply(learningRate: fixture.learningRate))
      check("norm", norm, expected.gradientNorm)
      if let weights = expected.weights {
        for parameter in sae.parameters {
          let worst = difference(parameter.value, weights[parameter.name])
          #expect(worst < 1e-4, "step \(step): \(parameter.name) is off by \(worst)")
        }
      }
    }
    if let threshold = fixture.threshold {
      #expect(abs(sae.state[0] - threshold) < 2e-5 * threshold, "threshold \(sae.state[0]), expected \(threshold)")
    }
  }
}
