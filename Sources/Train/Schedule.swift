/// The learning rate of each step: linear from 0 to the peak, constant, linear to 0.
package struct Schedule: Sendable, Equatable {
  package let peak: Float
  package let nSteps: Int
  package let warmupSteps: Int
  package let decaySteps: Int

  package init(peak: Float, nSteps: Int, warmupFraction: Double, decayFraction: Double) {
    self.peak = peak
    self.nSteps = nSteps
    warmupSteps = min(1000, Int(Double(nSteps) * warmupFraction))
    decaySteps = Int(Double(nSteps) * decayFraction)
  }

  /// Step 0 is the first; with warm-up it has 1/warmupSteps of the peak, the last step of a decay 1/decaySteps.
  package func learningRate(step: Int) -> Float {
    if step < warmupSteps { return peak * Float(step + 1) / Float(warmupSteps) }
    let left = nSteps - step
    if left <= decaySteps { return peak * Float(max(left, 0)) / Float(decaySteps) }
    return peak
  }

  /// 2e-4 / √(n / 2¹⁴): the rule of dictionary_learning and sparsify after Gao et al. 2024 (peak ∝ 1/√n).
  package static func defaultPeak(dSAE: Int) -> Float { 2e-4 / (Float(dSAE) / 16_384).squareRoot() }
}
