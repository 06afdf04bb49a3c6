import LinearAlgebra

/// A sparse autoencoder on normalised activations x:
///
///     c = f((x − bDec)·wEncᵀ + bEnc)      x̂ = c·wDec + bDec
///
/// with f the ReLU or the ReLU of the k largest. Rows of `wDec` are kept at unit norm by the trainer.
package final class SparseAutoencoder {
  package let configuration: SAEConfiguration
  /// [dSAE, dIn]; row i is the encoder direction of latent i (files hold the transpose, `W_enc`).
  package let wEnc: Parameter
  /// [1, dSAE]
  package let bEnc: Parameter
  /// [dSAE, dIn]; row i is the decoder direction of latent i.
  package let wDec: Parameter
  /// [1, dIn]; taken from the input and added to the reconstruction.
  package let bDec: Parameter
  /// Tokens since each latent was last active. [dSAE]
  package var tokensSinceActive: [Int]
  /// Share of latents active per token in the last batch; 1 before the first.
  package var activeFraction = 1.0
  /// Scratch that steps reuse.
  let workspace: Workspace

  package var parameters: [Parameter] { [wEnc, bEnc, wDec, bDec] }

  /// All weights 0, to be filled from a file.
  package init(zeroed configuration: SAEConfiguration) throws(SAEError) {
    try configuration.validate()
    self.configuration = configuration
    wEnc = Parameter("W_enc", Matrix(configuration.dSAE, configuration.dIn))
    wDec = Parameter("W_dec", Matrix(configuration.dSAE, configuration.dIn))
    bEnc = Parameter("b_enc", Matrix(1, configuration.dSAE))
    bDec = Parameter("b_dec", Matrix(1, configuration.dIn))
    tokensSinceActive = [Int](repeating: 0, count: configuration.dSAE)
    workspace = Workspace(nLatents: configuration.dSAE)
  }

  /// Decoder rows random on the unit sphere, encoder = decoderᵀ (Gao et al. 2024, §2.4 and A.1), biases 0.
  package convenience init(_ configuration: SAEConfiguration, seed: UInt64) throws(SAEError) {
    try self.init(zeroed: configuration)
    var random = GaussianGenerator(seed: seed)
    wDec.value = Matrix(configuration.dSAE, configuration.dIn, random.normals(configuration.dSAE * configuration.dIn))
    normalizeRows(&wDec.value)
    wEnc.value = wDec.value.copy()
  }

  /// Sets `bDec` to the geometric median of `sample` [tokens, dIn] (Gao et al. 2024, A.1).
  package func setDecoderBias(fromMedianOf sample: borrowing Matrix) {
    bDec.value = geometricMedian(sample)
  }

  /// The active latents of `x` [tokens, dIn].
  package func encode(_ x: borrowing Matrix) -> SparseCode {
    var centred = Matrix(uninitialized: x.rows, x.columns)
    center(x, by: bDec.value, into: &centred)
    var code = SparseCode(nLatents: configuration.dSAE)
    encodeLatents(centred, wEnc.value, bias: bEnc.value, selecting: configuration.selection, into: &code)
    return code
  }

  /// The reconstruction of a code, [tokens, dIn].
  package func decode(_ code: SparseCode) -> Matrix {
    var recon = Matrix(uninitialized: code.rows, configuration.dIn)
    decodeLatents(code, wDec.value, bias: bDec.value, into: &recon)
    return recon
  }

  /// Latents that were not active for `deadTokens` tokens.
  package var deadLatents: [Int32] {
    tokensSinceActive.indices.filter { tokensSinceActive[$0] >= configuration.deadTokens }.map { Int32($0) }
  }
}

/// Buffers kept from step to step; they grow to the batch and stay.
final class Workspace {
  var centred = Matrix(0, 0)
  var residual = Matrix(0, 0)
  var code: SparseCode
  /// On how many tokens of the last batch each latent was active.
  var uses: [Int] = []

  init(nLatents: Int) { code = SparseCode(nLatents: nLatents) }
}
