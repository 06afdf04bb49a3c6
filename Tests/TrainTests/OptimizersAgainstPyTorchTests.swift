import Foundation
import LinearAlgebra
import SAE
import TestSupport
import Testing
import Train

/// Ten steps on the gradients of `scripts/fixtures/optimizers.py`, some rows of which are 0.
@Suite struct OptimizersAgainstPyTorchTests {
  struct Fixture: Decodable {
    struct Step: Decodable {
      var norm: Double
      var weights: [String: [Float]]?
    }
    var n, d: Int
    var learningRate, clip, weightDecay, beta1, beta2, momentum, ema: Float
    var start: [String: [Float]]
    var gradients: [[String: [Float]]]
    var runs: [String: [Step]]
    var adamAverage: [String: [Float]]

    init() throws {
      let path = SharedInputs.packageRoot.appendingPathComponent("Tests/TrainTests/Fixtures/optimizers.json")
      self = try JSONDecoder().decode(Fixture.self, from: Data(contentsOf: path))
    }

    var settings: OptimizerConfiguration {
      var settings = OptimizerConfiguration()
      (settings.beta1, settings.beta2) = (beta1, beta2)
      (settings.momentum, settings.weightDecay, settings.clip) = (momentum, weightDecay, clip)
      return settings
    }

    func makeParameters() throws -> [Parameter] {
      try [("W_enc", n, d), ("b_enc", 1, n), ("W_dec", n, d), ("b_dec", 1, d)].map { name, rows, columns in
        let parameter = Parameter(name, Matrix(rows, columns, try #require(start[name])))
        parameter.hasUnitRows = name == "W_dec"
        parameter.decays = name == "W_enc"
        return parameter
      }
    }

    func setGradients(_ step: Int, _ parameters: [Parameter]) throws {
      for parameter in parameters {
        let (rows, columns) = (parameter.value.rows, parameter.value.columns)
        parameter.gradient = Matrix(rows, columns, try #require(gradients[step][parameter.name]))
      }
    }
  }

  @Test(arguments: ["adam", "adamw", "sgd", "signum", "sparse-adam global", "sparse-adam row"])
  func normsAndWeightsAgree(name: String) throws {
    let fixture = try Fixture()
    let words = name.split(separator: " ").map { String($0) }
    var settings = fixture.settings
    settings.kind = try #require(OptimizerConfiguration.Kind(rawValue: words[0]))
    if words.count > 1 {
      settings.sparseSteps = try #require(OptimizerConfiguration.SparseSteps(rawValue: words[1]))
    }
    let parameters = try fixture.makeParameters()
    let optimizer = Optimizer(parameters, settings)
    for (step, expected) in try #require(fixture.runs[name]).enumerated() {
      try fixture.setGradients(step, parameters)
      let norm = try #require(optimizer.apply(learningRate: fixture.learningRate))
      // f32 arithmetic in another order.
      #expect(abs(norm - expected.norm) < 1e-5 * expected.norm, "step \(step): norm \(norm), not \(expected.norm)")
      guard let weights = expected.weights else { continue }
      for parameter in parameters {
        for (found, value) in zip(parameter.value.values, try #require(weights[parameter.name])) {
          #expect(
            abs(found - value) < 2e-6 * max(1, abs(value)), "step \(step): \(parameter.name) \(found), not \(value)")
        }
      }
    }
  }

  @Test func averageOfWeightsIsTheirWeightedMean() throws {
    let fixture = try Fixture()
    var settings = fixture.settings
    settings.ema = fixture.ema
    let parameters = try fixture.makeParameters()
    let optimizer = Optimizer(parameters, settings)
    for step in fixture.gradients.indices {
      try fixture.setGradients(step, parameters)
      _ = optimizer.apply(learningRate: fixture.learningRate)
    }
    optimizer.useAverage()
    for parameter in parameters {
      var expected = Matrix(
        parameter.value.rows, parameter.value.columns, try #require(fixture.adamAverage[parameter.name]))
      if parameter.hasUnitRows { normalizeRows(&expected) }
      for (found, value) in zip(parameter.value.values, expected.values) {
        #expect(abs(found - value) < 2e-6 * max(1, abs(value)), "\(parameter.name) \(found), not \(value)")
      }
    }
  }

  @Test func gradientThatIsNotFiniteChangesNothing() throws {
    let fixture = try Fixture()
    for kind in OptimizerConfiguration.Kind.allCases {
      var settings = fixture.settings
      settings.kind = kind
      let parameters = try fixture.makeParameters()
      let optimizer = Optimizer(parameters, settings)
      try fixture.setGradients(0, parameters)
      parameters[0].gradient[0, 3] = .infinity
      #expect(optimizer.apply(learningRate: 0.1) == nil && optimizer.step == 0)
      for parameter in parameters { #expect(parameter.value.values == fixture.start[parameter.name]) }
    }
  }
}
