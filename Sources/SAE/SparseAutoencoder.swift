import LinearAlgebra

/// An autoencoder with one linear layer on either side of its latents, on normalised activations x:
///
///     c = f((x − bDec)·wEncᵀ + bEnc)      x̂ = c·wDec + bDec
///
/// with f, and what the loss says of c, given by the architecture's `LatentRule`. Kinds with one matrix for both (`tied`,
/// `rica`) have wEnc = wDec, whose gradient is the sum of both. A transcoder makes the activations y at another hook:
///
///     c = f(x·wEncᵀ + bEnc)      ŷ = c·wDec + bDec [+ x·wSkipᵀ]
///
/// as SAELens' transcoders and sparsify's: bDec belongs to y and is not taken from x. Losses are then of y.
package final class SparseAutoencoder: Autoencoder {
  package let configuration: SAEConfiguration
  /// [dSAE, dIn]; row i is the encoder direction of latent i (files hold the transpose, `W_enc`).
  package let wEnc: Parameter
  /// [1, dSAE]
  package let bEnc: Parameter
  /// [dSAE, dIn], or dOut of a transcoder; row i is the decoder direction of latent i. The same object as wEnc where both
  /// are one matrix.
  package let wDec: Parameter
  /// [1, dIn], or dOut; added to the reconstruction, and taken from the input but in a transcoder.
  package let bDec: Parameter
  /// [dOut, dIn]; nil without a skip.
  package let wSkip: Parameter?
  /// Where the gradient of the encoder is made: wEnc, or where that is the decoder too, a stand-in that is added to it.
  let dEnc: Parameter
  package var activity: LatentActivity
  package var standardizesTokens = false
  package var onPhase: ((StepPhase) -> Void)?
  let rule: any LatentRule
  /// Entries of a code above which a batch is worked on in parts, so that memory stays bounded while many latents are
  /// active: an entry takes some 40 bytes until its gradients are known.
  package var maxEntries = 1 << 22
  /// Scratch that steps reuse.
  let workspace: Workspace

  package var parameters: [Parameter] {
    switch configuration.architecture {
    case .tied: [wDec, bEnc, bDec]
    case .rica: [wDec, bDec]
    default: [wEnc, bEnc, wDec, bDec] + rule.parameters + (wSkip.map { [$0] } ?? [])
    }
  }

  package var state: [Double] {
    get { rule.state }
    set { rule.state = newValue }
  }

  package func canHold(_ state: [Double]) -> Bool { rule.canHold(state) }

  /// All weights 0, to be filled from a file.
  package init(zeroed configuration: SAEConfiguration) throws(SAEError) {
    try configuration.validate()
    self.configuration = configuration
    let isTied = configuration.architecture.isTied
    wDec = Parameter("W_dec", Matrix(configuration.dSAE, configuration.outWidth))
    wEnc = isTied ? wDec : Parameter("W_enc", Matrix(configuration.dSAE, configuration.dIn))
    dEnc = isTied ? Parameter("W_enc", Matrix(configuration.dSAE, configuration.dIn)) : wEnc
    wSkip = configuration.skip ? Parameter("W_skip", Matrix(configuration.outWidth, configuration.dIn)) : nil
    wSkip?.decays = true
    wDec.hasUnitRows = configuration.decoderNorm == .unit
    wEnc.decays = true
    wDec.decays = !wDec.hasUnitRows
    bEnc = Parameter("b_enc", Matrix(1, configuration.dSAE))
    bDec = Parameter("b_dec", Matrix(1, configuration.outWidth))
    activity = LatentActivity(nLatents: configuration.dSAE)
    rule = configuration.makeRule(bEnc: bEnc)
    workspace = Workspace(nLatents: configuration.dSAE)
  }

  /// Weights as the configuration's `initialization` says, by default decoder rows random on the unit sphere and
  /// encoder = decoderᵀ (Gao et al. 2024, §2.4 and A.1); biases 0.
  package convenience init(_ configuration: SAEConfiguration, seed: UInt64) throws(SAEError) {
    try self.init(zeroed: configuration)
    setWeights(seed: seed)
  }

  /// Sets `bDec` to the geometric median of `sample` [tokens, dIn] (Gao et al. 2024, A.1).
  package func setDecoderBias(fromMedianOf sample: borrowing Matrix) {
    bDec.value = geometricMedian(sample)
  }

  package func prepare(from sample: borrowing Matrix) { setDecoderBias(from: sample) }

  package func lowerBias(toL0 l0: Double, on sample: borrowing Matrix) {
    let rows = min(256, sample.rows)
    var centred = Matrix(rows, configuration.dIn)
    centre(sample.copy(rows: 0..<rows), into: &centred)
    bEnc.value = uniformBias(toL0: l0, centred, wEnc.value)
  }

  package func begin(step: Int, of nSteps: Int) { rule.begin(step: step, of: nSteps) }

  package func encode(_ x: borrowing Matrix) -> SparseCode {
    var centred = Matrix(uninitialized: x.rows, x.columns)
    var code = SparseCode(nLatents: configuration.dSAE)
    if standardizesTokens {
      var standard = x.copy()
      code.moments = standardizeTokens(&standard)
      centre(standard, into: &centred)
    } else {
      centre(x, into: &centred)
    }
    encodeLatents(
      centred.strip, wEnc.value, bias: bEnc.value, selecting: rule.selection(rows: x.rows, isTraining: false),
      into: &code)
    rule.activate(&code, isTraining: false)
    if rule.keepsInactive { code.dropInactive() }
    return code
  }

  package func decode(_ code: SparseCode) -> Matrix {
    var recon = Matrix(uninitialized: code.rows, configuration.outWidth)
    normalizeDecoder()
    withDecoder { decodeLatents(code, $0, bias: bDec.value, into: recon.strip) }
    if let moments = code.moments { restoreTokens(&recon, moments) }
    return recon
  }

  package func decode(_ code: SparseCode, of x: borrowing Matrix) -> Matrix {
    var recon = decode(code)
    addSkip(x, to: &recon)
    return recon
  }

  /// What the encoder's rows are multiplied with, for `x` [tokens, dIn].
  func centre(_ x: borrowing Matrix, into out: inout Matrix) {
    if configuration.isTranscoder { out.assign(x) } else { center(x, by: bDec.value, into: &out) }
  }

  /// recon += x·wSkipᵀ.
  func addSkip(_ x: borrowing Matrix, to recon: inout Matrix, times factor: Float = 1) {
    guard let wSkip else { return }
    gemm(x, wSkip.value, into: &recon, transposeB: true, alpha: factor, accumulating: true)
  }

  /// What the decoder's rows are to add up to in the step at hand, [tokens, width]: the centred input, or of a transcoder
  /// y − bDec − x·wSkipᵀ.
  var target: Strip { configuration.isTranscoder ? workspace.target.strip : workspace.centred.strip }

  /// Latents that were not active for `deadTokens` tokens.
  package var deadLatents: [Int32] { activity.dead(after: configuration.deadTokens) }

  /// Makes the rows that the loss sees, where they are not the parameter's own.
  func normalizeDecoder() {
    guard configuration.decoderNorm == .graph else { return }
    if workspace.unitDecoder.rows == 0 { workspace.unitDecoder = Matrix(configuration.dSAE, configuration.outWidth) }
    workspace.unitDecoder.assign(wDec.value)
    normalizeRows(&workspace.unitDecoder)
  }

  /// A copy of the decoder's rows as the loss sees them.
  func decoderRows() -> Matrix {
    normalizeDecoder()
    return withDecoder { $0.copy() }
  }

  /// Lends the decoder's rows as the loss sees them.
  func withDecoder<R: ~Copyable>(_ body: (borrowing Matrix) -> R) -> R {
    configuration.decoderNorm == .graph ? body(workspace.unitDecoder) : body(wDec.value)
  }
}

