import LinearAlgebra

/// An autoencoder with hidden layers on either side of its sparse one (K. Abraham, "Deep sparse autoencoders"; mlsae). On
/// normalised activations x, with e encoder layers and m decoder layers:
///
///     u = x;  u = LayerNorm(tanh(u·Wᵢ + bᵢ)), i = 1…e;  u = u + x        (the residual, where e > 0)
///     c = f(u·wEncᵀ + bEnc)                                              f: ReLU or TopK
///     h = relu(c·wDec + bDec);  h = relu(h·Vᵢ + aᵢ), i = 1…m−1;  x̂ = h·V + a
///
/// The loss is mean e² + λ · mean over tokens of ‖c‖_p / dIn, as `relu`'s; mlsae's is λ · mean over tokens and latents of
/// |c|, whose λ is ours · dSAE / dIn. The rows of the last layer are held at unit norm: one per latent of the last hidden
/// layer, as the text has it; mlsae's code normalises per output coordinate. Weight decay acts on the weights of hidden
/// layers alone. Nothing is taken from the input, and there is no AuxK: no linear map takes dead latents to a residual.
///
/// Batches go through in parts of a size that depends on `dSAE` alone, so that memory stays bounded.
package final class Deep: Autoencoder {
  package let configuration: SAEConfiguration
  private let encoder: [DeepLayer]
  /// [dSAE, width of the last encoder layer]
  let wEnc: Parameter
  /// [1, dSAE]
  let bEnc: Parameter
  /// [dSAE, width of the first decoder layer]; row i is the decoder direction of latent i.
  let wDec: Parameter
  /// [1, the same]
  let bDec: Parameter
  private let decoder: [DeepLayer]
  package var activity: LatentActivity
  package var onPhase: ((StepPhase) -> Void)?
  private let rule: any LatentRule
  /// Factor on what `encode` is given and divisor of what `decode` returns: 1 in training. A file for raw activations has
  /// the run's here, which nonlinear layers cannot take in.
  package var inputScale: Float = 1
  package var standardizesTokens = false
  /// Tokens of a part of a batch.
  package var partRows: Int

  private var input = Matrix(0, 0)
  /// The sparse layer's input, and after its decoder (with the activation) the first hidden layer; of the part at hand.
  private var sparseInput = Matrix(0, 0)
  private var decoded = Matrix(0, 0)
  private var code: SparseCode
  private var parts: [Range<Int>] = []

  package var parameters: [Parameter] {
    encoder.flatMap(\.parameters) + [wEnc, bEnc, wDec, bDec] + decoder.flatMap(\.parameters)
  }

  package var state: [Double] {
    get { rule.state }
    set { rule.state = newValue }
  }

  /// All weights 0, to be filled from a file.
  package init(zeroed configuration: SAEConfiguration) throws(SAEError) {
    try configuration.validate()
    self.configuration = configuration
    let shape = configuration.deep
    let (dIn, n) = (configuration.dIn, configuration.dSAE)
    encoder = zip([dIn] + shape.encoder, shape.encoder).enumerated().map { i, widths in
      DeepLayer("encoder.\(i)", from: widths.0, to: widths.1, shape.encoderActivation, hasNorm: shape.layerNorm)
    }
    wEnc = Parameter("W_enc", Matrix(n, shape.encoder.last ?? dIn))
    bEnc = Parameter("b_enc", Matrix(1, n))
    wDec = Parameter("W_dec", Matrix(n, shape.decoder.first ?? dIn))
    bDec = Parameter("b_dec", Matrix(1, shape.decoder.first ?? dIn))
    decoder = zip(shape.decoder, shape.decoder.dropFirst() + [dIn]).enumerated().map { i, widths in
      let isLast = i == shape.decoder.count - 1
      return DeepLayer(
        "decoder.\(i)", from: widths.0, to: widths.1, isLast ? nil : shape.decoderActivation, hasNorm: false)
    }
    let last = decoder.last?.weight ?? wDec
    for hidden in encoder.map(\.weight) + [wDec] + decoder.map(\.weight) { hidden.decays = hidden !== last }
    last.hasUnitRows = configuration.decoderNorm == .unit
    activity = LatentActivity(nLatents: n)
    rule = configuration.makeRule(bEnc: bEnc)
    code = SparseCode(nLatents: n)
    // Half of the latents may be active in a ReLU layer that has just begun.
    partRows = max(512, (1 << 24) / n)
  }

  /// Weights normal with variance 2 / inputs (He et al. 2015, as mlsae), the last layer's rows random on the unit sphere,
  /// biases 0.
  package convenience init(_ configuration: SAEConfiguration, seed: UInt64) throws(SAEError) {
    try self.init(zeroed: configuration)
    var random = GaussianGenerator(seed: seed)
    func fill(_ parameter: Parameter, inputs: Int) {
      let (rows, columns) = (parameter.value.rows, parameter.value.columns)
      parameter.value = Matrix(rows, columns, random.normals(rows * columns))
      parameter.value.scale(by: (2 / Float(inputs)).squareRoot())
    }
    for layer in encoder { fill(layer.weight, inputs: layer.weight.value.rows) }
    fill(wEnc, inputs: wEnc.value.columns)
    fill(wDec, inputs: wDec.value.rows)
    for layer in decoder { fill(layer.weight, inputs: layer.weight.value.rows) }
    normalizeRows(&lastLayer.weight.value)
  }

  private var lastLayer: (weight: Parameter, bias: Parameter) {
    decoder.last.map { ($0.weight, $0.bias) } ?? (wDec, bDec)
  }

  /// Sets the last bias to the geometric median of `sample`, as other kinds have it.
  package func prepare(from sample: borrowing Matrix) { lastLayer.bias.value = geometricMedian(sample) }

  package func lowerBias(toL0 l0: Double, on sample: borrowing Matrix) {
    embed(sample.copy(rows: 0..<min(256, sample.rows)))
    bEnc.value = uniformBias(toL0: l0, sparseInput, wEnc.value)
  }

  package func begin(step: Int, of nSteps: Int) { rule.begin(step: step, of: nSteps) }

  /// Up to the sparse layer's input.
  private func embed(_ x: borrowing Matrix) {
    for (i, layer) in encoder.enumerated() {
      if i == 0 { layer.forward(x) } else { encoder[i - 1].withResult { layer.forward($0) } }
    }
    if sparseInput.rows != x.rows { sparseInput = Matrix(uninitialized: x.rows, wEnc.value.columns) }
    if let last = encoder.last {
      last.withResult { sparseInput.assign($0) }
      if configuration.deep.residual { sparseInput.add(x) }
    } else {
      sparseInput.assign(x)
    }
  }

  /// From the code to the last of the decoder's layers, if it has hidden ones.
  private func decodeHidden(_ code: SparseCode) {
    if decoder.isEmpty { return }
    if decoded.rows != code.rows { decoded = Matrix(uninitialized: code.rows, wDec.value.columns) }
    let zero = Matrix(1, wDec.value.columns)
    decodeLatents(code, wDec.value, bias: zero, into: decoded.strip)
    onPhase?(.decode)
    activate(&decoded, configuration.deep.decoderActivation, bias: bDec.value)
    for (i, layer) in decoder.enumerated() {
      if i == 0 { layer.forward(decoded) } else { decoder[i - 1].withResult { layer.forward($0) } }
    }
  }

  private func reconstruct(_ code: SparseCode, into recon: Strip) {
    decodeHidden(code)
    if let last = decoder.last {
      last.withResult { recon.assign($0.strip) }
    } else {
      decodeLatents(code, wDec.value, bias: bDec.value, into: recon)
    }
  }

  private func select(isTraining: Bool) {
    encodeLatents(
      sparseInput.strip, wEnc.value, bias: bEnc.value,
      selecting: rule.selection(rows: sparseInput.rows, isTraining: isTraining), into: &code)
    rule.activate(&code, isTraining: isTraining)
  }

  /// From dLoss/dx̂ of a part to the gradients of all parameters, which are added to.
  private func propagate(
    _ dRecon: consuming Matrix, x: borrowing Matrix, batchRows: Int, uses: inout [Int], losses: inout StepLosses,
    dInput: Strip? = nil
  ) {
    var gradient = dRecon
    for (i, layer) in decoder.enumerated().reversed() {
      if i == 0 {
        layer.backward(&gradient, x: decoded)
      } else {
        decoder[i - 1].withResult { layer.backward(&gradient, x: $0) }
      }
      gradient = layer.inputGradient(gradient)
    }
    if !decoder.isEmpty { passBack(&gradient, through: configuration.deep.decoderActivation, result: decoded) }

    onPhase?(.hidden)
    losses.l1 += code.sumOfValues / Double(batchRows * configuration.dIn)
    latentGradients(&code, wDec.value, dOut: gradient.strip)
    onPhase?(.decode)
    rule.backward(&code, batchRows: batchRows, losses: &losses)
    onPhase?(.rule)
    let index = code.byLatent(placing: !code.isDense)
    for j in uses.indices { uses[j] += index.uses(of: j) }
    useSums(code, index, of: .value, times: gradient, into: &wDec.gradient, accumulating: true)
    useSums(code, index, of: .gradient, times: sparseInput, into: &wEnc.gradient, accumulating: true)
    addGradientSums(code, index, into: &bEnc.gradient, accumulating: true)
    bDec.gradient.add(columnSums(gradient))

    if encoder.isEmpty {
      if let dInput { inputGradients(code, wEnc.value, into: dInput) }
      onPhase?(.gradients)
      return
    }
    gradient = Matrix(uninitialized: code.rows, wEnc.value.columns)
    inputGradients(code, wEnc.value, into: gradient.strip)
    onPhase?(.gradients)
    let afterResidual = gradient.copy()
    for (i, layer) in encoder.enumerated().reversed() {
      if i == 0 {
        layer.backward(&gradient, x: x)
      } else {
        encoder[i - 1].withResult { layer.backward(&gradient, x: $0) }
        gradient = layer.inputGradient(gradient)
      }
    }
    if let dInput, let first = encoder.first {
      let atInput = first.inputGradient(gradient)
      dInput.assign(atInput.strip)
      if configuration.deep.residual { add(afterResidual.strip, to: dInput) }
    }
    onPhase?(.hidden)
  }

  private func clearGradients() {
    for parameter in parameters { parameter.gradient.fill(0) }
  }

  private func cut(_ tokens: Int) -> [Range<Int>] {
    stride(from: 0, to: tokens, by: partRows).map { $0..<min($0 + partRows, tokens) }
  }

  private func record(_ uses: [Int], tokens: Int, _ losses: inout StepLosses) {
    losses.nDead = activity.dead(after: configuration.deadTokens).count
    activity.record(uses: uses, nEntries: uses.reduce(0, +), tokens: tokens)
    losses.l0 = activity.activeFraction * Double(configuration.dSAE)
  }

  package func computeGradients(_ x: borrowing Matrix) -> StepLosses {
    let (tokens, d) = (x.rows, configuration.dIn)
    precondition(x.columns == d && tokens > 0, "batch [\(tokens), \(x.columns)] for dIn \(d)")
    clearGradients()
    var (losses, squares) = (StepLosses(), 0.0)
    var uses = [Int](repeating: 0, count: configuration.dSAE)
    for part in cut(tokens) {
      let rows = x.copy(rows: part)
      onPhase?(.rest)
      embed(rows)
      onPhase?(.hidden)
      select(isTraining: true)
      onPhase?(.encode)
      var residual = Matrix(uninitialized: part.count, d)
      reconstruct(code, into: residual.strip)
      residual.add(rows, times: -1)
      squares += sumOfSquares(residual)
      residual.scale(by: 2 / Float(tokens * d))
      propagate(residual, x: rows, batchRows: tokens, uses: &uses, losses: &losses)
    }
    losses.mse = squares / Double(tokens * d)
    let variance = totalVariance(x)
    losses.fvu = variance > 0 ? squares / variance : 0
    losses.total += losses.mse
    record(uses, tokens: tokens, &losses)
    onPhase?(.rest)
    return losses
  }

  package func forward(_ x: borrowing Matrix, into recon: inout Matrix) {
    precondition(
      x.columns == configuration.dIn && x.rows > 0 && recon.rows == x.rows && recon.columns == x.columns,
      "batch [\(x.rows), \(x.columns)] into [\(recon.rows), \(recon.columns)] for dIn \(configuration.dIn)")
    input = x.copy()
    parts = cut(x.rows)
    for part in parts {
      embed(x.copy(rows: part))
      select(isTraining: true)
      reconstruct(code, into: recon.strip.rows(part))
    }
  }

  package func backward(_ dRecon: borrowing Matrix, dInput: Strip?) -> StepLosses {
    precondition(
      dRecon.rows == input.rows && dRecon.columns == input.columns,
      "gradient [\(dRecon.rows), \(dRecon.columns)] for the batch [\(input.rows), \(input.columns)]")
    clearGradients()
    var losses = StepLosses()
    var uses = [Int](repeating: 0, count: configuration.dSAE)
    for part in parts {
      let rows = input.copy(rows: part)
      // What a batch in one part left is there from `forward`.
      if parts.count > 1 {
        embed(rows)
        select(isTraining: true)
        decodeHidden(code)
      }
      propagate(
        dRecon.copy(rows: part), x: rows, batchRows: input.rows, uses: &uses, losses: &losses,
        dInput: dInput?.rows(part))
    }
    record(uses, tokens: input.rows, &losses)
    return losses
  }

  package func encode(_ x: borrowing Matrix) -> SparseCode {
    var scaled = x.copy()
    scaled.scale(by: inputScale)
    let moments = standardizesTokens ? standardizeTokens(&scaled) : nil
    embed(scaled)
    select(isTraining: false)
    code.moments = moments
    return code
  }

  package func decode(_ code: SparseCode) -> Matrix {
    var recon = Matrix(uninitialized: code.rows, configuration.dIn)
    reconstruct(code, into: recon.strip)
    recon.scale(by: 1 / inputScale)
    if let moments = code.moments { restoreTokens(&recon, moments) }
    return recon
  }
}
