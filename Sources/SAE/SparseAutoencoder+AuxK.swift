import LinearAlgebra

extension SparseAutoencoder {
  /// AuxK (Gao et al. 2024, A.2): the kAux largest dead latents of each token reconstruct the residual e = x − x̂.
  /// Adds to the gradients of encoder and decoder; returns the loss without its coefficient.
  func addAuxGradients(dead: [Int32]) -> Double {
    let tokens = workspace.centred.rows
    let variance = totalVariance(workspace.residual)
    guard variance > 0 else { return 0 }
    let encoder = wEnc.value.gather(rows: dead)
    let decoder = withDecoder { $0.gather(rows: dead) }
    let bias = Matrix(1, dead.count, dead.map { bEnc.value[0, Int($0)] })
    var code = SparseCode(nLatents: dead.count)
    encodeLatents(
      workspace.centred.strip, encoder, bias: bias, selecting: .topK(min(configuration.kAux, dead.count)), into: &code)
    // The kept residual is x̂ − x; e has the other sign.
    var target = workspace.residual.copy()
    target.scale(by: -1)
    let scale = Float(2 * Double(configuration.auxCoefficient) / variance)
    let auxResidual = Matrix(uninitialized: tokens, configuration.outWidth)
    let squares = decodeResidual(&code, decoder, target: target.strip, scale: scale, into: auxResidual.strip)
    let index = code.byLatent()
    let used = dead.indices.filter { index.uses(of: $0) > 0 }.map { dead[$0] }
    wDec.addUsedRows(used)
    wEnc.addUsedRows(used)
    weightGradients(
      code, index, rows: dead, residual: auxResidual.strip, scale: scale, x: workspace.centred.strip,
      dDec: &wDec.rowGradient, dEnc: &wEnc.rowGradient, dBias: &bEnc.gradient, accumulating: true,
      sums: (wDec.sums, wEnc.sums), unitDecoder: wDec.hasUnitRows ? wDec.value.strip : nil)
    return squares / variance
  }
}
