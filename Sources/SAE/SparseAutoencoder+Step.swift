import LinearAlgebra

/// The losses of one batch, in the units of docs/design.md.
package struct StepLosses: Sendable, Equatable {
  /// Mean over tokens and elements of (x − x̂)².
  package var mse = 0.0
  /// Σ‖x − x̂‖² / Σ‖x − mean‖² of the batch; 0 where all its tokens are equal.
  package var fvu = 0.0
  /// Mean over tokens of ‖c‖₁ / dIn, without λ.
  package var l1 = 0.0
  /// ‖e − ê‖² / ‖e − mean e‖²; 0 while no latent is dead.
  package var aux = 0.0
  /// What is minimised.
  package var total = 0.0
  /// Active latents per token.
  package var l0 = 0.0
  package var nDead = 0
}

extension SparseAutoencoder {
  /// Losses of the batch `x` [B, dIn] and their gradients in the parameters' `gradient`; counts the latents' activity.
  ///
  ///     L = mean e² + λ · mean‖c‖₁/dIn                       relu
  ///     L = mean e² + α · ‖e − ê‖² / ‖e − mean e‖²           topk; e detached, ê = c_dead·wDec without bDec
  ///
  /// Exact: selection and ReLU masks are constants of the step, as in autograd.
  package func computeGradients(_ x: borrowing Matrix) -> StepLosses {
    let (tokens, d) = (x.rows, configuration.dIn)
    precondition(x.columns == d && tokens > 0, "batch [\(tokens), \(x.columns)] for dIn \(d)")
    if workspace.centred.rows != tokens {
      workspace.centred = Matrix(tokens, d)
      workspace.residual = Matrix(tokens, d)
    }
    center(x, by: bDec.value, into: &workspace.centred)
    var losses = StepLosses()
    let scale = 2 / Float(tokens * d)
    let penalty = configuration.architecture == .relu ? configuration.l1 / Float(d * tokens) : 0
    let (squares, sum, nActive, uses) =
      isDense ? denseStep(penalty: penalty, scale: scale) : sparseStep(penalty: penalty, scale: scale)
    losses.mse = squares / Double(tokens * d)
    let variance = totalVariance(x)
    losses.fvu = variance > 0 ? squares / variance : 0
    losses.l0 = Double(nActive) / Double(tokens)
    losses.l1 = sum / Double(tokens * d)
    losses.total = losses.mse
    if configuration.architecture == .relu { losses.total += Double(configuration.l1) * losses.l1 }

    let dead = deadLatents
    losses.nDead = dead.count
    if configuration.architecture == .topk && configuration.auxCoefficient > 0 && !dead.isEmpty {
      losses.aux = addAuxGradients(dead: dead)
      losses.total += Double(configuration.auxCoefficient) * losses.aux
    }
    // bDec is added to x̂ and taken from the encoder's input.
    var dBias = columnSums(workspace.residual)
    dBias.scale(by: scale)
    dBias.add(weightedRowSum(bEnc.gradient, wEnc.value), times: -1)
    bDec.gradient = dBias

    activeFraction = losses.l0 / Double(configuration.dSAE)
    for j in 0..<configuration.dSAE { tokensSinceActive[j] = uses[j] > 0 ? 0 : tokensSinceActive[j] + tokens }
    workspace.uses = uses
    return losses
  }

  /// Adds, for each latent, on how many tokens of the last batch it was active.
  package func addUses(to counts: inout [Int]) {
    for (j, uses) in workspace.uses.enumerated() { counts[j] += uses }
  }

  /// Encode, decode and the gradients of wEnc, bEnc and wDec on active latents only. Fills the residual; returns
  /// Σ residual², Σ|c|, the number of active entries, and on how many tokens each latent was active.
  private func sparseStep(
    penalty: Float, scale: Float
  ) -> (squares: Double, sum: Double, nActive: Int, uses: [Int]) {
    encodeLatents(
      workspace.centred, wEnc.value, bias: bEnc.value, selecting: configuration.selection, into: &workspace.code)
    let squares = decodeResidual(
      &workspace.code, wDec.value, target: workspace.centred, scale: scale, offset: penalty, into: &workspace.residual)
    let index = workspace.code.byLatent()
    weightGradients(
      workspace.code, index, residual: workspace.residual, scale: scale, x: workspace.centred,
      dDec: &wDec.gradient, dEnc: &wEnc.gradient, dBias: &bEnc.gradient)
    return (
      squares, workspace.code.sumOfValues, workspace.code.nActive,
      (0..<configuration.dSAE).map { index.uses(of: $0) }
    )
  }

  /// AuxK (Gao et al. 2024, A.2): the kAux largest dead latents of each token reconstruct the residual e = x − x̂.
  /// Adds to the gradients of encoder and decoder; returns the loss without its coefficient.
  private func addAuxGradients(dead: [Int32]) -> Double {
    let tokens = workspace.centred.rows
    let variance = totalVariance(workspace.residual)
    guard variance > 0 else { return 0 }
    let encoder = wEnc.value.gather(rows: dead)
    let decoder = wDec.value.gather(rows: dead)
    let bias = Matrix(1, dead.count, dead.map { bEnc.value[0, Int($0)] })
    var code = SparseCode(nLatents: dead.count)
    encodeLatents(
      workspace.centred, encoder, bias: bias, selecting: .topK(min(configuration.kAux, dead.count)), into: &code)
    // The kept residual is x̂ − x; e has the other sign.
    var target = workspace.residual.copy()
    target.scale(by: -1)
    let scale = Float(2 * Double(configuration.auxCoefficient) / variance)
    var auxResidual = Matrix(uninitialized: tokens, configuration.dIn)
    let squares = decodeResidual(&code, decoder, target: target, scale: scale, into: &auxResidual)
    weightGradients(
      code, code.byLatent(), rows: dead, residual: auxResidual, scale: scale, x: workspace.centred,
      dDec: &wDec.gradient, dEnc: &wEnc.gradient, dBias: &bEnc.gradient, accumulating: true)
    return squares / variance
  }
}