/// A bias [1, n], all its elements alike, with which about `l0` elements of each row of x·wEncᵀ are positive.
///
/// - Parameters:
///   - x: [tokens, d].
///   - wEnc: [n, d].
func uniformBias(toL0 l0: Double, _ x: borrowing Matrix, _ wEnc: borrowing Matrix) -> Matrix {
  var preActs = Matrix(x.rows, wEnc.rows)
  gemm(x, wEnc, into: &preActs, transposeB: true)
  let sorted = preActs.values.sorted(by: >)
  let place = min(max(0, Int(l0 * Double(x.rows))), sorted.count - 1)
  return Matrix(1, wEnc.rows, repeating: -sorted[place])
}

/// Buffers kept from step to step; they grow to the batch and stay.
final class Workspace {
  var centred = Matrix(0, 0)
  /// Of a transcoder, what `SparseAutoencoder.target` is.
  var target = Matrix(0, 0)
  var residual = Matrix(0, 0)
  /// The code of the batch, or of the part of it at hand.
  var code: SparseCode
  /// The parts that `forward` worked on.
  var parts: [Range<Int>] = []
  /// Decoder rows of unit norm, where the loss has them so and the parameter does not.
  var unitDecoder = Matrix(0, 0)

  /// Latents of some tokens as full matrices, and their gradients; empty while steps are sparse.
  var acts = Matrix(0, 0)
  var dActs = Matrix(0, 0)

  /// Sums of the residuals of nested prefixes, [(prefixes − 1)·B, dIn]; empty without.
  var prefixResiduals = Matrix(0, 0)
  /// Multi-TopK's wider code, and its residual.
  var wideCode: SparseCode
  var wideResidual = Matrix(0, 0)

  init(nLatents: Int) {
    code = SparseCode(nLatents: nLatents)
    wideCode = code
  }

  func reservePrefixes(rows: Int, width: Int) {
    if prefixResiduals.rows == rows && prefixResiduals.columns == width { return }
    prefixResiduals = Matrix(uninitialized: rows, width)
  }

  func reserveWide(rows: Int, width: Int) {
    if wideResidual.rows == rows && wideResidual.columns == width { return }
    wideResidual = Matrix(uninitialized: rows, width)
  }

  func reserveDense(rows: Int, nLatents: Int) {
    if acts.rows == rows && acts.columns == nLatents { return }
    acts = Matrix(uninitialized: rows, nLatents)
    dActs = Matrix(uninitialized: rows, nLatents)
  }

  func reserve(tokens: Int, _ shape: SAEConfiguration) {
    if centred.rows == tokens { return }
    centred = Matrix(tokens, shape.dIn)
    residual = Matrix(tokens, shape.outWidth)
    if shape.isTranscoder { target = Matrix(tokens, shape.outWidth) }
  }
}
