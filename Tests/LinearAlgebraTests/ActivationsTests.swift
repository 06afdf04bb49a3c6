import Foundation
import LinearAlgebra
import TestSupport
import Testing

@Suite struct ActivationsTests {
  private func exact(_ activation: Activation, _ x: Double) -> Double {
    switch activation {
    case .gelu: 0.5 * x * erfc(-x / 2.0.squareRoot())
    case .geluTanh: x / (1 + Foundation.exp(-2 * (2 / Double.pi).squareRoot() * (x + 0.044715 * x * x * x)))
    case .silu: x / (1 + Foundation.exp(-x))
    case .relu: max(0, x)
    }
  }

  @Test(arguments: [Activation.gelu, .geluTanh, .silu, .relu], [(0, 3), (1, 1), (2, 16), (3, 35)])
  func equalsTheDefinition(_ activation: Activation, _ shape: (Int, Int)) {
    var random = SeededGenerator(seed: 22)
    let (rows, columns) = shape
    let x = random.floats(rows * columns, in: -9...9)
    let bias = Matrix(1, columns, random.floats(columns))
    let out = Matrix(rows, columns, x)
    activate(out.strip, activation, bias: bias.strip)
    let plain = Matrix(rows, columns, x)
    activate(plain.strip, activation, bias: nil)
    let up = random.floats(rows * columns)
    var both: [Float] = []
    for i in 0..<rows {
      both += x[i * columns..<(i + 1) * columns]
      both += up[i * columns..<(i + 1) * columns]
    }
    let gateUp = Matrix(rows, 2 * columns, both)
    let post = Matrix(rows, columns)
    gatedActivation(gateUp.strip, activation, into: post.strip)
    for i in 0..<rows {
      for j in 0..<columns {
        let value = x[i * columns + j]
        // 2e-6 of the input: erf and the sigmoid have errors of some 1e-7.
        let bound = 2e-6 * Double(1 + abs(value))
        #expect(abs(Double(out[i, j]) - exact(activation, Double(value + bias[0, j]))) < bound)
        #expect(abs(Double(plain[i, j]) - exact(activation, Double(value))) < bound)
        #expect(abs(Double(post[i, j]) - exact(activation, Double(value)) * Double(up[i * columns + j])) < bound)
      }
    }
  }
}
