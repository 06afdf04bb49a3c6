import LinearAlgebra

/// c = pre where pre > θ, else 0, with a trained threshold θ ≥ 0 per latent (Rajamanoharan et al. 2024, arXiv
/// 2407.14435). With L0 the mean number of active latents of a token, the penalty is one of
///
///     step      λ · L0 / dIn                                     (the paper; SAELens' `step`)
///     tanh      λ · mean over tokens of Σ tanh(s · c) / dIn      (Anthropic, January 2025; SAELens' `tanh`)
///     target    λ · (L0 / T − 1)² / dIn                          (dictionary_learning, whose L0 is the batch's mean)
///
/// so λ is theirs: they sum errors over dIn. SAELens' `quadratic` is per token instead. A step has no derivative: as in
/// the paper and SAELens, with the rectangle K(u) = 1 for |u| < ½ and the bandwidth ε,
///
///     ∂c/∂θ = −θ/ε · K((pre − θ)/ε)        ∂[pre > θ]/∂θ = −1/ε · K((pre − θ)/ε)
///
/// and none with respect to pre but that of active latents. dictionary_learning applies its step to c, so that there
/// only active latents near θ count in the second; we count both sides. Thresholds below 0 are set to 0 before each step
/// (SAELens).
///
/// Codes of training hold all entries with pre > θ − ε/2; those not active have the value 0.
final class JumpReLU: LatentRule {
  private let configuration: SAEConfiguration
  /// θ, [1, dSAE].
  let threshold: Parameter
  /// Per entry: what its threshold gets, and 1 where it is within the band.
  private var toThresholds: [Float] = []
  private var inBand: [Float] = []
  /// Σ of both by latent, over the batch.
  private var gradientSums: Matrix
  private var bandCounts: Matrix
  /// Derivative of the whole penalty with respect to the number of active entries of the batch.
  private var slope: Float = 0

  init(_ configuration: SAEConfiguration) {
    self.configuration = configuration
    let n = configuration.dSAE
    threshold = Parameter("threshold", Matrix(1, n, repeating: configuration.initialThreshold))
    gradientSums = Matrix(1, n)
    bandCounts = Matrix(1, n)
  }

  var parameters: [Parameter] { [threshold] }
  var keepsInactive: Bool { true }
  /// A step may have left thresholds below 0, where the next would have set them to 0.
  var thresholds: [Float]? { threshold.value.values.map { max($0, 0) } }

  func reset(_ latents: [Int32]) {
    for latent in latents { threshold.value[0, Int(latent)] = configuration.initialThreshold }
  }

  func begin(step: Int, of nSteps: Int) {
    threshold.value = Matrix(1, configuration.dSAE, threshold.value.values.map { max($0, 0) })
  }

  func selection(rows: Int, isTraining: Bool) -> CodeSelection {
    let band = configuration.bandwidth / 2
    return .above(isTraining ? threshold.value.values.map { $0 - band } : thresholds ?? [])
  }

  func activate(_ code: inout SparseCode, isTraining: Bool) {
    if isTraining { jump(&code, thresholds: threshold.value.values) }
  }

  func backward(_ code: inout SparseCode, batchRows: Int, losses: inout StepLosses) {
    let perUnit = 1 / Double(configuration.outWidth * batchRows)
    let lambda = Double(configuration.l0)
    if configuration.targetL0 == nil, configuration.sparsity == .tanh {
      let sum = addTanhGradients(&code, scale: configuration.tanhScale, times: Float(lambda * perUnit))
      losses.sparsity += sum * perUnit
      losses.total += lambda * sum * perUnit
      slope = 0
    }
    let nActive = splitAtThresholds(
      &code, thresholds: threshold.value.values, bandwidth: configuration.bandwidth, toThresholds: &toThresholds,
      inBand: &inBand)
    // The parts of a batch add up here; the step itself sets the same number in the end.
    losses.l0 += Double(nActive) / Double(batchRows)
    if let target = configuration.targetL0.map(Double.init) {
      let excess = losses.l0 / target - 1
      let penalty = excess * excess / Double(configuration.outWidth)
      losses.total += lambda * (penalty - losses.sparsity)
      losses.sparsity = penalty
      slope = Float(lambda * 2 * excess / target * perUnit)
    } else if configuration.sparsity == .step {
      losses.sparsity += Double(nActive) * perUnit
      losses.total += lambda * Double(nActive) * perUnit
      slope = Float(lambda * perUnit)
    }
  }

  func finish(_ code: SparseCode, _ index: LatentIndex, bEnc: Parameter, isFirst: Bool) {
    addUp(toThresholds, index, into: &gradientSums, accumulating: !isFirst)
    addUp(inBand, index, into: &bandCounts, accumulating: !isFirst)
  }

  func finishBatch(bEnc: Parameter) {
    let factor = -1 / configuration.bandwidth
    for j in 0..<configuration.dSAE {
      threshold.gradient[0, j] = factor * (threshold.value[0, j] * gradientSums[0, j] + slope * bandCounts[0, j])
    }
  }
}
