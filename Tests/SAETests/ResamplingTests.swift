import Foundation
import LinearAlgebra
import SAE
import TestSupport
import Testing

@Suite struct ResamplingTests {
  /// An SAE of which the latents `dead` count as dead, and a batch with a mean that is not 0.
  private func example(
    _ architecture: SAEConfiguration.Architecture = .relu, dead: [Int], tokens: Int = 20
  ) throws -> (sae: SparseAutoencoder, batch: [Float]) {
    let sae = try SparseAutoencoder(
      SAEConfiguration(architecture: architecture, dIn: 5, dSAE: 12, k: 3, deadTokens: 100), seed: 2)
    var random = SeededGenerator(seed: 8)
    for parameter in sae.parameters where parameter.name != "W_dec" {
      let noise = random.floats(parameter.value.count, in: 0.1...0.4)
      parameter.value = Matrix(
        parameter.value.rows, parameter.value.columns, zip(parameter.value.values, noise).map { $0 + $1 })
    }
    for latent in dead { sae.activity.tokensSinceActive[latent] = 100 }
    return (sae, random.floats(tokens * 5, in: -1...2))
  }

  private func norm(_ row: [Float]) -> Float { row.reduce(0) { $0 + $1 * $1 }.squareRoot() }

  @Test func deadLatentsBecomeInputsAndOthersStay() throws {
    let dead = [1, 4, 11]
    let (sae, batch) = try example(dead: dead)
    let encoder = sae.wEnc.value.copy()
    let decoder = sae.wDec.value.copy()
    let bias = sae.bEnc.value.values
    let alive = (0..<12).filter { !dead.contains($0) }
    let norms = alive.map { norm(encoder.copy(rows: $0..<$0 + 1).values) }
    let length = 0.2 * norms.reduce(0, +) / Float(norms.count)
    #expect(sae.resample(from: Matrix(20, 5, batch), seed: 3) == [1, 4, 11])
    let centre = sae.bDec.value.values
    let directions = (0..<20).map { token in
      let x = (0..<5).map { batch[token * 5 + $0] - centre[$0] }
      return x.map { $0 / norm(x) }
    }
    var tokens: Set<Int> = []
    for latent in 0..<12 {
      let (e, d) = (
        sae.wEnc.value.copy(rows: latent..<latent + 1).values, sae.wDec.value.copy(rows: latent..<latent + 1).values
      )
      if !dead.contains(latent) {
        #expect(e == encoder.copy(rows: latent..<latent + 1).values)
        #expect(d == decoder.copy(rows: latent..<latent + 1).values)
        #expect(sae.bEnc.value[0, latent] == bias[latent])
        continue
      }
      let token = try #require(
        directions.firstIndex { direction in zip(direction, d).allSatisfy { abs($0 - $1) < 1e-5 } })
      tokens.insert(token)
      for (x, y) in zip(e, d) { #expect(abs(x - length * y) < 1e-5) }
      #expect(sae.bEnc.value[0, latent] == 0 && sae.activity.tokensSinceActive[latent] == 0)
    }
    #expect(tokens.count == 3)
  }

  @Test func whatHasNoDeadLatentsOrOnlySuchIsLeftAlone() throws {
    for dead in [[], Array(0..<12)] {
      let (sae, batch) = try example(dead: dead)
      let before = sae.wDec.value.values
      #expect(sae.resample(from: Matrix(20, 5, batch), seed: 3) == [])
      #expect(sae.wDec.value.values == before)
    }
  }

  @Test func moreDeadLatentsThanTokensLeaveTheLastDead() throws {
    let (sae, batch) = try example(dead: Array(2..<12), tokens: 3)
    #expect(sae.resample(from: Matrix(3, 5, batch), seed: 3) == [2, 3, 4])
    #expect(sae.deadLatents == [5, 6, 7, 8, 9, 10, 11])
  }

