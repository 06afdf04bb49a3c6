import Foundation
import LinearAlgebra
import TestSupport
import Testing

@Suite struct RotaryTests {
  @Test(arguments: [(0, 1, 4, 4), (1, 1, 2, 2), (5, 3, 6, 2), (9, 2, 8, 8), (7, 2, 64, 64), (3, 1, 80, 20)])
  func equalsARotationOfEveryPair(nPositions: Int, nHeads: Int, dHead: Int, nRotary: Int) {
    var random = SeededGenerator(seed: 23)
    // One more column than the heads have, which stays as it is.
    let width = nHeads * dHead + 1
    let x = random.floats(nPositions * width)
    let out = Matrix(nPositions, width, x)
    let table = RotaryTable(nPositions: nPositions + 2, nRotary: nRotary, theta: 100)
    rotate(out.strip, nHeads: nHeads, dHead: dHead, table)
    var expected = x.map(Double.init)
    for p in 0..<nPositions {
      for head in 0..<nHeads {
        for i in 0..<nRotary / 2 {
          let angle = Double(p) * pow(100, -2 * Double(i) / Double(nRotary))
          let a = p * width + head * dHead + i
          let b = a + nRotary / 2
          expected[a] = Double(x[a]) * cos(angle) - Double(x[b]) * sin(angle)
          expected[b] = Double(x[b]) * cos(angle) + Double(x[a]) * sin(angle)
        }
      }
    }
    for (found, value) in zip(out.values, expected) { #expect(abs(Double(found) - value) < 2e-6) }
    rotate(out.strip, nHeads: nHeads, dHead: dHead, table, isInverse: true)
    for (found, value) in zip(out.values, x) { #expect(abs(found - value) < 1e-6) }
  }
}
