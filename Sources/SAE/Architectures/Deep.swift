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
/// How a batch goes through is in `Deep+Step.swift`.
package final class Deep: Autoencoder {
  package let configuration: SAEConfiguration
  let network: DeepNetwork
  package var activity: LatentActivity
  package var onPhase: ((StepPhase) -> Void)?
  let rule: any LatentRule
  /// Factor on what `encode` is given and divisor of what `decode` returns: 1 in training. A file for raw activations has
  /// the run's here, which nonlinear layers cannot take in.
  package var inputScale: Float = 1
  package var standardizesTokens = false
  /// Tokens of a lane, at least; nil: all are one lane.
  package var laneRows: Int?
  /// Tokens of a part of a lane.
  package var partRows: Int

  /// One per thread at work.
  var passes: [DeepPass]
  /// Gradients of all parameters from every lane but the first, whose are the parameters' own. [1, weights] each
  var laneGradients: [SharedMatrix] = []
  /// What `forward` was given, for `backward`.
  var input = SharedMatrix(Matrix(0, 0))

  package var parameters: [Parameter] { network.parameters }

  package var state: [Double] {
    get { rule.state }
    set { rule.state = newValue }
  }

  /// All weights 0, to be filled from a file.
  package init(zeroed configuration: SAEConfiguration) throws(SAEError) {
    try configuration.validate()
    self.configuration = configuration
    network = DeepNetwork(configuration)
    activity = LatentActivity(nLatents: configuration.dSAE)
    rule = configuration.makeRule(bEnc: network.bEnc)
    passes = [DeepPass(network, rule)]
    // Beyond 4 MiB of gradients their addition costs more than threads gain by lanes of their own.
    laneRows = network.count <= 1 << 20 ? 512 : nil
    // Half of the latents may be active in a ReLU layer that has just begun.
    partRows = laneRows ?? max(512, (1 << 24) / configuration.dSAE)
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
    for layer in network.encoder { fill(layer.weight, inputs: layer.weight.value.rows) }
    fill(network.wEnc, inputs: network.wEnc.value.columns)
    fill(network.wDec, inputs: network.wDec.value.rows)
    for layer in network.decoder { fill(layer.weight, inputs: layer.weight.value.rows) }
    normalizeRows(&network.last.weight.value)
  }

  /// Sets the last bias to the geometric median of `sample`, as other kinds have it.
  package func prepare(from sample: borrowing Matrix) { network.last.bias.value = geometricMedian(sample) }

  package func lowerBias(toL0 l0: Double, on sample: borrowing Matrix) {
    let rows = 0..<min(256, sample.rows)
    let embedded = Matrix(uninitialized: rows.count, network.wEnc.value.columns)
    embedded.strip.assign(passes[0].embed(sample.strip.rows(rows)))
    network.bEnc.value = uniformBias(toL0: l0, embedded, network.wEnc.value)
  }

  package func begin(step: Int, of nSteps: Int) { rule.begin(step: step, of: nSteps) }

  package func encode(_ x: borrowing Matrix) -> SparseCode {
    var scaled = x.copy()
    scaled.scale(by: inputScale)
    let moments = standardizesTokens ? standardizeTokens(&scaled) : nil
    var code = passes[0].encode(scaled.strip, isTraining: false)
    code.moments = moments
    return code
  }

  package func decode(_ code: SparseCode) -> Matrix {
    var recon = Matrix(uninitialized: code.rows, configuration.dIn)
    passes[0].decode(code, into: recon.strip)
    recon.scale(by: 1 / inputScale)
    if let moments = code.moments { restoreTokens(&recon, moments) }
    return recon
  }
}
