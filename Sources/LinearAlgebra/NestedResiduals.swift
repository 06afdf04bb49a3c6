// B tokens, d width, n latents

/// Memory for the residuals of reconstructions from nested prefixes of the latents, 0..<ends[0], 0..<ends[1] and so on.
package struct NestedResiduals: Sendable {
  /// Ascending; the last is the number of latents.
  package let ends: [Int]
  /// One for each prefix, [B, d] without gaps.
  package let strips: [Strip]

  package init(ends: [Int], strips: [Strip]) {
    precondition(!ends.isEmpty && ends.count == strips.count, "\(ends.count) prefixes, \(strips.count) strips")
    precondition(ends[0] > 0 && zip(ends, ends.dropFirst()).allSatisfy { $0 < $1 }, "prefixes \(ends)")
    precondition(
      strips.allSatisfy { $0.rows == strips[0].rows && $0.columns == strips[0].columns && $0.stride == $0.columns },
      "strips of different shapes, or with gaps")
    (self.ends, self.strips) = (ends, strips)
  }

  var nLatents: Int { ends[ends.count - 1] }

  /// That of the shortest prefix with the latent.
  func strip(of latent: Int) -> Strip {
    var group = 0
    while ends[group] <= latent { group += 1 }
    return strips[group]
  }
}

/// With r_g = code·wDec − target for the latents of prefix g alone, writes to strip g the sum r_g + r_(g+1) + …, so that the
/// last is the residual of the whole, and to each entry dLoss/dValue for the loss ½·scale·Σ_g Σ r_g²: a latent is in its own
/// group's prefix and in all longer ones, hence `gradients = scale·⟨strip of its group, wDec[latent]⟩`.
///
/// One pass over a token's entries, which ascend by latent.
///
/// - Parameters:
///   - wDec: [n, d].
///   - target: [B, d].
/// - Returns: Σ r_g² of each prefix.
package func decodeNestedResiduals(
  _ code: inout SparseCode, _ wDec: borrowing Matrix, target: Strip, scale: Float, into nested: NestedResiduals
) -> [Double] {
  let (tokens, d, ends) = (target.rows, target.columns, nested.ends)
  precondition(
    wDec.columns == d && wDec.rows == code.nLatents && nested.nLatents == code.nLatents,
    "decoder [\(wDec.rows), \(wDec.columns)], prefixes \(ends) for [\(code.nLatents), \(d)]")
  precondition(
    code.rows == tokens && target.stride == d && nested.strips[0].rows == tokens && nested.strips[0].columns == d,
    "\(code.rows) rows, target [\(tokens), \(d)]")
  let (weights, targets, outs) = (wDec.base, target.base, nested.strips.map(\.base))
  let grain = 64
  let nPieces = (tokens + grain - 1) / grain
  let (starts, counts, latents, values) = (code.starts, code.counts, code.latents, code.values)
  var sums = [Double](repeating: 0, count: nPieces * ends.count)
  sums.withUnsafeMutableBufferPointer { sums in
    code.gradients.withUnsafeMutableBufferPointer { gradients in
      let shared = Shared((sums, gradients))
      Threads.forEachRange(tokens, grain: grain) { range in
        let (sums, gradients) = shared.value
        let mySums = sums.baseAddress! + range.lowerBound / grain * ends.count
        for b in range {
          let end = Int(starts[b] + counts[b])
          var entry = Int(starts[b])
          for (g, out) in outs.enumerated() {
            let row = out + b * d
            if g == 0 {
              negate(targets + b * d, into: row, count: d)
            } else {
              row.update(from: outs[g - 1] + b * d, count: d)
            }
            while entry < end && Int(latents[entry]) < ends[g] {
              accumulate(weights + Int(latents[entry]) * d, times: values[entry], into: row, count: d)
              entry += 1
            }
            mySums[g] += Double(dot(row, row, count: d))
          }
          for g in stride(from: outs.count - 1, through: 0, by: -1) {
            let row = outs[g] + b * d
            if g < outs.count - 1 { accumulate(outs[g + 1] + b * d, times: 1, into: row, count: d) }
            let start = g == 0 ? 0 : ends[g - 1]
            while entry > Int(starts[b]) && Int(latents[entry - 1]) >= start {
              entry -= 1
              gradients[entry] = scale * dot(row, weights + Int(latents[entry]) * d, count: d)
            }
          }
        }
      }
    }
  }
  return ends.indices.map { g in (0..<nPieces).reduce(0) { $0 + sums[$1 * ends.count + g] } }
}
