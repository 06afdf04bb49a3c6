import Foundation
import LinearAlgebra
import TestSupport
import Testing

@Suite struct VectorMathTests {
  /// Largest error of `f` in units in the last place of the exact result, over `range`.
  private func worstError(
    in range: ClosedRange<Float>, _ f: (Lanes) -> Lanes, _ exact: (Double) -> Double
  ) -> Double {
    var random = SeededGenerator(seed: 3)
    var worst = 0.0
    for step in 0..<20_000 {
      let x = Float.random(in: range, using: &random) * (step % 2 == 0 ? 1 : Float(pow(2.0, Double(-(step % 20)))))
      let expected = exact(Double(x))
      let ulp = Double(max(Float(abs(expected)).ulp, Float.leastNormalMagnitude))
      worst = max(worst, abs(Double(f(Lanes(repeating: x))[5]) - expected) / ulp)
    }
    return worst
  }

  @Test func functionsAreWithinTheirStatedErrors() {
    let e = worstError(in: -87...88, LinearAlgebra.exp, Foundation.exp)
    let n = worstError(in: -87...0, LinearAlgebra.expOfNonPositive, Foundation.exp)
    let t = worstError(in: -10...10, LinearAlgebra.tanh, Foundation.tanh)
    let r = worstError(in: -5...5, LinearAlgebra.erf, Foundation.erf)
    let s = worstError(in: 0...1e6, LinearAlgebra.squareRoot, { $0.squareRoot() })
    #expect(e < 1.5, "exp \(e) ulp")
    #expect(n < 1.5, "exp of x ≤ 0 \(n) ulp")
    #expect(t < 4, "tanh \(t) ulp")
    #expect(r < 2, "erf \(r) ulp")
    #expect(s < 1, "sqrt \(s) ulp")
  }

  @Test func specialValues() {
    let x = Lanes(
      0, -0.0, .infinity, -.infinity, .nan, 89, -104, 1e-30, 88.7, -87.2, 100, -100, 9.5, -9.5, 4, -4)
    let e = LinearAlgebra.exp(x)
    #expect(e[0] == 1 && e[1] == 1 && e[2] == .infinity && e[3] == 0 && e[4].isNaN && e[5] == .infinity && e[6] == 0)
    let n = LinearAlgebra.expOfNonPositive(x)
    #expect(n[0] == 1 && n[3] == n[11] && n[3] < 1.7e-38 && n[4].isNaN && n[9] == n[3])
    let t = LinearAlgebra.tanh(x)
    #expect(t[0] == 0 && t[2] == 1 && t[3] == -1 && t[4].isNaN && t[12] == 1 && t[13] == -1)
    let r = LinearAlgebra.erf(x)
    #expect(r[0] == 0 && r[2] == 1 && r[3] == -1 && r[4].isNaN && r[14] == 1 && r[15] == -1)
    #expect(LinearAlgebra.squareRoot(Lanes(repeating: 0))[0] == 0)
  }
}
