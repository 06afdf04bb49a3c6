import LinearAlgebra

extension SparseAutoencoder {
  ///     L = mean e² + the rule's penalty + α · ‖e − ê‖² / ‖e − mean e‖²
  ///
  /// where mean e² is that of several reconstructions if the rule has prefixes or a wider code,
  /// with e = x − x̂ detached in the last term (AuxK), ê = c_dead·wDec without bDec. Exact: which latents are selected is a
  /// constant of the step, as in autograd.
  package func computeGradients(_ x: borrowing Matrix) -> StepLosses {
    let (tokens, d) = (x.rows, configuration.dIn)
    precondition(x.columns == d && tokens > 0, "batch [\(tokens), \(x.columns)] for dIn \(d)")
    workspace.reserve(tokens: tokens, width: d)
    center(x, by: bDec.value, into: &workspace.centred)
    normalizeDecoder()
    var losses = StepLosses()
    let scale = 2 / Float(tokens * d)
    let (squares, uses): (Double, [Int])
    var outputs = [OutputGradient(scale: scale, strip: workspace.residual.strip)]
    if let rule = rule as? any DenseLatentRule, isDense(rule) {
      (squares, uses) = denseStep(rule, scale: scale, losses: &losses)
    } else if let nested = nestedResiduals() {
      (squares, uses) = nestedStep(nested, scale: scale, losses: &losses)
      outputs = [OutputGradient(scale: scale / Float(nested.strips.count), strip: nested.strips[0])]
    } else if let wider = rule.widerK {
      (squares, uses) = multiTopKStep(wider, scale: scale, losses: &losses)
      outputs.append(OutputGradient(scale: scale * Self.wideWeight, strip: workspace.wideResidual.strip))
    } else {
      encodeBatch()
      (squares, uses) = sparseStep(scale: scale, losses: &losses)
    }
    losses.mse = squares / Double(tokens * d)
    let variance = totalVariance(x)
    losses.fvu = variance > 0 ? squares / variance : 0
    losses.total += losses.mse
    finish(outputs, uses: uses, usesResidual: true, losses: &losses)
    return losses
  }

  package func forward(_ x: borrowing Matrix, into recon: inout Matrix) {
    let d = configuration.dIn
    precondition(
      x.columns == d && x.rows > 0 && recon.rows == x.rows && recon.columns == d,
      "batch [\(x.rows), \(x.columns)] into [\(recon.rows), \(recon.columns)] for dIn \(d)")
    workspace.reserve(tokens: x.rows, width: d)
    center(x, by: bDec.value, into: &workspace.centred)
    normalizeDecoder()
    encodeBatch()
    withDecoder { decodeLatents(workspace.code, $0, bias: bDec.value, into: recon.strip) }
  }

  package func backward(_ dRecon: borrowing Matrix) -> StepLosses {
    precondition(
      dRecon.rows == workspace.centred.rows && dRecon.columns == configuration.dIn,
      "gradient [\(dRecon.rows), \(dRecon.columns)] for the batch [\(workspace.centred.rows), \(configuration.dIn)]")
    var losses = StepLosses()
    workspace.residual.assign(dRecon)
    withDecoder { latentGradients(&workspace.code, $0, dOut: workspace.residual.strip) }
    let uses = propagate(scale: 1, losses: &losses)
    finish(
      [OutputGradient(scale: 1, strip: workspace.residual.strip)], uses: uses, usesResidual: false, losses: &losses)
    return losses
  }

  func encodeBatch() {
    encodeLatents(
      workspace.centred.strip, wEnc.value, bias: bEnc.value,
      selecting: rule.selection(rows: workspace.centred.rows, isTraining: true), into: &workspace.code)
    rule.activate(&workspace.code, isTraining: true)
  }

  /// Decode and gradients of the code, on active latents only. Fills the residual; returns its Σ of squares, and on how
  /// many tokens each latent was active.
  func sparseStep(scale: Float, losses: inout StepLosses) -> (squares: Double, uses: [Int]) {
    let squares = withDecoder {
      decodeResidual(
        &workspace.code, $0, target: workspace.centred.strip, scale: scale, into: workspace.residual.strip)
    }
    return (squares, propagate(scale: scale, losses: &losses))
  }

  /// From gradients of latents to those of wEnc, bEnc and the decoder's rows; the gradient of the reconstruction is
  /// `scale` times the workspace's residual, or that of each group of latents.
  func propagate(nested: NestedResiduals? = nil, scale: Float, losses: inout StepLosses) -> [Int] {
    let tokens = workspace.centred.rows
    losses.l1 = workspace.code.sumOfValues / Double(tokens * configuration.dIn)
    rule.backward(&workspace.code, batchRows: tokens, losses: &losses)
    let index = workspace.code.byLatent()
    weightGradients(
      workspace.code, index, residual: workspace.residual.strip, nested: nested, scale: scale,
      x: workspace.centred.strip, dDec: &wDec.gradient, dEnc: &wEnc.gradient, dBias: &bEnc.gradient)
    rule.finish(workspace.code, index, bEnc: bEnc, isFirst: true)
    return rule.keepsInactive
      ? workspace.code.positiveUses(index) : (0..<configuration.dSAE).map { index.uses(of: $0) }
  }

  /// AuxK, the decoder's normalisation, the gradient of bDec, and the record of activity.
  private func finish(_ outputs: [OutputGradient], uses: [Int], usesResidual: Bool, losses: inout StepLosses) {
    let dead = deadLatents
    losses.nDead = dead.count
    if usesResidual && configuration.usesAuxK && !dead.isEmpty {
      losses.aux = addAuxGradients(dead: dead)
      losses.total += Double(configuration.auxCoefficient) * losses.aux
    }
    if configuration.decoderNorm == .graph {
      passBackThroughNormalization(&wDec.gradient, unit: workspace.unitDecoder, raw: wDec.value)
    }
    // bDec is added to x̂ and taken from the encoder's input.
    var dBias = Matrix(1, configuration.dIn)
    for output in outputs { dBias.add(columnSums(output.strip), times: output.scale) }
    dBias.add(weightedRowSum(bEnc.gradient, wEnc.value), times: -1)
    bDec.gradient = dBias
    activity.record(uses: uses, tokens: workspace.centred.rows)
    losses.l0 = activity.activeFraction * Double(configuration.dSAE)
  }
}

/// A gradient with respect to reconstructions of a batch: `scale` times [B, dIn].
private struct OutputGradient {
  var scale: Float
  var strip: Strip
}
