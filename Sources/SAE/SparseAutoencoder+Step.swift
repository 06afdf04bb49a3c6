import LinearAlgebra

extension SparseAutoencoder {
  ///     L = mean e² + the rule's penalty + α · ‖e − ê‖² / ‖e − mean e‖²
  ///
  /// where mean e² is that of several reconstructions if the rule has prefixes or a wider code,
  /// with e = x − x̂ detached in the last term (AuxK), ê = c_dead·wDec without bDec. Exact: which latents are selected is a
  /// constant of the step, as in autograd.
  package func computeGradients(_ x: borrowing Matrix) -> StepLosses {
    precondition(!configuration.isTranscoder, "a transcoder without its target")
    return step(x, target: x)
  }

  package func computeGradients(_ x: borrowing Matrix, target: borrowing Matrix) -> StepLosses {
    precondition(
      configuration.isTranscoder && target.rows == x.rows && target.columns == configuration.outWidth,
      "targets [\(target.rows), \(target.columns)] of \(x.rows) tokens for dOut \(configuration.dOut ?? 0)")
    return step(x, target: target)
  }

  /// Of what is not a transcoder, the target is `x`.
  private func step(_ x: borrowing Matrix, target: borrowing Matrix) -> StepLosses {
    let (tokens, d) = (x.rows, configuration.outWidth)
    precondition(
      x.columns == configuration.dIn && tokens > 0, "batch [\(tokens), \(x.columns)] for dIn \(configuration.dIn)")
    workspace.reserve(tokens: tokens, configuration)
    centre(x, into: &workspace.centred)
    if configuration.isTranscoder {
      center(target, by: bDec.value, into: &workspace.target)
      addSkip(x, to: &workspace.target, times: -1)
    }
    normalizeDecoder()
    onPhase?(.rest)
    var losses = StepLosses()
    let scale = 2 / Float(tokens * d)
    let (squares, uses, nEntries): (Double, [Int], Int)
    var outputs = [OutputGradient(scale: scale, strip: workspace.residual.strip)]
    if let rule = rule as? any DenseLatentRule, isDense(rule) {
      (squares, uses) = denseStep(rule, scale: scale, losses: &losses)
      nEntries = uses.reduce(0, +)
    } else if let nested = nestedResiduals() {
      (squares, uses) = nestedStep(nested, scale: scale, losses: &losses)
      nEntries = uses.reduce(0, +)
      outputs = [OutputGradient(scale: scale / Float(nested.strips.count), strip: nested.strips[0])]
    } else if let wider = rule.widerK {
      (squares, uses) = multiTopKStep(wider, scale: scale, losses: &losses)
      nEntries = uses.reduce(0, +)
      outputs.append(OutputGradient(scale: scale * Self.wideWeight, strip: workspace.wideResidual.strip))
    } else {
      (squares, uses, nEntries) = sparseStep(scale: scale, losses: &losses)
    }
    losses.mse = squares / Double(tokens * d)
    let variance = totalVariance(target)
    losses.fvu = variance > 0 ? squares / variance : 0
    losses.total += losses.mse
    finish(outputs, uses: uses, nEntries: nEntries, usesResidual: true, losses: &losses)
    onPhase?(.rest)
    return losses
  }

  package func forward(_ x: borrowing Matrix, into recon: inout Matrix) {
    let (d, width) = (configuration.dIn, configuration.outWidth)
    precondition(
      x.columns == d && x.rows > 0 && recon.rows == x.rows && recon.columns == width,
      "batch [\(x.rows), \(x.columns)] into [\(recon.rows), \(recon.columns)] for [\(d), \(width)]")
    workspace.reserve(tokens: x.rows, configuration)
    centre(x, into: &workspace.centred)
    normalizeDecoder()
    workspace.parts = parts(of: x.rows)
    for part in workspace.parts {
      encode(part)
      withDecoder { decodeLatents(workspace.code, $0, bias: bDec.value, into: recon.strip.rows(part)) }
    }
    addSkip(x, to: &recon)
  }

  package func backward(_ dRecon: borrowing Matrix, dInput: Strip?) -> StepLosses {
    precondition(
      dRecon.rows == workspace.centred.rows && dRecon.columns == configuration.outWidth,
      "gradient [\(dRecon.rows), \(dRecon.columns)] for the batch [\(workspace.centred.rows), \(configuration.outWidth)]"
    )
    var losses = StepLosses()
    workspace.residual.assign(dRecon)
    var uses = [Int](repeating: 0, count: configuration.dSAE)
    var nEntries = 0
    for part in workspace.parts {
      // The code of a batch in one part is there from `forward`.
      if workspace.parts.count > 1 { encode(part) }
      withDecoder { latentGradients(&workspace.code, $0, dOut: workspace.residual.strip.rows(part)) }
      nEntries += workspace.code.nActive
      propagate(part, scale: 1, uses: &uses, losses: &losses)
      if let dInput { inputGradients(workspace.code, wEnc.value, into: dInput.rows(part)) }
    }
    if let dInput, let wSkip { tiledProduct(dRecon.strip, wSkip.value.strip, into: dInput, accumulating: true) }
    finish(
      [OutputGradient(scale: 1, strip: workspace.residual.strip)], uses: uses, nEntries: nEntries, usesResidual: false,
      losses: &losses)
    return losses
  }

  /// The batch in parts whose codes are expected to hold at most `maxEntries` entries, as many per token as in the step
  /// before; one part where the selection itself bounds them.
  private func parts(of tokens: Int) -> [Range<Int>] {
    let perToken = max(1, activity.entryFraction * Double(configuration.dSAE))
    if perToken * Double(tokens) <= Double(maxEntries) || rule.selection(rows: tokens, isTraining: true).isBounded {
      return [0..<tokens]
    }
    let rows = max(1, Int(Double(maxEntries) / perToken))
    return stride(from: 0, to: tokens, by: rows).map { $0..<min($0 + rows, tokens) }
  }