  @Test(arguments: [SAEConfiguration.Architecture.jumprelu, .gated])
  func whatTheKindHasPerLatentIsAsAtTheStart(architecture: SAEConfiguration.Architecture) throws {
    let (sae, batch) = try example(architecture, dead: [7])
    let fresh = try SparseAutoencoder(sae.configuration, seed: 0)
    #expect(sae.resample(from: Matrix(20, 5, batch), seed: 3) == [7])
    for (parameter, start) in zip(sae.parameters, fresh.parameters).dropFirst(4) {
      #expect(parameter.value[0, 7] == start.value[0, 7] && parameter.value[0, 6] != start.value[0, 6])
    }
  }

  /// Of four tokens, one is reconstructed without error, the others with errors 1 : 2 : 3, so that the first draw has
  /// odds of 1 : 4 : 9 of squared losses if weights are given as such.
  @Test func drawsFollowTheWeights() {
    let weights = [0.0, 1, 4, 9]
    var first = [0, 0, 0, 0]
    let n = 20_000
    for seed in 0..<n {
      let drawn = SparseAutoencoder.draw(4, weights: weights, seed: UInt64(seed))
      #expect(drawn.sorted() == [1, 2, 3])
      first[drawn[0]] += 1
    }
    for (count, weight) in zip(first, weights) {
      let p = weight / 14
      // Five standard deviations.
      #expect(abs(Double(count) - p * Double(n)) <= 5 * (Double(n) * p * (1 - p)).squareRoot(), "\(first)")
    }
    #expect(SparseAutoencoder.draw(3, weights: [], seed: 0) == [])
    #expect(SparseAutoencoder.draw(0, weights: [1], seed: 0) == [])
  }

  /// Before the running threshold of batchtopk is known its inference is dense; training is not.
  @Test(arguments: [SAEConfiguration.Architecture.batchtopk, .matryoshka])
  func errorsAreThoseOfTraining(architecture: SAEConfiguration.Architecture) throws {
    var nDifferent = 0
    for seed in 0..<10 as Range<UInt64> {
      let (sae, batch) = try example(architecture, dead: [3, 7])
      let x = Matrix(20, 5, batch)
      sae.begin(step: 0, of: 1000)
      _ = sae.computeGradients(x)
      for latent in [3, 7] { sae.activity.tokensSinceActive[latent] = 100 }
      let state = sae.state
      func drawn(_ recon: borrowing Matrix) -> [Int] {
        let losses = (0..<20).map { row in
          (0..<5).reduce(0.0) { $0 + Double(pow(x[row, $1] - recon[row, $1], 2)) }
        }
        return SparseAutoencoder.draw(2, weights: losses.map { $0 * $0 }, seed: seed)
      }
      var recon = Matrix(20, 5)
      sae.forward(x, into: &recon)
      sae.state = state
      let expected = drawn(recon)
      if expected != drawn(sae.decode(sae.encode(x))) { nDifferent += 1 }
      let centre = sae.bDec.value.values
      #expect(sae.resample(from: x, seed: seed) == [3, 7])
      #expect(sae.state == state)
      for (latent, token) in zip([3, 7], expected) {
        let direction = (0..<5).map { x[token, $0] - centre[$0] }
        for (i, value) in direction.enumerated() {
          #expect(abs(sae.wDec.value[latent, i] - value / norm(direction)) < 1e-5)
        }
      }
    }
    #expect(nDifferent > 0)
  }

  /// The token with by far the largest error is the one taken: the square of the loss counts.
  @Test func badlyReconstructedInputsAreTaken() throws {
    var counts = [0, 0]
    for seed in 0..<200 {
      let (sae, _) = try example(dead: [3])
      sae.bEnc.value.fill(-100)
      sae.bDec.value.fill(0)
      // Nothing is active: losses are 1 and 4, their squares 1 and 16.
      let x = Matrix(2, 5, [1, 0, 0, 0, 0, 0, 2, 0, 0, 0])
      #expect(sae.resample(from: x, seed: UInt64(seed)) == [3])
      counts[sae.wDec.value[3, 0] == 1 ? 0 : 1] += 1
    }
    // 11.8 of 200 expected; five standard deviations are 16.7.
    #expect(counts[0] <= 28 && counts[0] >= 1, "\(counts)")
  }
}
