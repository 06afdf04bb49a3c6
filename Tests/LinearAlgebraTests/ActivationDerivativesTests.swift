import Foundation
import LinearAlgebra
import TestSupport
import Testing

@Suite struct ActivationDerivativesTests {
  private func exact(_ activation: Activation, _ x: Double) -> Double {
    switch activation {
    case .gelu: 0.5 * x * erfc(-x / 2.0.squareRoot())
    case .geluTanh: x / (1 + Foundation.exp(-2 * (2 / Double.pi).squareRoot() * (x + 0.044715 * x * x * x)))
    case .silu: x / (1 + Foundation.exp(-x))
    case .relu: max(0, x)
    }
  }

  private func slope(_ activation: Activation, _ x: Double) -> Double {
    // The error of the central difference is below 1e-9 on either side.
    (exact(activation, x + 1e-5) - exact(activation, x - 1e-5)) / 2e-5
  }

  @Test(arguments: [Activation.gelu, .geluTanh, .silu, .relu], [(0, 3), (1, 1), (2, 16), (3, 35), (1, 512)])
  func valuesAreThoseOfThePassAndDerivativesThoseOfTheDefinition(_ activation: Activation, _ shape: (Int, Int)) {
    var random = SeededGenerator(seed: 26)
    let (rows, columns) = shape
    let x = random.floats(rows * columns, in: -12...12)
    let up = random.floats(rows * columns)
    let bias = Matrix(1, columns, random.floats(columns))
    let plain = Matrix(rows, columns, x)
    activate(plain.strip, activation, bias: bias.strip)
    let slopes = Matrix(rows, columns, x)
    let post = Matrix(rows, columns, repeating: .nan)
    activateAndDerive(slopes.strip, activation, bias: bias.strip, into: post.strip)
    #expect(difference(post.values, plain.values) == nil)
    var both: [Float] = []
    for i in 0..<rows {
      both += x[i * columns..<(i + 1) * columns]
      both += up[i * columns..<(i + 1) * columns]
    }
    let gateUp = Matrix(rows, 2 * columns, both)
    gatedActivation(gateUp.strip, activation, into: plain.strip)
    gatedActivationAndDerive(gateUp.strip, activation, into: post.strip)
    #expect(difference(post.values, plain.values) == nil)
    let dPost = Matrix(rows, columns, random.floats(rows * columns))
    let dWide = Matrix(rows, columns, repeating: .nan)
    let dGateUp = Matrix(rows, 2 * columns, repeating: .nan)
    activationBackward(dPost.strip, derivatives: slopes.strip, into: dWide.strip)
    activationBackward(dPost.strip, derivatives: gateUp.strip, into: dGateUp.strip)
    for i in 0..<rows {
      for j in 0..<columns {
        let (gate, factor) = (Double(x[i * columns + j]), Double(up[i * columns + j]))
        let g = Double(dPost[i, j])
        #expect(abs(Double(dWide[i, j]) - g * slope(activation, Double(Float(gate) + bias[0, j]))) < 3e-6)
        #expect(abs(Double(dGateUp[i, j]) - g * factor * slope(activation, gate)) < 3e-6)
        #expect(abs(Double(dGateUp[i, columns + j]) - g * exact(activation, gate)) < 2e-6 * (1 + abs(gate)))
      }
    }
  }
}
