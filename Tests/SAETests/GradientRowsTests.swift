import LinearAlgebra
import SAE
import TestSupport
import Testing

/// What a step tells the optimizer of its gradients' rows.
@Suite struct GradientRowsTests {
  /// TopK with dead latents, of which AuxK uses some.
  private func makeSAE(leavingUnused: Bool, _ norm: SAEConfiguration.DecoderNorm) throws -> any Autoencoder {
    var configuration = SAEConfiguration(architecture: .topk, dIn: 21, dSAE: 90, k: 2, kAux: 2, deadTokens: 5)
    configuration.decoderNorm = norm
    let sae = try configuration.makeAutoencoder(seed: 4)
    for latent in stride(from: 1, to: 90, by: 3) { sae.activity.tokensSinceActive[latent] = 100 }
    for parameter in sae.parameters {
      parameter.leavesUnusedRows = leavingUnused
      // What an older step may have left.
      parameter.gradient.fill(leavingUnused ? 7 : 0)
    }
    return sae
  }

  @Test(arguments: SAEConfiguration.DecoderNorm.allCases)
  func gradientsAreWholeAlsoWhereUnusedRowsAreNotWritten(norm: SAEConfiguration.DecoderNorm) throws {
    var random = SeededGenerator(seed: 31)
    let (all, used) = try (makeSAE(leavingUnused: false, norm), makeSAE(leavingUnused: true, norm))
    for _ in 0..<3 {
      let x = Matrix(6, 21, random.floats(6 * 21))
      #expect(all.computeGradients(x) == used.computeGradients(x))
      for (p, q) in zip(all.parameters, used.parameters) {
        #expect(p.gradient.values == q.gradient.values, "\(p.name)")
      }
    }
  }

  @Test func usedRowsAreThoseWithAGradientAndTheirSumsAreRight() throws {
    var random = SeededGenerator(seed: 32)
    let sae = try makeSAE(leavingUnused: true, .unit)
    let losses = sae.computeGradients(Matrix(6, 21, random.floats(6 * 21)))
    #expect(losses.aux > 0)
    for parameter in sae.parameters where parameter.value.rows > 1 {
      let used = try #require(parameter.usedRows)
      #expect(parameter.hasSums && used.count > 2 && used.count < 60)
      let expected = GradientSums(rows: 90)
      gradientSums(
        parameter.gradient, along: parameter.value, removingParallel: parameter.hasUnitRows, into: expected)
      #expect(used == rowsWithGradient(parameter.gradient))
      #expect(parameter.sums.total(rows: used) == expected.total(rows: used))
      #expect(expected.total(rows: nil) == expected.total(rows: used))
    }
  }

  @Test func writingAGradientForgetsWhatWasKnownOfIt() throws {
    var random = SeededGenerator(seed: 33)
    let sae = try makeSAE(leavingUnused: true, .unit)
    _ = sae.computeGradients(Matrix(6, 21, random.floats(6 * 21)))
    let parameter = sae.parameters[0]
    parameter.gradient.add(Matrix(90, 21, repeating: 1))
    #expect(parameter.usedRows == nil && !parameter.hasSums)
    #expect(rowsWithGradient(parameter.gradient).count == 90)
  }
}
