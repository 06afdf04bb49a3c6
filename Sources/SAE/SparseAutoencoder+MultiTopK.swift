import LinearAlgebra

extension SparseAutoencoder {
  /// Weight of the wider code's error beside that of the code.
  static var wideWeight: Float { 1 / 8 }

  /// The step of `computeGradients` with Multi-TopK: L(k) + L(4k)/8 (Gao et al. 2024, A.6), both mean e². One product with
  /// the encoder serves both codes. sparsify (`multi_topk`) has the same sum with both divided by the batch's variance per
  /// element, as FVU. `losses.sparsity` is L(4k).
  func multiTopKStep(_ widerK: Int, scale: Float, losses: inout StepLosses) -> (squares: Double, uses: [Int]) {
    guard case .topK(let k) = rule.selection(rows: workspace.centred.rows, isTraining: true) else {
      preconditionFailure("a wider code for another selection than the k largest of a token")
    }
    encodeLatents(
      workspace.centred.strip, wEnc.value, bias: bEnc.value, selecting: .topK(widerK), into: &workspace.wideCode)
    workspace.code.assign(largest: k, ofEachRowOf: workspace.wideCode)
    onPhase?(.encode)
    var uses = [Int](repeating: 0, count: configuration.dSAE)
    let narrow = decode(0..<workspace.centred.rows, scale: scale, uses: &uses, losses: &losses)

    workspace.reserveWide(rows: workspace.centred.rows, width: configuration.outWidth)
    let squares = withDecoder {
      decodeResidual(
        &workspace.wideCode, $0, target: target, scale: scale * Self.wideWeight,
        into: workspace.wideResidual.strip)
    }
    onPhase?(.decode)
    weightGradients(
      workspace.wideCode, workspace.wideCode.byLatent(), residual: workspace.wideResidual.strip,
      scale: scale * Self.wideWeight, x: workspace.centred.strip, dDec: &wDec.gradient, dEnc: &wEnc.gradient,
      dBias: &bEnc.gradient, accumulating: true)
    onPhase?(.gradients)
    losses.sparsity = squares / Double(workspace.residual.count)
    losses.total += Double(Self.wideWeight) * losses.sparsity
    return (narrow, uses)
  }
}
