import LinearAlgebra

/// Some tokens on their way through a `deep` autoencoder and back: what one thread keeps of them, used again for the next ones
/// so that it stays in its cache. Weights are read only; gradients go to sums that the caller lends.
final class DeepPass {
  private let network: DeepNetwork
  private let rule: any LatentRule
  var onPhase: ((StepPhase) -> Void)?
  private(set) var code: SparseCode
  /// f(x·W + b) of the encoder's hidden layers and their results, and the decoder's.
  private let encoderActs, encoderResults, decoderActs: [Scratch]
  /// The first hidden layer of the decoder, which the latents make.
  private let decoded = Scratch()
  /// dLoss/d(what the layer at hand gave and was given), in turns.
  private var (near, far) = (Scratch(), Scratch())
  private let pastResidual = Scratch()

  init(_ network: DeepNetwork, _ rule: any LatentRule) {
    (self.network, self.rule) = (network, rule)
    code = SparseCode(nLatents: network.wEnc.value.rows)
    encoderActs = network.encoder.map { _ in Scratch() }
    encoderResults = network.encoder.map { _ in Scratch() }
    decoderActs = network.decoder.dropLast().map { _ in Scratch() }
  }

  /// Memory for dLoss/dx̂ or x̂ of `rows` tokens, for `propagate`.
  func output(rows: Int) -> Strip { near.strip(rows, network.last.bias.value.columns) }

  private func encoderResult(_ i: Int, rows: Int) -> Strip {
    let isActs = !network.shape.layerNorm && !(network.shape.residual && i == network.encoder.count - 1)
    return (isActs ? encoderActs : encoderResults)[i].strip(rows, network.encoder[i].width)
  }

  /// What the sparse layer is given for `x`, which is `x` where nothing is before it.
  private func sparseInput(_ x: Strip) -> Strip {
    network.encoder.isEmpty ? x : encoderResult(network.encoder.count - 1, rows: x.rows)
  }

  /// Up to the sparse layer's input.
  func embed(_ x: Strip) -> Strip {
    for (i, layer) in network.encoder.enumerated() {
      layer.forward(
        i == 0 ? x : encoderResult(i - 1, rows: x.rows), acts: encoderActs[i].strip(x.rows, layer.width),
        plus: network.shape.residual && i == network.encoder.count - 1 ? x : nil,
        result: encoderResult(i, rows: x.rows))
    }
    return sparseInput(x)
  }

  /// Up to the code, which is kept.
  @discardableResult
  func encode(_ x: Strip, isTraining: Bool) -> SparseCode {
    let input = embed(x)
    onPhase?(.hidden)
    encodeLatents(
      input, network.wEnc.value, bias: network.bEnc.value,
      selecting: rule.selection(rows: x.rows, isTraining: isTraining), into: &code)
    rule.activate(&code, isTraining: isTraining)
    onPhase?(.encode)
    return code
  }

  /// What layer `i` of the decoder is given.
  private func decoderInput(_ i: Int, rows: Int) -> Strip {
    i == 0
      ? decoded.strip(rows, network.wDec.value.columns)
      : decoderActs[i - 1].strip(rows, network.decoder[i - 1].width)
  }

  /// From a code to the last of the decoder's hidden layers, if it has any.
  func decodeHidden(_ code: SparseCode) {
    if network.decoder.isEmpty { return }
    let hidden = decoderInput(0, rows: code.rows)
    decodeLatents(code, network.wDec.value, bias: Matrix(1, hidden.columns), into: hidden)
    onPhase?(.decode)
    activate(hidden, network.shape.decoderActivation, bias: network.bDec.value.strip)
    for (i, layer) in network.decoder.dropLast().enumerated() {
      let acts = decoderInput(i + 1, rows: code.rows)
      layer.forward(decoderInput(i, rows: code.rows), acts: acts, result: acts)
    }
    onPhase?(.hidden)
  }

  /// From a code to reconstructions.
  func decode(_ code: SparseCode, into recon: Strip) {
    decodeHidden(code)
    if let last = network.decoder.last {
      last.forward(decoderInput(network.decoder.count - 1, rows: code.rows), acts: recon, result: recon)
    } else {
      decodeLatents(code, network.wDec.value, bias: network.bDec.value, into: recon)
    }
  }

  /// From dLoss/dx̂ of the tokens `x` that were encoded and decoded last, in `output`, to the gradients of all parameters, which
  /// `sums` become or are added to, and dLoss/dx, which overwrites `dInput`.
  func propagate(
    x: Strip, batchRows: Int, sums: DeepNetwork.Sums, accumulating: Bool, uses: inout [Int],
    losses: inout StepLosses, dInput: Strip? = nil
  ) {
    var gradient = output(rows: x.rows)
    func swap(width: Int) -> Strip {
      (near, far) = (far, near)
      return near.strip(x.rows, width)
    }
    for (i, layer) in network.decoder.enumerated().reversed() {
      // The last layer has no activation, and no acts.
      layer.backward(
        gradient, x: decoderInput(i, rows: x.rows),
        acts: i == network.decoder.count - 1 ? gradient : decoderInput(i + 1, rows: x.rows),
        sums: sums.decoder[i], accumulating: accumulating)
      let next = swap(width: layer.weight.value.rows)
      layer.inputGradient(gradient, into: next)
      gradient = next
    }
    let isHidden = !network.decoder.isEmpty
    passBack(
      gradient, through: isHidden ? network.shape.decoderActivation : nil,
      result: isHidden ? decoderInput(0, rows: x.rows) : gradient, dBias: sums.bDec,
      accumulating: accumulating)
    onPhase?(.hidden)

    losses.l1 += code.sumOfValues / Double(batchRows * x.columns)
    latentGradients(&code, network.wDec.value, dOut: gradient)
    onPhase?(.decode)
    rule.backward(&code, batchRows: batchRows, losses: &losses)
    onPhase?(.rule)
    let index = code.byLatent(placing: !code.isDense)
    for j in uses.indices { uses[j] += index.uses(of: j) }
    weightGradients(
      code, index, residual: gradient, scale: 1, x: sparseInput(x), dDec: sums.wDec, dEnc: sums.wEnc, dBias: sums.bEnc,
      accumulating: accumulating)
    if network.encoder.isEmpty {
      if let dInput { inputGradients(code, network.wEnc.value, into: dInput) }
      onPhase?(.gradients)
      return
    }
    gradient = swap(width: network.wEnc.value.columns)
    inputGradients(code, network.wEnc.value, into: gradient)
    onPhase?(.gradients)
    if dInput != nil && network.shape.residual { pastResidual.strip(x.rows, x.columns).assign(gradient) }
    for (i, layer) in network.encoder.enumerated().reversed() {
      layer.backward(
        gradient, x: i == 0 ? x : encoderResult(i - 1, rows: x.rows),
        acts: encoderActs[i].strip(x.rows, layer.width), sums: sums.encoder[i], accumulating: accumulating)
      if i == 0 { break }
      let next = swap(width: layer.weight.value.rows)
      layer.inputGradient(gradient, into: next)
      gradient = next
    }
    if let dInput, let first = network.encoder.first {
      first.inputGradient(gradient, into: dInput)
      if network.shape.residual { add(pastResidual.strip(x.rows, x.columns), to: dInput) }
    }
    onPhase?(.hidden)
  }
}
