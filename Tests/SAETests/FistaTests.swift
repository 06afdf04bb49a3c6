import Foundation
import LinearAlgebra
import SAE
import TestSupport
import Testing

@Suite struct FistaTests {
  private func dictionary(d: Int, n: Int, seed: UInt64 = 1) throws -> SparseAutoencoder {
    let sae = try SparseAutoencoder(SAEConfiguration(architecture: .relu, dIn: d, dSAE: n), seed: seed)
    var random = SeededGenerator(seed: 2)
    sae.bDec.value = Matrix(1, d, random.floats(d))
    return sae
  }

  /// min over c ≥ 0 of ‖t − c·D‖² + λ·Σ c by coordinate descent, each latent in turn at its best until none moves.
  private func coordinateDescent(_ t: [Double], _ rows: [[Double]], l1: Double) -> [Double] {
    var code = [Double](repeating: 0, count: rows.count)
    var residual = t
    for _ in 0..<100_000 {
      var moved = 0.0
      for (j, row) in rows.enumerated() {
        let square = row.reduce(0) { $0 + $1 * $1 }
        let product = zip(residual, row).reduce(0) { $0 + $1.0 * $1.1 }
        let new = max(0, code[j] + (product - l1 / 2) / square)
        for i in residual.indices { residual[i] -= (new - code[j]) * row[i] }
        moved = max(moved, abs(new - code[j]))
        code[j] = new
      }
      if moved < 1e-12 { break }
    }
    return code
  }

  private func rows(_ matrix: borrowing Matrix) -> [[Double]] {
    (0..<matrix.rows).map { i in (0..<matrix.columns).map { Double(matrix[i, $0]) } }
  }

