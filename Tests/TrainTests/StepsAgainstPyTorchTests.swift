import Foundation
import LinearAlgebra
import SAE
import TestSupport
import Testing
import Train

/// Ten steps of `scripts/fixtures/sae_steps.py`.
@Suite struct StepsAgainstPyTorchTests {
  struct Fixture: Decodable {
    struct Run: Decodable {
      struct Step: Decodable {
        var mse, l1, aux, total, fvu, l0, gradientNorm: Double
        var nDead: Int
        var gradients, weights: [String: [Float]]?
      }
      var start: [String: [Float]]
      var batches: [[Float]]
      var steps: [Step]
    }
    var dIn, dSAE, k, kAux, batch, deadTokens: Int
    var auxCoefficient, l1, learningRate, clip: Float
    var relu, topk: Run
  }

  private func load() throws -> Fixture {
    let path = SharedInputs.packageRoot.appendingPathComponent("Tests/TrainTests/Fixtures/sae_steps.json")
    return try JSONDecoder().decode(Fixture.self, from: Data(contentsOf: path))
  }

  /// Largest difference relative to the largest expected element.
  private func difference(_ parameter: borrowing Matrix, _ expected: [Float]?) -> Float {
    let expected = expected ?? []
    let largest = expected.reduce(1e-3) { max($0, abs($1)) }
    return zip(parameter.values, expected).reduce(expected.count == parameter.count ? 0 : .infinity) {
      max($0, abs($1.0 - $1.1) / largest)
    }
  }

  @Test(arguments: SAEConfiguration.Architecture.allCases, [true, false])
  func lossesGradientsAndWeightsAgree(architecture: SAEConfiguration.Architecture, isDense: Bool) throws {
    if architecture == .topk && isDense { return }
    let fixture = try load()
    let run = architecture == .relu ? fixture.relu : fixture.topk
    let sae = try SparseAutoencoder(
      SAEConfiguration(
        architecture: architecture, dIn: fixture.dIn, dSAE: fixture.dSAE, k: fixture.k, kAux: fixture.kAux,
        auxCoefficient: fixture.auxCoefficient, l1: fixture.l1, deadTokens: fixture.deadTokens), seed: 0)
    for parameter in sae.parameters {
      let values = try #require(run.start[parameter.name])
      parameter.value = Matrix(parameter.value.rows, parameter.value.columns, values)
    }
    let optimizer = Optimizer(sae, clip: fixture.clip)
    for (step, (batch, expected)) in zip(run.batches, run.steps).enumerated() {
      sae.activeFraction = isDense ? 1 : 0
      let losses = sae.computeGradients(Matrix(fixture.batch, fixture.dIn, batch))
      // Ten steps of f32 arithmetic in another order of summation.
      func close(_ a: Double, _ b: Double) -> Bool { abs(a - b) <= 2e-5 * max(abs(b), 1e-2) }
      #expect(close(losses.mse, expected.mse), "step \(step): mse \(losses.mse), expected \(expected.mse)")
      #expect(close(losses.fvu, expected.fvu), "step \(step): fvu \(losses.fvu), expected \(expected.fvu)")
      #expect(close(losses.l1, expected.l1), "step \(step): l1 \(losses.l1), expected \(expected.l1)")
      #expect(close(losses.aux, expected.aux), "step \(step): aux \(losses.aux), expected \(expected.aux)")
      #expect(close(losses.total, expected.total), "step \(step): total \(losses.total), expected \(expected.total)")
      #expect(losses.l0 == expected.l0 && losses.nDead == expected.nDead, "step \(step): \(losses), \(expected)")
      if expected.gradients != nil {
        for parameter in sae.parameters {
          let worst = difference(parameter.gradient, expected.gradients?[parameter.name])
          #expect(worst < 2e-4, "step \(step): gradient of \(parameter.name) is off by \(worst)")
        }
      }
      let norm = try #require(optimizer.apply(to: sae, learningRate: fixture.learningRate))
      #expect(close(norm, expected.gradientNorm), "step \(step): norm \(norm), expected \(expected.gradientNorm)")
      if expected.weights != nil {
        for parameter in sae.parameters {
          let worst = difference(parameter.value, expected.weights?[parameter.name])
          #expect(worst < 1e-4, "step \(step): \(parameter.name) is off by \(worst)")
        }
      }
    }
  }
}
