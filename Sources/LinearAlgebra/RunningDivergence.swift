import Foundation

/// KL(p ‖ q) of a row, from tiles of the logits a of the teacher and z of the student.
///
/// With u = a − z, c = log Σ e^a − log Σ e^z, any reference u₀, w = u − u₀ and t = u₀ − c,
///
///     KL = E_p[w] + t = E_p[w − 1 + e^−w] − (e^t − 1 − t)
///
/// In the first form parts of the size of w cancel, in the second of that of w². The second keeps the digits of a small
/// KL if w is small where p is large: u₀ is the u of the teacher's likeliest token so far.
struct RunningDivergence {
  /// u of the teacher's likeliest token.
  private var ofTop = 0.0
  /// u₀
  private var reference = 0.0
  /// Σ e^(a − top)·w
  private var first = 0.0
  /// Σ e^(a − top)·(w − 1 + e^−w)
  private var second = 0.0

  /// The teacher has a new likeliest token: `factor` brings sums to its scale, `u` is its difference.
  @inline(__always) mutating func raise(by factor: Double, u: Float) {
    first *= factor
    second *= factor
    ofTop = Double(u)
  }

  /// Replaces the student's logits z of a tile by e^(z − top) and adds them.
  ///
  /// - Parameters:
  ///   - a: the teacher's logits.
  ///   - y: its e^(a − top).
  ///   - teacher: its sum before this tile, with the largest logit of this tile.
  ///   - student: as the teacher's; becomes the sum after this tile.
  @inline(__always)
  mutating func add(
    _ a: UnsafePointer<Float>, _ y: UnsafePointer<Float>, _ z: UnsafeMutablePointer<Float>, _ count: Int,
    teacher: RunningSum, student: inout RunningSum
  ) {
    let apart = Double(student.top) - Double(teacher.top)
    // The bound keeps e^−w of tokens that the student alone finds likely near the sums' other parts.
    let wanted = min(ofTop, 1 - apart)
    let kappa = exp(wanted + apart)
    if wanted != reference {
      let step = (wanted - reference) * teacher.sum
      first -= step
      second += (kappa - exp(reference + apart)) * student.sum - step
      reference = wanted
    }
    let shift = Lanes(repeating: student.top)
    let (u, k) = (Lanes(repeating: Float(reference)), Lanes(repeating: Float(kappa)))
    var (total, one, two) = (Lanes.zero, Lanes.zero, Lanes.zero)
    for i in stride(from: 0, to: count, by: 16) {
      let logit = z.lanes(at: i)
      let p = y.lanes(at: i)
      let x = expOfNonPositive(logit - shift)
      let w = a.lanes(at: i) - logit - u
      z.store(x, at: i)
      total += x
      one.addProduct(p, w)
      // e^−w = κ·x/p; for small w by its series, as 1 − w cancels it.
      let plain = (k * x).addingProduct(p, w - 1)
      let series = p * w * w * secondOrder(w)
      two += plain.replacing(with: series, where: abs(w) .< 0.5)
    }
    student.sum += Double(total.total)
    first += Double(one.total)
    second += Double(two.total)
  }

  func value(teacher: RunningSum, student: RunningSum) -> Double {
    let t = reference - (teacher.logSum - student.logSum)
    let plain = first / teacher.sum + t
    let exact = second / teacher.sum - (expm1(t) - t)
    // Rounding leaves plain values some 1e-7 off.
    if plain > 0.1 || !exact.isFinite { return plain }
    return exact < 0 ? 0 : exact
  }
}

/// (w − 1 + e^−w)/w² for |w| ≤ ½, to 5e-8 of it.
@inline(__always) private func secondOrder(_ w: Lanes) -> Lanes {
  var p = Lanes(repeating: 1 / 40320)
  p = Lanes(repeating: -1 / 5040).addingProduct(p, w)
  p = Lanes(repeating: 1 / 720).addingProduct(p, w)
  p = Lanes(repeating: -1 / 120).addingProduct(p, w)
  p = Lanes(repeating: 1 / 24).addingProduct(p, w)
  p = Lanes(repeating: -1 / 6).addingProduct(p, w)
  return Lanes(repeating: 1 / 2).addingProduct(p, w)
}
