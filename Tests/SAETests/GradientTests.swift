import LinearAlgebra
import SAE
import TestSupport
import Testing

@Suite struct GradientTests {
  /// Central differences of the loss along random directions of each parameter.
  @Test(arguments: SAEConfiguration.Architecture.allCases)
  func gradientsAgreeWithFiniteDifferences(architecture: SAEConfiguration.Architecture) throws {
    var random = SeededGenerator(seed: 11)
    let (d, n, tokens) = (7, 18, 37)
    let configuration = SAEConfiguration(
      architecture: architecture, dIn: d, dSAE: n, k: 4, kAux: 3, auxCoefficient: 0.5, l1: 0.4, deadTokens: 5)
    let x = Matrix(tokens, d, random.floats(tokens * d, in: -2...2))
    let sae = try SparseAutoencoder(configuration, seed: 3)
    sae.bEnc.value = Matrix(1, n, random.floats(n, in: 0...0.1))
    sae.bDec.value = Matrix(1, d, random.floats(d))
    let isDead = (0..<n).map { $0 % 3 == 0 ? 9 : 0 }

    // With AuxK the residual is a constant of the gradient, so its finite difference is not that of the total:
    // it is taken with the coefficient at 0, and AuxK is checked against PyTorch in TrainTests.
    var plain = configuration
    plain.auxCoefficient = 0
    let sparse = try SparseAutoencoder(plain, seed: 3)
    for (a, b) in zip(sparse.parameters, sae.parameters) { a.value = b.value.copy() }
    func loss() -> Double {
      sparse.tokensSinceActive = isDead
      sparse.activeFraction = 0
      return sparse.computeGradients(x).total
    }
    func pattern() -> [[Int]] {
      let code = sparse.encode(x)
      return (0..<tokens).map { code.row($0).map(\.latent) }
    }
    for parameter in sparse.parameters {
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

  @Test func denseAndSparseStepsAgree() throws {
    var random = SeededGenerator(seed: 12)
    let (d, n, tokens) = (9, 40, 70)
    let configuration = SAEConfiguration(architecture: .relu, dIn: d, dSAE: n, l1: 0.3)
    let x = Matrix(tokens, d, random.floats(tokens * d))
    let sparse = try SparseAutoencoder(configuration, seed: 4)
    let dense = try SparseAutoencoder(configuration, seed: 4)
    sparse.activeFraction = 0
    dense.activeFraction = 1
    let (a, b) = (sparse.computeGradients(x), dense.computeGradients(x))
    #expect(abs(a.total - b.total) < 1e-6 * a.total)
    #expect(a.l0 == b.l0)
    #expect(sparse.tokensSinceActive == dense.tokensSinceActive)
    for (p, q) in zip(sparse.parameters, dense.parameters) {
      for (g, h) in zip(p.gradient.values, q.gradient.values) { #expect(abs(g - h) < 1e-6, "\(p.name)") }
    }
  }
}
