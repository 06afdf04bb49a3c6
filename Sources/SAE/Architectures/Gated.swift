import Foundation
import LinearAlgebra

/// Which latents are active and how large they are, decided apart (Rajamanoharan et al. 2024, arXiv 2404.16014). With
/// z = (x − bDec)·wEncᵀ:
///
///     π_gate = z + bEnc      π_mag = exp(rMag)·z + bMag      c = [π_gate > 0] · max(π_mag, 0)
///     L = mean e² + λ · mean over tokens of Σ max(π_gate, 0) / dIn + mean (x − x̂_gate)²
///
/// where x̂_gate decodes max(π_gate, 0) with a decoder and bDec that get no gradient from it (the paper;
/// dictionary_learning's GatedSAETrainer). λ is theirs, who sum errors over dIn. SAELens lets the last term train the
/// decoder too, and multiplies π_gate by the decoder row's norm, which here is 1 unless the decoder is free. The gate has
/// no derivative: it learns from the last two terms.
///
/// Codes of training hold all entries with π_gate > 0, those with π_mag ≤ 0 with the value 0.
final class Gated: LatentRule {
  private let configuration: SAEConfiguration
  private let bGate: Parameter
  /// [1, dSAE]
  let rMag: Parameter
  /// [1, dSAE]
  let bMag: Parameter
  /// Per entry: π_gate; dLoss/dπ_gate by the reconstruction from gates; what bMag and rMag get.
  private var gates: [Float] = []
  private var toGates: [Float] = []
  private var toBias: [Float] = []
  private var toScale: [Float] = []

  init(_ configuration: SAEConfiguration, bEnc: Parameter) {
    self.configuration = configuration
    bGate = bEnc
    rMag = Parameter("r_mag", Matrix(1, configuration.dSAE))
    bMag = Parameter("b_mag", Matrix(1, configuration.dSAE))
  }

  var parameters: [Parameter] { [rMag, bMag] }
  var keepsInactive: Bool { true }

  private var magnitudes: MagnitudePath {
    MagnitudePath(gateBias: bGate.value.values, scale: rMag.value.values.map { exp($0) }, bias: bMag.value.values)
  }

  func reset(_ latents: [Int32]) {
    for latent in latents { (rMag.value[0, Int(latent)], bMag.value[0, Int(latent)]) = (0, 0) }
  }

  func selection(rows: Int, isTraining: Bool) -> CodeSelection { .positive }

  func activate(_ code: inout SparseCode, isTraining: Bool) { magnitudes.apply(to: &code, gates: &gates) }

  func addReconstruction(
    of x: Strip, _ code: SparseCode, decoder: borrowing Matrix, batchRows: Int, losses: inout StepLosses
  ) {
    var gateCode = code.replacing(values: gates)
    let residual = Matrix(uninitialized: x.rows, x.columns)
    let elements = batchRows * x.columns
    let squares = decodeResidual(&gateCode, decoder, target: x, scale: 2 / Float(elements), into: residual.strip)
    toGates = gateCode.gradients
    losses.aux += squares / Double(elements)
    losses.total += squares / Double(elements)
  }

  func backward(_ code: inout SparseCode, batchRows: Int, losses: inout StepLosses) {
    let elements = configuration.outWidth * batchRows
    let sum = magnitudes.backward(
      &code, gates: gates, toGates: toGates, slope: configuration.l1 / Float(elements), toBias: &toBias,
      toScale: &toScale)
    losses.sparsity += sum / Double(elements)
    losses.total += Double(configuration.l1) * sum / Double(elements)
  }

  func finish(_ code: SparseCode, _ index: LatentIndex, bEnc: Parameter, isFirst: Bool) {
    addUp(toBias, index, into: &bMag.gradient, accumulating: !isFirst)
    addUp(toScale, index, into: &rMag.gradient, accumulating: !isFirst)
  }

  /// The encoder's bias has so far Σ dLoss/dz; it is the gate's alone.
  func finishBatch(bEnc: Parameter) {
    for j in 0..<configuration.dSAE { bEnc.gradient[0, j] -= exp(rMag.value[0, j]) * bMag.gradient[0, j] }
  }
}
