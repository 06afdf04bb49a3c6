import Foundation

/// Adds to `code.gradients` those of factor · Σ over tokens of ‖c‖_p, (Σ_i |c_i|^p)^(1/p), for positive values c.
/// Returns Σ over tokens of ‖c‖_p. With `isPower` both are of ‖c‖_p^p.
///
///     ∂‖c‖_p / ∂c_i = (c_i / ‖c‖_p)^(p − 1)      ∂‖c‖_p^p / ∂c_i = p · c_i^(p − 1)
package func addNormGradients(
  _ code: inout SparseCode, p: Float, isPower: Bool = false, times factor: Float
) -> Double {
  let (starts, counts, values) = (code.starts, code.counts, code.values)
  return code.gradients.withUnsafeMutableBufferPointer { gradients in
    let gradients = Shared(gradients)
    return reduce(counts.count, grain: 256) { range in
      var sum = 0.0
      for b in range {
        let entries = Int(starts[b])..<Int(starts[b] + counts[b])
        if p == 1 {
          var norm: Float = 0
          for entry in entries {
            norm += values[entry]
            gradients.value[entry] += factor
          }
          sum += Double(norm)
        } else {
          var powers: Float = 0
          for entry in entries { powers += pow(values[entry], p) }
          if powers == 0 { continue }
          if isPower {
            for entry in entries { gradients.value[entry] += factor * p * pow(values[entry], p - 1) }
            sum += Double(powers)
            continue
          }
          let norm = pow(powers, 1 / p)
          for entry in entries { gradients.value[entry] += factor * pow(values[entry] / norm, p - 1) }
          sum += Double(norm)
        }
      }
      return sum
    }
  }
}

/// Σ over tokens of ‖c‖_p, or of ‖c‖_p^p, for positive values c.
package func sumOfNorms(_ code: SparseCode, p: Float, isPower: Bool = false) -> Double {
  reduce(code.rows, grain: 256) { range in
    range.reduce(0.0) { sum, b in
      var powers: Float = 0
      for entry in Int(code.starts[b])..<Int(code.starts[b] + code.counts[b]) { powers += pow(code.values[entry], p) }
      return sum + Double(isPower || powers == 0 ? powers : pow(powers, 1 / p))
    }
  }
}