  /// Makes the code of some of the batch's tokens.
  func encode(_ part: Range<Int>) {
    encodeLatents(
      workspace.centred.strip.rows(part), wEnc.value, bias: bEnc.value,
      selecting: rule.selection(rows: part.count, isTraining: true), into: &workspace.code)
    rule.activate(&workspace.code, isTraining: true)
    onPhase?(.encode)
  }

  /// Encode, decode and gradients on active latents only. Fills the residual; returns its Σ of squares, on how many
  /// tokens each latent was active, and how many entries the codes held.
  private func sparseStep(scale: Float, losses: inout StepLosses) -> (squares: Double, uses: [Int], nEntries: Int) {
    var squares = 0.0
    var uses = [Int](repeating: 0, count: configuration.dSAE)
    var nEntries = 0
    for part in parts(of: workspace.centred.rows) {
      encode(part)
      squares += decode(part, scale: scale, uses: &uses, losses: &losses)
      nEntries += workspace.code.nActive
    }
    return (squares, uses, nEntries)
  }

  /// The rest of a sparse step, from the code of `part` on; returns Σ residual². Adds to `uses`.
  func decode(_ part: Range<Int>, scale: Float, uses: inout [Int], losses: inout StepLosses) -> Double {
    let squares = withDecoder {
      decodeResidual(
        &workspace.code, $0, target: target.rows(part), scale: scale,
        into: workspace.residual.strip.rows(part))
    }
    onPhase?(.decode)
    propagate(part, scale: scale, uses: &uses, losses: &losses)
    return squares
  }

  /// From gradients of the latents of `part`, the first or a later part of the batch, to those of wEnc, bEnc and the
  /// decoder's rows; the gradient of the reconstruction is `scale` times the workspace's residual, or that of each group
  /// of latents. Adds to `uses`.
  func propagate(
    _ part: Range<Int>, nested: NestedResiduals? = nil, scale: Float, uses: inout [Int], losses: inout StepLosses
  ) {
    let tokens = workspace.centred.rows
    losses.l1 += workspace.code.sumOfValues / Double(tokens * configuration.outWidth)
    withDecoder {
      rule.addReconstruction(
        of: target.rows(part), workspace.code, decoder: $0, batchRows: tokens, losses: &losses)
    }
    rule.backward(&workspace.code, batchRows: tokens, losses: &losses)
    onPhase?(.rule)
    let index = workspace.code.byLatent(
      placing: !workspace.code.isDense || rule.keepsInactive || nested != nil)
    let isFirst = part.lowerBound == 0
    let used = (0..<Int32(configuration.dSAE)).filter { index.uses(of: Int($0)) > 0 }
    if !isFirst {
      wDec.addUsedRows(used)
      dEnc.addUsedRows(used)
    }
    weightGradients(
      workspace.code, index, residual: workspace.residual.strip.rows(part), nested: nested, scale: scale,
      x: workspace.centred.strip.rows(part), dDec: &wDec.rowGradient, dEnc: &dEnc.rowGradient, dBias: &bEnc.gradient,
      accumulating: !isFirst, leavingUnused: dEnc.leavesUnusedRows && wDec.leavesUnusedRows,
      sums: (wDec.sums, dEnc.sums), unitDecoder: wDec.hasUnitRows ? wDec.value.strip : nil)
    if isFirst {
      wDec.setUsedRows(used)
      dEnc.setUsedRows(used)
    }
    onPhase?(.gradients)
    rule.finish(workspace.code, index, bEnc: bEnc, isFirst: isFirst)
    if rule.keepsInactive {
      for (j, count) in workspace.code.positiveUses(index).enumerated() { uses[j] += count }
    } else {
      for j in uses.indices { uses[j] += index.uses(of: j) }
    }
  }

  /// AuxK, the decoder's normalisation, the gradient of bDec, and the record of activity. `nEntries` is how many entries
  /// the batch's codes held, or would have.
  private func finish(
    _ outputs: [OutputGradient], uses: [Int], nEntries: Int, usesResidual: Bool, losses: inout StepLosses
  ) {
    let dead = deadLatents
    losses.nDead = dead.count
    if usesResidual && configuration.usesAuxK && !dead.isEmpty {
      losses.aux = addAuxGradients(dead: dead)
      losses.total += Double(configuration.auxCoefficient) * losses.aux
    }
    if configuration.decoderNorm == .graph {
      passBackThroughNormalization(&wDec.gradient, unit: workspace.unitDecoder, raw: wDec.value)
    }
    if dEnc !== wEnc { wDec.gradient.add(dEnc.gradient) }
    // bDec is added to x̂ and taken from the encoder's input.
    var dBias = Matrix(1, configuration.outWidth)
    for output in outputs { dBias.add(columnSums(output.strip), times: output.scale) }
    if !configuration.isTranscoder { dBias.add(weightedRowSum(bEnc.gradient, wEnc.value), times: -1) }
    bDec.gradient = dBias
    if let wSkip {
      for (i, output) in outputs.enumerated() {
        tiledProduct(
          output.strip, workspace.centred.strip, into: wSkip.gradient.strip, transposeA: true, alpha: output.scale,
          accumulating: i > 0)
      }
    }
    rule.finishBatch(bEnc: bEnc)
    activity.record(uses: uses, nEntries: nEntries, tokens: workspace.centred.rows)
    losses.l0 = activity.activeFraction * Double(configuration.dSAE)
  }
}

/// A gradient with respect to reconstructions of a batch: `scale` times [B, dIn].
private struct OutputGradient {
  var scale: Float
  var strip: Strip
}
