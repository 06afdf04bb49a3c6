import LinearAlgebra

extension SparseAutoencoder {
  /// Share of active latents above which matrix products beat the sparse kernels (`isDense`); measured at
  /// d 768, n 24,576 and d 64, n 512, see docs/design.md.
  static var denseFraction: Double { 1 / 16 }

  /// Whether the next step works on a full matrix of latents; a function of the steps before, kept in checkpoints.
  var isDense: Bool {
    configuration.architecture == .relu && activeFraction > Self.denseFraction
  }

  /// The ReLU step of `computeGradients` by matrix products, over 1,024 tokens at a time. Fills the residual, the
  /// gradients of wEnc, bEnc and wDec; returns Σ residual², Σ|c|, the number of active entries, and on how many tokens each latent was
  /// active.
  func denseStep(penalty: Float, scale: Float) -> (squares: Double, sum: Double, nActive: Int, uses: [Int]) {
    let tokens = workspace.centred.rows
    let n = configuration.dSAE
    let chunk = min(tokens, 1024)
    var (sum, nActive) = (0.0, 0)
    var uses = [Int](repeating: 0, count: n)
    workspace.residual.assign(workspace.centred)
    workspace.residual.scale(by: -1)
    var acts = Matrix(uninitialized: chunk, n)
    var dActs = Matrix(uninitialized: chunk, n)
    for start in stride(from: 0, to: tokens, by: chunk) {
      let range = start..<min(start + chunk, tokens)
      if range.count != acts.rows {
        acts = Matrix(uninitialized: range.count, n)
        dActs = Matrix(uninitialized: range.count, n)
      }
      let all = 0..<range.count
      gemm(workspace.centred, rows: range, wEnc.value, into: &acts, rows: all, transposeB: true)
      let part = rectify(&acts, bias: bEnc.value)
      sum += part.sum
      nActive += part.nActive
      for (j, count) in positiveCounts(acts).enumerated() { uses[j] += Int(count) }
      gemm(acts, rows: all, wDec.value, into: &workspace.residual, rows: range, accumulating: true)
      gemm(workspace.residual, rows: range, wDec.value, into: &dActs, rows: all, transposeB: true, alpha: scale)
      maskGradient(&dActs, where: acts, offset: penalty)
      let accumulating = start > 0
      gemm(
        acts, rows: all, workspace.residual, rows: range, into: &wDec.gradient, rows: 0..<n, transposeA: true,
        alpha: scale, accumulating: accumulating)
      gemm(
        dActs, rows: all, workspace.centred, rows: range, into: &wEnc.gradient, rows: 0..<n, transposeA: true,
        accumulating: accumulating)
      let dBias = columnSums(dActs)
      if accumulating { bEnc.gradient.add(dBias) } else { bEnc.gradient = dBias }
    }
    return (sumOfSquares(workspace.residual), sum, nActive, uses)
  }
}
