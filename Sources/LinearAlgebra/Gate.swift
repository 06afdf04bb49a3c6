import Foundation

// Kernels of a gated code; n latents. z is the product of encoder and input, π_gate = z + gateBias.

/// What the magnitude path of a gated SAE does to z: max(scale·z + bias, 0).
package struct MagnitudePath: Sendable {
  /// All [n].
  let gateBias, scale, bias: [Float]

  package init(gateBias: [Float], scale: [Float], bias: [Float]) {
    precondition(gateBias.count == scale.count && scale.count == bias.count, "\(scale.count) scales")
    (self.gateBias, self.scale, self.bias) = (gateBias, scale, bias)
  }

  /// `code.values`: from π_gate, all positive, to latents; `gates` gets what they were.
  package func apply(to code: inout SparseCode, gates: inout [Float]) {
    precondition(scale.count == code.nLatents, "\(scale.count) scales for \(code.nLatents) latents")
    let (starts, counts, latents) = (code.starts, code.counts, code.latents)
    gates = code.values
    code.values.withUnsafeMutableBufferPointer { values in
      let values = Shared(values)
      Threads.forEachRange(counts.count, grain: 256) { range in
        for b in range {
          for entry in Int(starts[b])..<Int(starts[b] + counts[b]) {
            let j = Int(latents[entry])
            values.value[entry] = max(scale[j].product(values.value[entry] - gateBias[j], plus: bias[j]), 0)
          }
        }
      }
    }
  }

  /// `code.gradients`: from dLoss/dLatent to dLoss/dz, by both paths. `toGates` holds dLoss/dπ_gate but for `slope`, which
  /// is added to every entry. `toBias` and `toScale` get dLoss/dBias and dLoss/d(log scale), per entry.
  ///
  /// - Returns: Σ π_gate.
  package func backward(
    _ code: inout SparseCode, gates: [Float], toGates: [Float], slope: Float, toBias: inout [Float],
    toScale: inout [Float]
  ) -> Double {
    let (starts, counts, latents, values) = (code.starts, code.counts, code.latents, code.values)
    let capacity = code.gradients.count
    if toBias.count < capacity { toBias = [Float](repeating: 0, count: capacity) }
    if toScale.count < capacity { toScale = [Float](repeating: 0, count: capacity) }
    return code.gradients.withUnsafeMutableBufferPointer { gradients in
      toBias.withUnsafeMutableBufferPointer { toBias in
        toScale.withUnsafeMutableBufferPointer { toScale in
          let shared = Shared((gradients, toBias, toScale))
          return reduce(counts.count, grain: 256) { range in
            let (gradients, toBias, toScale) = shared.value
            var sum = 0.0
            for b in range {
              for entry in Int(starts[b])..<Int(starts[b] + counts[b]) {
                let j = Int(latents[entry])
                let magnitude = values[entry] > 0 ? gradients[entry] : 0
                toBias[entry] = magnitude
                toScale[entry] = magnitude * scale[j] * (gates[entry] - gateBias[j])
                gradients[entry] = toGates[entry] + slope + scale[j] * magnitude
                sum += Double(gates[entry])
              }
            }
            return sum
          }
        }
      }
    }
  }
}

extension Float {
  @inline(__always) fileprivate func product(_ x: Float, plus y: Float) -> Float { y.addingProduct(self, x) }
}