  /// The baseline of toy recovery: with the directions that made the data, codes are the sizes that they had.
  @Test func theDirectionsThatMadeATokenAreFoundWithTheirSizes() throws {
    let (tokens, d, n) = (60, 32, 64)
    let sae = try dictionary(d: d, n: n)
    var random = SeededGenerator(seed: 8)
    var sizes = Matrix(tokens, n)
    for row in 0..<tokens {
      for j in (0..<n).shuffled(using: &random).prefix(3) { sizes[row, j] = .random(in: 1...2, using: &random) }
    }
    var x = Matrix(tokens, d)
    for row in 0..<tokens { for i in 0..<d { x[row, i] = sae.bDec.value[0, i] } }
    gemm(sizes, sae.wDec.value, into: &x, accumulating: true)
    let code = try Fista(sae, l1: 0.02, inputScale: 1, name: "a").encode(x)
    for row in 0..<tokens {
      var found = [Float](repeating: 0, count: n)
      for (latent, value) in code.row(row) { found[latent] = value }
      // The penalty makes each a little smaller.
      for j in 0..<n { #expect(abs(found[j] - sizes[row, j]) < 0.1, "token \(row), latent \(j)") }
    }
  }

  @Test(arguments: [(1, 1, 1), (3, 2, 5), (5, 7, 13), (17, 16, 31), (7, 19, 64)])
  func codesAreThoseOfCoordinateDescent(tokens: Int, d: Int, n: Int) throws {
    let sae = try dictionary(d: d, n: n)
    var random = SeededGenerator(seed: 5)
    let x = Matrix(tokens, d, random.floats(tokens * d, in: -2...2))
    for (l1, scale) in [(Float(0.3), Float(1)), (1.5, 1), (1, 0.5)] {
      let fista = try Fista(sae, l1: l1, inputScale: scale, tolerance: 1e-4, name: "a")
      let code = fista.encode(x)
      #expect(fista.nUnsolved == 0 && code.rows == tokens)
      let decoder = rows(sae.wDec.value)
      for row in 0..<tokens {
        let t = (0..<d).map { Double(x[row, $0] - sae.bDec.value[0, $0]) }
        let expected = coordinateDescent(t, decoder, l1: Double(l1 / scale))
        var found = [Double](repeating: 0, count: n)
        for (latent, value) in code.row(row) { found[latent] = Double(value) }
        // With more latents than dimensions the best code need not be the only one: what is minimised is compared, and
        // what it decodes to, which is unique.
        func decoded(_ code: [Double]) -> [Double] {
          (0..<d).map { i in code.indices.reduce(0) { $0 + code[$1] * decoder[$1][i] } }
        }
        func loss(_ code: [Double]) -> Double {
          zip(t, decoded(code)).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
            + Double(l1 / scale) * code.reduce(0, +)
        }
        #expect(loss(found) - loss(expected) < 1e-4 * max(loss(expected), 1), "token \(row)")
        for (a, b) in zip(decoded(found), decoded(expected)) { #expect(abs(a - b) < 2e-3) }

        // Optimality: the slope of the error is −λ at active latents, and no steeper elsewhere.
        let error = zip(decoded(found), t).map { $0 - $1 }
        for j in 0..<n {
          let slope = 2 * zip(error, decoder[j]).reduce(0) { $0 + $1.0 * $1.1 } + Double(l1 / scale)
          #expect(slope > -1e-3 * Double(l1 / scale) && (found[j] == 0 || slope < 1e-3 * Double(l1 / scale)))
        }
      }
    }
  }

  @Test func noTokensAndNoLatentsThatHelpAreNothing() throws {
    let sae = try dictionary(d: 3, n: 4)
    let fista = try Fista(sae, l1: 1, inputScale: 1, name: "a")
    #expect(fista.encode(Matrix(0, 3)).rows == 0)
    // λ above 2·max⟨x, d⟩: nothing is worth its price.
    let strict = try Fista(sae, l1: 100, inputScale: 1, name: "a")
    let code = strict.encode(Matrix(5, 3, repeating: 1))
    #expect(code.nActive == 0)
    #expect(difference(strict.decode(code).values[0..<3], sae.bDec.value.values) == nil)
    sae.wDec.value.fill(0)
    #expect(try Fista(sae, l1: 1, inputScale: 1, name: "a").encode(Matrix(2, 3, repeating: 1)).nActive == 0)
  }

  /// What the encoder finds is never better than what FISTA does with the same decoder and λ.
  @Test func theLossOfAnEncoderIsNeverBelowThatOfFista() throws {
    let (d, n, tokens) = (8, 24, 60)
    var configuration = SAEConfiguration(architecture: .relu, dIn: d, dSAE: n, l1: 0.4)
    configuration.initialization.encoder = .transpose
    let sae = try SparseAutoencoder(configuration, seed: 3)
    var random = SeededGenerator(seed: 6)
    let x = Matrix(tokens, d, random.floats(tokens * d, in: -2...2))
    let encoder = sae.computeGradients(x)
    let fista = try Fista(sae, l1: 0.4, inputScale: 1, name: "a")
    let code = fista.encode(x)
    var error = fista.decode(code)
    error.add(x, times: -1)
    let loss = sumOfSquares(error) / Double(tokens * d) + 0.4 * code.sumOfValues / Double(tokens * d)
    #expect(loss < encoder.total, "\(loss), encoder \(encoder.total)")
  }

  /// A dictionary of standardized tokens gets raw ones: the same codes, and reconstructions in raw units.
  @Test func rawTokensAreStandardizedWhereTheDictionaryIsOfSuch() throws {
    let (d, n, tokens) = (5, 9, 11)
    let sae = try dictionary(d: d, n: n)
    var random = SeededGenerator(seed: 9)
    let raw = Matrix(tokens, d, random.floats(tokens * d, in: -8...8))
    var standard = raw.copy()
    let moments = InputNormalization.perToken.apply(to: &standard)
    let before = try Fista(sae, l1: 0.3, inputScale: 1, name: "a")
    let expected = before.encode(standard)
    var recon = before.decode(expected)
    InputNormalization.perToken.restore(&recon, moments)
    sae.standardizesTokens = true
    // λ is in units of standardized tokens, whatever factor the cache has.
    let fista = try Fista(sae, l1: 0.3, inputScale: 7, name: "a")
    let code = fista.encode(raw)
    #expect(code.nActive > 0)
    for row in 0..<tokens { #expect(code.row(row).map(\.value) == expected.row(row).map(\.value)) }
    #expect(difference(fista.decode(code).values, recon.values) == nil)
  }

  @Test func whatHasNoDirectionsIsRefused() throws {
    func message(_ sae: any SparseCoder, l1: Float = 1) -> String {
      do { _ = try Fista(sae, l1: l1, inputScale: 1, name: "runs/a") } catch { return "\(error)" }
      return "made"
    }
    let rest = "which has no directions that its input is a sum of; give an SAE with a linear decoder"
    #expect(message(try dictionary(d: 2, n: 3), l1: 0) == "fista is 0.0; λ must be positive")
    let deep = try SAEConfiguration(architecture: .deep, dIn: 2, dSAE: 3).makeAutoencoder(seed: 1)
    #expect(message(deep) == "fista: runs/a is deep, \(rest)")
    var shape = SAEConfiguration(architecture: .relu, dIn: 2, dSAE: 3)
    shape.dOut = 2
    #expect(message(try SparseAutoencoder(shape, seed: 1)) == "fista: runs/a is a transcoder, \(rest)")
  }

  @Test(arguments: [(1, 1), (2, 5), (7, 3), (13, 40)]) func spectralNormIsThatOfTheLargestStretch(d: Int, n: Int) throws
  {
    let sae = try dictionary(d: d, n: n)
    let square = largestSquaredSingularValue(sae.wDec.value)
    // No vector is stretched more, and by as much as random ones come near.
    var random = SeededGenerator(seed: 8)
    var best = 0.0
    for _ in 0..<2000 {
      var v = Matrix(1, d, random.floats(d, in: -1...1))
      normalizeRows(&v)
      var out = Matrix(1, n)
      gemm(v, sae.wDec.value, into: &out, transposeB: true)
      best = max(best, sumOfSquares(out))
    }
    #expect(best <= Double(square) * 1.0001)
    if d <= 2 { #expect(best > Double(square) * 0.999) }
  }
}
