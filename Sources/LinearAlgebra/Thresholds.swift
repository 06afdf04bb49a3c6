import Foundation

// Kernels of rules whose codes hold entries near a threshold; n latents.

/// What is left of a code's pre-activations, in place: those not above their latent's threshold [n] become 0.
package func jump(_ code: inout SparseCode, thresholds: [Float]) {
  precondition(thresholds.count == code.nLatents, "\(thresholds.count) thresholds for \(code.nLatents) latents")
  let (starts, counts, latents) = (code.starts, code.counts, code.latents)
  code.values.withUnsafeMutableBufferPointer { values in
    let values = Shared(values)
    Threads.forEachRange(counts.count, grain: 256) { range in
      for b in range {
        for entry in Int(starts[b])..<Int(starts[b] + counts[b])
        where values.value[entry] <= thresholds[Int(latents[entry])] {
          values.value[entry] = 0
        }
      }
    }
  }
}

/// Adds to `code.gradients` those of factor · Σ tanh(scale · c). Returns Σ tanh(scale · c).
package func addTanhGradients(_ code: inout SparseCode, scale: Float, times factor: Float) -> Double {
  let (starts, counts, values) = (code.starts, code.counts, code.values)
  return code.gradients.withUnsafeMutableBufferPointer { gradients in
    let gradients = Shared(gradients)
    return reduce(counts.count, grain: 256) { range in
      var sum = 0.0
      for b in range {
        for entry in Int(starts[b])..<Int(starts[b] + counts[b]) {
          let t = Foundation.tanh(scale * values[entry])
          gradients.value[entry] += factor * scale * (1 - t * t)
          sum += Double(t)
        }
      }
      return sum
    }
  }
}

/// Moves the gradients of a code's entries to where the straight-through estimator of a threshold's step of width
/// `bandwidth` takes them: those of entries that are not active (value 0) leave `code.gradients`, and those of all within
/// half a bandwidth of their threshold are what `toThresholds` holds, with 1 in `inBand`; elsewhere both are 0. Entries
/// that are not active are within it.
///
/// - Returns: the number of active entries.
package func splitAtThresholds(
  _ code: inout SparseCode, thresholds: [Float], bandwidth: Float, toThresholds: inout [Float], inBand: inout [Float]
) -> Int {
  precondition(thresholds.count == code.nLatents, "\(thresholds.count) thresholds for \(code.nLatents) latents")
  let (starts, counts, latents, values) = (code.starts, code.counts, code.latents, code.values)
  let capacity = code.gradients.count
  if toThresholds.count < capacity { toThresholds = [Float](repeating: 0, count: capacity) }
  if inBand.count < capacity { inBand = [Float](repeating: 0, count: capacity) }
  let nActive = code.gradients.withUnsafeMutableBufferPointer { gradients in
    toThresholds.withUnsafeMutableBufferPointer { toThresholds in
      inBand.withUnsafeMutableBufferPointer { inBand in
        let shared = Shared((gradients, toThresholds, inBand))
        return reduce(counts.count, grain: 256) { range in
          let (gradients, toThresholds, inBand) = shared.value
          var active = 0
          for b in range {
            for entry in Int(starts[b])..<Int(starts[b] + counts[b]) {
              let isActive = values[entry] > 0
              let isNear = !isActive || (values[entry] - thresholds[Int(latents[entry])]) / bandwidth < 0.5
              toThresholds[entry] = isNear ? gradients[entry] : 0
              inBand[entry] = isNear ? 1 : 0
              if isActive { active += 1 } else { gradients[entry] = 0 }
            }
          }
          return Double(active)
        }
      }
    }
  }
  return Int(nActive)
}

/// sums[j] (+)= Σ of `terms` of the entries of latent j, one term per entry of a code. sums: [1, n]; overwritten unless
/// `accumulating`.
package func addUp(_ terms: [Float], _ index: LatentIndex, into sums: inout Matrix, accumulating: Bool) {
  precondition(sums.count == index.starts.count - 1, "\(sums.count) sums for \(index.starts.count - 1) latents")
  let base = sums.base
  Threads.forEachRange(sums.count, grain: 256) { range in
    for j in range {
      var sum: Float = accumulating ? base[j] : 0
      for use in Int(index.starts[j])..<Int(index.starts[j + 1]) { sum += terms[Int(index.entries[use])] }
      base[j] = sum
    }
  }
}
