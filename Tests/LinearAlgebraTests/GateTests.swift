import Foundation
import LinearAlgebra
import TestSupport
import Testing

@Suite struct GateTests {
  @Test(arguments: [(0, 3), (1, 1), (13, 7), (300, 31), (601, 300)])
  func magnitudesAndTheirGradientsEqualTheLoops(tokens: Int, n: Int) {
    var random = SeededGenerator(seed: UInt64(51 + n))
    let rows = (0..<tokens).map { b in
      (0..<n).filter { _ in Int.random(in: 0..<3, using: &random) == 0 && b % 5 != 2 }.map {
        (latent: $0, value: Float.random(in: 0.01...2, using: &random))
      }
    }
    var code = SparseCode(nLatents: n, rows: rows)
    let (gateBias, scale, bias) = (random.floats(n), random.floats(n, in: 0.5...2), random.floats(n))
    let path = MagnitudePath(gateBias: gateBias, scale: scale, bias: bias)
    var gates: [Float] = []
    path.apply(to: &code, gates: &gates)
    #expect(gates == rows.flatMap { $0.map(\.value) })
    func magnitude(_ latent: Int, _ gate: Float) -> Double {
      Double(scale[latent]) * Double(gate - gateBias[latent]) + Double(bias[latent])
    }
    for b in 0..<tokens {
      for (entry, start) in zip(code.row(b), rows[b]) {
        #expect(abs(Double(entry.value) - max(0, magnitude(start.latent, start.value))) < 1e-5)
      }
    }

    let w = Matrix(n, 1, random.floats(n))
    let dOut = Matrix(tokens, 1, random.floats(tokens))
    latentGradients(&code, w, dOut: dOut.strip)
    let given = code.gradients
    let toGates = random.floats(gates.count)
    var (toBias, toScale): ([Float], [Float]) = ([], [])
    let sum = path.backward(&code, gates: gates, toGates: toGates, slope: 0.25, toBias: &toBias, toScale: &toScale)
    #expect(abs(sum - gates.reduce(0.0) { $0 + Double($1) }) < 1e-5 * max(1, sum))
    for (entry, latent) in rows.flatMap({ $0.map(\.latent) }).enumerated() {
      let m = code.values[entry] > 0 ? Double(given[entry]) : 0
      #expect(Double(toBias[entry]) == m)
      #expect(abs(Double(toScale[entry]) - m * Double(scale[latent]) * Double(gates[entry] - gateBias[latent])) < 1e-5)
      #expect(abs(Double(code.gradients[entry]) - Double(toGates[entry]) - 0.25 - Double(scale[latent]) * m) < 1e-5)
    }

    var left = code
    left.dropInactive()
    for b in 0..<tokens {
      let expected = code.row(b).filter { $0.value > 0 }
      #expect(left.row(b).map(\.latent) == expected.map(\.latent) && left.row(b).map(\.value) == expected.map(\.value))
    }
  }

  @Test(arguments: [(0, 3), (1, 1), (13, 7), (300, 31)])
  func normsAndTheirGradientsEqualTheLoops(tokens: Int, n: Int) {
    var random = SeededGenerator(seed: UInt64(61 + n))
    let rows = (0..<tokens).map { b in
      (0..<n).filter { _ in Int.random(in: 0..<3, using: &random) == 0 && b % 5 != 2 }.map {
        (latent: $0, value: Float.random(in: 0.1...2, using: &random))
      }
    }
    for (p, isPower) in [(Float(0.6), false), (0.6, true), (1, false), (1, true)] {
      var code = SparseCode(nLatents: n, rows: rows)
      let sum = addNormGradients(&code, p: p, isPower: isPower, times: 0.5)
      let q = Double(p)
      var expected = 0.0
      for b in 0..<tokens where !rows[b].isEmpty {
        let powers = rows[b].reduce(0.0) { $0 + pow(Double($1.value), q) }
        let norm = pow(powers, 1 / q)
        expected += isPower ? powers : norm
        for (entry, (_, value)) in zip(Int(code.starts[b])..., rows[b]) {
          let derivative = isPower ? q * pow(Double(value), q - 1) : pow(Double(value) / norm, q - 1)
          #expect(abs(Double(code.gradients[entry]) - 0.5 * derivative) < 1e-5 * max(1, derivative))
        }
      }
      #expect(abs(sum - expected) <= 1e-5 * expected)
      #expect(abs(sumOfNorms(code, p: p, isPower: isPower) - expected) <= 1e-5 * expected)
    }
  }
}
