import LinearAlgebra

extension SparseAutoencoder {
  /// Whether the next step works on a full matrix of latents; a function of the steps before, kept in checkpoints.
  func isDense(_ rule: any DenseLatentRule) -> Bool {
    rule.isDenseCapable && min(activity.activeFraction, rule.mostActive) > rule.denseShare
  }

  /// The step of `computeGradients` by matrix products, over 1,024 tokens at a time. Fills the residual, the gradients of
  /// wEnc, bEnc and the decoder's rows; returns Σ residual², and on how many tokens each latent was active.
  func denseStep(
    _ rule: any DenseLatentRule, scale: Float, losses: inout StepLosses
  ) -> (squares: Double, uses: [Int]) {
    let tokens = workspace.centred.rows
    let n = configuration.dSAE
    let chunk = min(tokens, 1024)
    var sum = 0.0
    var uses = [Int](repeating: 0, count: n)
    workspace.residual.strip.assign(target)
    workspace.residual.scale(by: -1)
    workspace.reserveDense(rows: chunk, nLatents: n)
    for start in stride(from: 0, to: tokens, by: chunk) {
      let range = start..<min(start + chunk, tokens)
      workspace.reserveDense(rows: range.count, nLatents: n)
      let all = 0..<range.count
      gemm(workspace.centred, rows: range, wEnc.value, into: &workspace.acts, rows: all, transposeB: true)
      sum += rule.activate(dense: &workspace.acts, bias: bEnc.value).sum
      for (j, count) in rule.uses(dense: workspace.acts).enumerated() { uses[j] += Int(count) }
      onPhase?(.encode)
      withDecoder { decoder in
        gemm(workspace.acts, rows: all, decoder, into: &workspace.residual, rows: range, accumulating: true)
        gemm(
          workspace.residual, rows: range, decoder, into: &workspace.dActs, rows: all, transposeB: true, alpha: scale)
      }
      onPhase?(.decode)
      rule.backward(dense: &workspace.dActs, acts: workspace.acts, batchRows: tokens)
      onPhase?(.rule)
      let accumulating = start > 0
      gemm(
        workspace.acts, rows: all, workspace.residual, rows: range, into: &wDec.gradient, rows: 0..<n, transposeA: true,
        alpha: scale, accumulating: accumulating)
      gemm(
        workspace.dActs, rows: all, workspace.centred, rows: range, into: &dEnc.gradient, rows: 0..<n, transposeA: true,
        accumulating: accumulating)
      let dBias = columnSums(workspace.dActs)
      if accumulating { bEnc.gradient.add(dBias) } else { bEnc.gradient = dBias }
      onPhase?(.gradients)
    }
    losses.l1 = sum / Double(tokens * configuration.outWidth)
    rule.addLosses(sum: sum, batchRows: tokens, to: &losses)
    return (sumOfSquares(workspace.residual), uses)
  }
}
