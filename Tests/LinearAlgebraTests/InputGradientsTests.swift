import LinearAlgebra
import TestSupport
import Testing

@Suite struct InputGradientsTests {
  @Test(arguments: [(0, 1, 1), (1, 1, 1), (5, 7, 3), (601, 37, 19)])
  func sumsOverEntriesEqualTheDefinition(tokens: Int, latents: Int, d: Int) {
    var random = SeededGenerator(seed: 33)
    let rows = (0..<tokens).map { _ in
      (0..<latents).filter { _ in Int.random(in: 0..<20, using: &random) == 0 }.map { (latent: $0, value: Float(1)) }
    }
    var code = SparseCode(nLatents: latents, rows: rows)
    let (x, weights) = (random.floats(tokens * d), random.floats(latents * d))
    let given = Matrix(tokens, d, x)
    latentGradients(&code, Matrix(latents, d, weights), dOut: given.strip)
    let input = Matrix(tokens, d, repeating: 3)
    inputGradients(code, Matrix(latents, d, weights), into: input.strip)
    var expected = [Double](repeating: 0, count: tokens * d)
    for (b, row) in rows.enumerated() {
      for (latent, _) in row {
        let gradient = (0..<d).reduce(0.0) { $0 + Double(x[b * d + $1] * weights[latent * d + $1]) }
        for i in 0..<d { expected[b * d + i] += gradient * Double(weights[latent * d + i]) }
      }
    }
    #expect(zip(input.values, expected).allSatisfy { abs(Double($0) - $1) < 1e-4 * max(1, abs($1)) })
  }
}
