import Foundation

/// cos and sin of every rotary angle: angle(position, i) = position·θ^(−2i/R), computed in f32 like the reference
/// implementation (transformers, `compute_default_rope_parameters`).
package final class RotaryTable: Sendable {
  /// [positions, R/2] each.
  let cosines: Matrix
  let sines: Matrix
  /// R, how many leading components of a head are rotated; even.
  package let nRotary: Int
  package var nPositions: Int { cosines.rows }

  package init(nPositions: Int, nRotary: Int, theta: Float) {
    precondition(nRotary >= 0 && nRotary % 2 == 0, "\(nRotary) rotary components")
    self.nRotary = nRotary
    let half = nRotary / 2
    let frequencies = (0..<half).map { 1 / powf(theta, Float(2 * $0) / Float(nRotary)) }
    let cosines = Matrix(uninitialized: nPositions, half)
    let sines = Matrix(uninitialized: nPositions, half)
    for position in 0..<nPositions {
      for i in 0..<half {
        let angle = Double(Float(position) * frequencies[i])
        cosines.base[position * half + i] = Float(Foundation.cos(angle))
        sines.base[position * half + i] = Float(Foundation.sin(angle))
      }
    }
    self.cosines = cosines
    self.sines = sines
  }
}

/// Rotary position embedding of one sequence, in place, in the half-split layout: component i is paired with
/// component i + R/2 (Su et al. 2021, in the order used by GPT-NeoX and by Llama's Hugging Face files).
///
/// - Parameters:
///   - x: [positions, …]: row p is position p; heads of `dHead` columns follow one another from column 0.
///   - nHeads: how many heads to rotate (queries and keys).
///   - isInverse: rotate by the negative angles, which takes the gradient of rotated values to that of the values.
package func rotate(_ x: Strip, nHeads: Int, dHead: Int, _ table: RotaryTable, isInverse: Bool = false) {
  let half = table.nRotary / 2
  precondition(x.rows <= table.nPositions, "\(x.rows) positions, the table has \(table.nPositions)")
  precondition(table.nRotary <= dHead && nHeads * dHead <= x.columns, "\(nHeads) heads of \(dHead) in \(x.columns)")
  let whole = half & ~15
  let sign: Float = isInverse ? -1 : 1
  for position in 0..<x.rows {
    let cosine = UnsafePointer(table.cosines.base + position * half)
    let sine = UnsafePointer(table.sines.base + position * half)
    for head in 0..<nHeads {
      let a = x.row(position) + head * dHead
      let b = a + half
      for i in stride(from: 0, to: whole, by: 16) {
        let (c, s, u, v) = (cosine.lanes(at: i), sine.lanes(at: i) * sign, a.lanes(at: i), b.lanes(at: i))
        a.store(u * c - v * s, at: i)
        b.store(v * c + u * s, at: i)
      }
      for i in whole..<half {
        let (c, s, u, v) = (cosine[i], sine[i] * sign, a[i], b[i])
        a[i] = u * c - v * s
        b[i] = v * c + u * s
      }
    }
  }
}
