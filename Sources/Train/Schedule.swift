import Foundation

/// The learning rate of each step: linear from 0 to the peak (warm-up), constant, then down.
package struct Schedule: Sendable, Equatable {
  /// How it comes down.
  package enum Kind: String, Codable, Sendable, CaseIterable {
    /// Not at all.
    case constant
    /// In a line (dictionary_learning: over the last fifth).
    case linear
    /// As half a wave of the cosine, right after the warm-up where nothing else is said (e2e_sae).
    case cosine
  }

  package let kind: Kind
  package let peak: Float
  package let nSteps: Int
  package let warmupSteps: Int
  package let decaySteps: Int
  /// Share of the peak that it comes down to.
  package let floor: Float

  /// - Parameter decayFraction: share of the steps in which it comes down; nil: 0.2 for `linear`, all after the warm-up for
  ///   `cosine`. `constant` has none.
  package init(
    _ kind: Kind = .linear, peak: Float, nSteps: Int, warmupFraction: Double, decayFraction: Double? = nil,
    floor: Float = 0
  ) {
    self.kind = kind
    self.peak = peak
    self.nSteps = nSteps
    self.floor = floor
    warmupSteps = min(1000, Int(Double(nSteps) * warmupFraction))
    switch kind {
    case .constant: decaySteps = 0
    case .linear: decaySteps = Int(Double(nSteps) * (decayFraction ?? 0.2))
    case .cosine: decaySteps = decayFraction.map { Int(Double(nSteps) * $0) } ?? nSteps - warmupSteps
    }
  }

  /// Step 0 is the first; with warm-up it has 1/warmupSteps of the peak. Of a decay over D steps the last one has 1 − (D−1)/D
  /// of the way down before it, so the floor itself would be reached one step later.
  package func learningRate(step: Int) -> Float {
    if step < warmupSteps { return peak * Float(step + 1) / Float(warmupSteps) }
    let left = max(nSteps - step, 0)
    if left >= decaySteps || kind == .constant { return peak }
    let share = Float(left) / Float(decaySteps)
    let height = kind == .cosine ? (1 - Float(cos(Double.pi * Double(share)))) / 2 : share
    return peak * (floor + (1 - floor) * height)
  }
}
