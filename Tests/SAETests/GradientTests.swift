import LinearAlgebra
import SAE
import TestSupport
import Testing

@Suite struct GradientTests {
  /// One configuration per architecture and per option that changes gradients.
  static let configurations: [SAEConfiguration] = {
    let base = SAEConfiguration(architecture: .relu, dIn: 7, dSAE: 18, k: 4, kAux: 3, l1: 0.4, deadTokens: 5)
    func variant(_ change: (inout SAEConfiguration) -> Void) -> SAEConfiguration {
      var configuration = base
      // AuxK holds the residual constant, so the finite difference of the total is not its gradient: it is checked
      // against PyTorch in TrainTests.
      configuration.auxCoefficient = 0
      change(&configuration)
      return configuration
    }
    return [
      variant { _ in },
      variant {
        $0.p = 0.7
        // Losses of order 1, as for the others.
        $0.l1 = 0.1
      },
      variant { $0.decoderNorm = .graph },
      variant { $0.architecture = .topk },
      variant {
        $0.architecture = .topk
        $0.decoderNorm = .graph
      },
      variant {
        $0.architecture = .topk
        $0.multiTopK = true
        $0.decoderNorm = .graph
      },
      variant { $0.architecture = .batchtopk },
      variant {
        $0.architecture = .batchtopk
        $0.decoderNorm = .graph
      },
      variant {
        $0.architecture = .matryoshka
        $0.prefixes = [4, 9, 18]
      },
      variant {
        $0.architecture = .matryoshka
        $0.decoderNorm = .graph
      },
    ]
  }()

  /// An SAE with biases and decoder rows of different norms, and a batch for it.
  private func example(
    _ configuration: SAEConfiguration, _ random: inout SeededGenerator
  ) throws -> (sae: any Autoencoder, tokens: Int, batch: [Float]) {
    let tokens = 37
    let sae = try configuration.makeAutoencoder(seed: 3)
    for parameter in sae.parameters {
      let noise = random.floats(parameter.value.count, in: -0.05...0.15)
      parameter.value = Matrix(
        parameter.value.rows, parameter.value.columns, zip(parameter.value.values, noise).map { $0 + $1 })
    }
    return (sae, tokens, random.floats(tokens * configuration.dIn, in: -2...2))
  }

  /// Central differences of the loss along random directions of each parameter.
  @Test(arguments: configurations)
  func gradientsAgreeWithFiniteDifferences(configuration: SAEConfiguration) throws {
    var random = SeededGenerator(seed: 11)
    let (sae, tokens, batch) = try example(configuration, &random)
    let x = Matrix(tokens, configuration.dIn, batch)
    let start = sae.activity
    let state = sae.state
    func loss() -> Double {
      sae.activity = start
      sae.activity.activeFraction = 0
      sae.state = state
      return sae.computeGradients(x).total
    }
    // Inference may select otherwise than training does, hence the uses too.
    func pattern() -> [[Int]] {
      _ = loss()
      let code = sae.encode(x)
      return (0..<tokens).map { code.row($0).map(\.latent) } + [sae.activity.uses]
    }
    for parameter in sae.parameters {
      let start = parameter.value.copy()
      let before = pattern()
      _ = loss()
      let gradient = parameter.gradient.values
      var checked = 0
      // The selection jumps where latents cross: directions along which it stays the same are what a gradient is of.
      for _ in 0..<400 where checked < 5 {
        let direction = random.floats(parameter.value.count)
        let epsilon: Float = 2e-4
        var isSmooth = true
        func shifted(_ factor: Float) -> Double {
          parameter.value = Matrix(
            start.rows, start.columns, zip(start.values, direction).map { $0 + factor * epsilon * $1 })
          isSmooth = isSmooth && pattern() == before
          return loss()
        }
        let numeric = (shifted(1) - shifted(-1)) / Double(2 * epsilon)
        parameter.value = start.copy()
        guard isSmooth else { continue }
        checked += 1
        let exact = zip(gradient, direction).reduce(0.0) { $0 + Double($1.0 * $1.1) }
        // Losses of order 1 in f32 over a step of 4e-4.
        #expect(
          abs(numeric - exact) < 2e-3 * max(abs(exact), 1), "\(parameter.name): numeric \(numeric), exact \(exact)")
      }
      #expect(checked == 5, "\(parameter.name): only \(checked) directions keep the selection")
    }
  }

  /// The local objective in two halves: what end-to-end objectives use. Prefixes and Multi-TopK are terms of the local
  /// objective alone, as AuxK is.
  @Test(arguments: configurations.filter { $0.architecture != .matryoshka && !$0.multiTopK })
  func backwardOfTheErrorEqualsTheLocalStep(configuration: SAEConfiguration) throws {
    var random = SeededGenerator(seed: 13)
    let (sae, tokens, batch) = try example(configuration, &random)
    let x = Matrix(tokens, configuration.dIn, batch)
    let (start, state) = (sae.activity, sae.state)
    let whole = sae.computeGradients(x)
    let gradients = sae.parameters.map { $0.gradient.values }
    let activity = sae.activity
    sae.activity = start
    sae.state = state
    var recon = Matrix(tokens, configuration.dIn)
    sae.forward(x, into: &recon)
    recon.add(x, times: -1)
    let mse = sumOfSquares(recon) / Double(recon.count)
    #expect(abs(mse - whole.mse) < 1e-6 * whole.mse)
    recon.scale(by: 2 / Float(recon.count))
    let own = sae.backward(recon)
    #expect(abs(own.total + mse - whole.total) < 1e-6 * whole.total)
    #expect(abs(own.sparsity - whole.sparsity) < 1e-6 * max(1, whole.sparsity) && own.l0 == whole.l0)
    #expect(sae.activity == activity)
    for (parameter, expected) in zip(sae.parameters, gradients) {
      for (a, b) in zip(parameter.gradient.values, expected) { #expect(abs(a - b) < 1e-6, "\(parameter.name)") }
    }
  }

  @Test func denseAndSparseStepsAgree() throws {
    var random = SeededGenerator(seed: 12)
    let (d, n, tokens) = (9, 40, 70)
    let configuration = SAEConfiguration(architecture: .relu, dIn: d, dSAE: n, l1: 0.3)
    let x = Matrix(tokens, d, random.floats(tokens * d))
    let sparse = try SparseAutoencoder(configuration, seed: 4)
    let dense = try SparseAutoencoder(configuration, seed: 4)
    sparse.activity.activeFraction = 0
    dense.activity.activeFraction = 1
    let (a, b) = (sparse.computeGradients(x), dense.computeGradients(x))
    #expect(abs(a.total - b.total) < 1e-6 * a.total)
    #expect(a.l0 == b.l0)
    #expect(sparse.activity.tokensSinceActive == dense.activity.tokensSinceActive)
    for (p, q) in zip(sparse.parameters, dense.parameters) {
      for (g, h) in zip(p.gradient.values, q.gradient.values) { #expect(abs(g - h) < 1e-6, "\(p.name)") }
    }
  }
}
