import LinearAlgebra
import SAE
import TestSupport
import Testing

@Suite struct GradientTests {
  /// One configuration per architecture and per option that changes gradients.
  static let configurations: [SAEConfiguration] = {
    let base = SAEConfiguration(architecture: .relu, dIn: 7, dSAE: 18, k: 4, kAux: 3, l1: 0.4, deadTokens: 5)
    func variant(_ change: (inout SAEConfiguration) -> Void) -> SAEConfiguration {
      var configuration = base
      // AuxK holds the residual constant, so the finite difference of the total is not its gradient: it is checked
      // against PyTorch in TrainTests.
      configuration.auxCoefficient = 0
      change(&configuration)
      return configuration
    }
    return [
      variant { _ in },
      variant {
        $0.p = 0.7
        // Losses of order 1, as for the others.
        $0.l1 = 0.1
      },
      variant { $0.decoderNorm = .graph },
      variant { $0.architecture = .topk },
      variant {
        $0.architecture = .topk
        $0.decoderNorm = .graph
      },
      variant {
        $0.architecture = .topk
        $0.multiTopK = true
        $0.decoderNorm = .graph
      },
      variant { $0.architecture = .batchtopk },
      variant {
        $0.architecture = .batchtopk
        $0.decoderNorm = .graph
      },
      variant {
        $0.architecture = .matryoshka
        $0.prefixes = [4, 9, 18]
      },
      variant {
        $0.architecture = .matryoshka
        $0.decoderNorm = .graph
      },
      variant {
        $0.architecture = .jumprelu
        $0.bandwidth = 0.4
        $0.initialThreshold = 0.2
      },
      variant {
        $0.architecture = .jumprelu
        $0.sparsity = .tanh
        $0.tanhScale = 1.5
        $0.bandwidth = 2
        $0.l0 = 0.3
        $0.decoderNorm = .graph
      },
      variant {
        $0.architecture = .jumprelu
        $0.targetL0 = 4
        $0.bandwidth = 0.4
      },
      variant { $0.architecture = .gated },
      variant {
        $0.architecture = .gated
        $0.decoderNorm = .graph
      },
      variant {
        $0.architecture = .panneal
        $0.pStart = 0.7
        $0.l1 = 0.1
      },
      variant {
        $0.architecture = .panneal
        $0.pStart = 0.7
        $0.pPower = true
      },
      variant {
        $0.architecture = .deep
        $0.deep.encoder = [5, 7]
        $0.deep.decoder = [6, 4]
      },
      variant {
        $0.architecture = .deep
        $0.deep.sparse = .topk
        $0.deep.encoder = [9]
        $0.deep.residual = false
        $0.deep.layerNorm = false
        $0.deep.encoderActivation = .relu
        $0.deep.decoderActivation = .tanh
        $0.deep.decoder = [3]
      },
      variant {
        $0.architecture = .deep
        $0.p = 0.7
        $0.l1 = 0.1
      },
      variant { $0.architecture = .tied },
      variant {
        $0.architecture = .tied
        $0.p = 0.7
        $0.l1 = 0.1
      },
      variant { ($0.architecture, $0.decoderNorm) = (.rica, .free) },
      variant { ($0.dOut, $0.skip) = (11, true) },
      variant {
        ($0.dOut, $0.skip) = (5, true)
        $0.decoderNorm = .graph
      },
      variant { ($0.architecture, $0.dOut) = (.topk, 3) },
      variant {
        ($0.architecture, $0.dOut, $0.skip) = (.topk, 20, true)
        $0.multiTopK = true
      },
      variant {
        ($0.architecture, $0.dOut, $0.skip) = (.matryoshka, 9, true)
        $0.prefixes = [4, 9, 18]
      },
      variant { ($0.architecture, $0.dOut, $0.skip) = (.gated, 9, true) },
      variant {
        ($0.architecture, $0.dOut, $0.skip) = (.jumprelu, 1, true)
        $0.bandwidth = 0.4
        $0.initialThreshold = 0.2
      },
    ]
  }()

  /// An SAE with biases and decoder rows of different norms, and a batch for it.
  private func example(
    _ configuration: SAEConfiguration, _ random: inout SeededGenerator
  ) throws -> (sae: any Autoencoder, tokens: Int, batch: [Float], targets: [Float]) {
    let tokens = 37
    let sae = try configuration.makeAutoencoder(seed: 3)
    for parameter in sae.parameters {
      let noise = random.floats(parameter.value.count, in: -0.05...0.15)
      parameter.value = Matrix(
        parameter.value.rows, parameter.value.columns, zip(parameter.value.values, noise).map { $0 + $1 })
    }
    return (
      sae, tokens, random.floats(tokens * configuration.dIn, in: -2...2),
      random.floats(tokens * configuration.outWidth, in: -2...2)
    )
  }

  private func computeGradients(_ sae: any Autoencoder, _ x: borrowing Matrix, _ targets: [Float]) -> StepLosses {
    guard sae.configuration.isTranscoder else { return sae.computeGradients(x) }
    return sae.computeGradients(x, target: Matrix(x.rows, sae.configuration.outWidth, targets))
  }

  /// Central differences of the loss along random directions of each parameter.
  @Test(arguments: configurations)
  func gradientsAgreeWithFiniteDifferences(configuration: SAEConfiguration) throws {
    var random = SeededGenerator(seed: 11)
    let (sae, tokens, batch, targets) = try example(configuration, &random)
    let x = Matrix(tokens, configuration.dIn, batch)
    let start = sae.activity
    let state = sae.state
    // gated: the reconstruction from gates holds the decoder constant.
    func loss(of parameter: Parameter) -> Double {
      sae.activity = start
      sae.activity.activeFraction = 0
      sae.state = state
      let losses = computeGradients(sae, x, targets)
      return losses.total - (configuration.architecture == .gated && parameter.name == "W_dec" ? losses.aux : 0)
    }
    // Inference may select otherwise than training does, hence the uses too.
    func pattern() -> [[Int]] {
      _ = computeGradients(sae, x, targets)
      let code = sae.encode(x)
      return (0..<tokens).map { code.row($0).map(\.latent) } + [sae.activity.uses]
    }
    // A threshold's gradient is no derivative of this loss: see ThresholdGradientTests.
    // bDec and skip of gated: constant in one of their places only; PyTorch checks them.
    for parameter in sae.parameters
    where parameter.name != "threshold"
      && (configuration.architecture != .gated || parameter.name != "b_dec" && parameter.name != "W_skip")
    {
      let start = parameter.value.copy()
      let before = pattern()
      let size = loss(of: parameter)
      let gradient = parameter.gradient.values
      var checked = 0
      // The selection jumps where latents cross: directions along which it stays the same are what a gradient is of.
      for _ in 0..<400 where checked < 5 {
        let direction = random.floats(parameter.value.count)
        let epsilon: Float = 2e-4
        var isSmooth = true
        func shifted(_ factor: Float) -> Double {
          parameter.value = Matrix(
            start.rows, start.columns, zip(start.values, direction).map { $0 + factor * epsilon * $1 })
          isSmooth = isSmooth && pattern() == before
          return loss(of: parameter)
        }
        let numeric = (shifted(1) - shifted(-1)) / Double(2 * epsilon)
        parameter.value = start.copy()
        guard isSmooth else { continue }
        checked += 1
        let exact = zip(gradient, direction).reduce(0.0) { $0 + Double($1.0 * $1.1) }
        // The loss in f32 over a step of 4e-4.
        #expect(
          abs(numeric - exact) < 2e-3 * max(abs(exact), size, 1),
          "\(parameter.name): numeric \(numeric), exact \(exact)")
      }
      #expect(checked == 5, "\(parameter.name): only \(checked) directions keep the selection")
    }
  }

  /// The local objective in two halves: what end-to-end objectives use. Prefixes and Multi-TopK are terms of the local
  /// objective alone, as AuxK is.
  @Test(arguments: configurations.filter { $0.architecture != .matryoshka && !$0.multiTopK })
  func backwardOfTheErrorEqualsTheLocalStep(configuration: SAEConfiguration) throws {
    var random = SeededGenerator(seed: 13)
    let (sae, tokens, batch, targets) = try example(configuration, &random)
    let x = Matrix(tokens, configuration.dIn, batch)
    let (start, state) = (sae.activity, sae.state)
    let whole = computeGradients(sae, x, targets)
    let gradients = sae.parameters.map { $0.gradient.values }
    let activity = sae.activity
    sae.activity = start
    sae.state = state
    var recon = Matrix(tokens, configuration.outWidth)
    sae.forward(x, into: &recon)
    recon.add(Matrix(tokens, configuration.outWidth, configuration.isTranscoder ? targets : batch), times: -1)
    let mse = sumOfSquares(recon) / Double(recon.count)
    #expect(abs(mse - whole.mse) < 1e-6 * whole.mse)
    recon.scale(by: 2 / Float(recon.count))
    let own = sae.backward(recon)
    #expect(abs(own.total + mse - whole.total) < 1e-6 * whole.total)
    #expect(abs(own.sparsity - whole.sparsity) < 1e-6 * max(1, whole.sparsity) && own.l0 == whole.l0)
    #expect(sae.activity == activity)
    for (parameter, expected) in zip(sae.parameters, gradients) {
      for (a, b) in zip(parameter.gradient.values, expected) { #expect(abs(a - b) < 1e-6, "\(parameter.name)") }
    }
  }

  /// Mean of (target − x̂_gate)² of `gated`, whose target is not its input, by dense loops in double precision.
  private func errorFromGates(_ sae: SparseAutoencoder, _ x: [Float], target: [Float]) -> Double {
    let (d, n) = (sae.configuration.dIn, sae.configuration.dSAE)
    let rows = (0..<n).map { j in
      let row = (0..<d).map { Double(sae.wDec.value[j, $0]) }
      let norm = row.reduce(0) { $0 + $1 * $1 }.squareRoot()
      return sae.configuration.decoderNorm == .graph ? row.map { $0 / norm } : row
    }
    let bias = (0..<d).map { Double(sae.bDec.value[0, $0]) }
    var squares = 0.0
    for start in stride(from: 0, to: x.count, by: d) {
      var recon = bias
      for j in 0..<n {
        let gate = (0..<d).reduce(Double(sae.bEnc.value[0, j])) {
          $0 + (Double(x[start + $1]) - bias[$1]) * Double(sae.wEnc.value[j, $1])
        }
        if gate > 0 { for i in 0..<d { recon[i] += gate * rows[j][i] } }
      }
      for i in 0..<d { squares += (Double(target[start + i]) - recon[i]) * (Double(target[start + i]) - recon[i]) }
    }
    return squares / Double(x.count)
  }

  /// What reaches the layer before the SAE, for a loss that is linear in the reconstruction plus the SAE's own.
  @Test(arguments: configurations)
  func gradientOfTheInputIsThatOfTheLoss(configuration: SAEConfiguration) throws {
    var random = SeededGenerator(seed: 15)
    let (sae, tokens, batch, _) = try example(configuration, &random)
    let (d, width) = (configuration.dIn, configuration.outWidth)
    let dRecon = Matrix(tokens, width, random.floats(tokens * width, in: -0.1...0.1))
    let (start, state) = (sae.activity, sae.state)
    var recon = Matrix(tokens, width)
    func run(_ values: [Float], dInput: Strip? = nil) -> (loss: Double, latents: [Int32]) {
      (sae.activity, sae.state) = (start, state)
      let x = Matrix(tokens, d, values)
      sae.forward(x, into: &recon)
      let own = sae.backward(dRecon, dInput: dInput)
      var loss = zip(recon.values, dRecon.values).reduce(own.total) { $0 + Double($1.0) * Double($1.1) }
      // The input is also the target of the reconstruction from gates, but a constant there.
      if configuration.architecture == .gated, !configuration.isTranscoder, let sae = sae as? SparseAutoencoder {
        loss += errorFromGates(sae, values, target: batch) - own.aux
      }
      return (loss, sae.encode(x).latents)
    }
    let gradient = Matrix(tokens, d, repeating: .nan)
    let (loss, latents) = run(batch, dInput: gradient.strip)
    var checked = 0
    for _ in 0..<400 where checked < 5 {
      // One token, so that few of the loss's kinks are near.
      let token = Int.random(in: 0..<tokens, using: &random)
      var direction = [Float](repeating: 0, count: tokens * d)
      direction.replaceSubrange(token * d..<(token + 1) * d, with: random.floats(d))
      let epsilon: Float = 5e-4
      let after = run(zip(batch, direction).map { $0 + epsilon * $1 })
      let before = run(zip(batch, direction).map { $0 - epsilon * $1 })
      guard after.latents == latents && before.latents == latents else { continue }
      // Beside a kink the slopes to the left and to the right differ; their mean is off by half of that.
      let (left, right) = ((loss - before.loss) / Double(epsilon), (after.loss - loss) / Double(epsilon))
      guard abs(left - right) < 3e-4 else { continue }
      let numeric = (left + right) / 2
      let exact = zip(gradient.values, direction).reduce(0.0) { $0 + Double($1.0) * Double($1.1) }
      checked += 1
      #expect(abs(numeric - exact) < 2e-4, "left \(left), right \(right), exact \(exact)")
    }
    #expect(checked == 5, "only \(checked) directions keep the selection")
  }

  /// A batch cut into parts, as while many latents are active, in one call and in two.
  @Test(arguments: configurations.filter { $0.architecture != .deep })
  func partsOfABatchAddUpToTheWhole(configuration: SAEConfiguration) throws {
    var random = SeededGenerator(seed: 14)
    let (sae, tokens, batch, targets) = try example(configuration, &random)
    let engine = try #require(sae as? SparseAutoencoder)
    let x = Matrix(tokens, configuration.dIn, batch)
    engine.activity.activeFraction = 0
    // Some steps into the run, where a rule has a state.
    engine.begin(step: 9, of: 10)
    _ = computeGradients(engine, x, targets)
    engine.activity.activeFraction = 0
    let (start, state) = (engine.activity, engine.state)
    let whole = computeGradients(engine, x, targets)
    let gradients = engine.parameters.map { $0.gradient.values }
    let (activity, after) = (engine.activity, engine.state)
    // 37 tokens of 18 latents, all expected in codes: parts of 5, and of 1.
    for maxEntries in [90, 1] {
      engine.maxEntries = maxEntries
      // Prefixes and Multi-TopK belong to the local objective alone.
      for isSplit in configuration.architecture == .matryoshka || configuration.multiTopK ? [false] : [false, true] {
        engine.activity = start
        engine.activity.entryFraction = 1
        engine.state = state
        var losses: StepLosses
        if isSplit {
          var recon = Matrix(tokens, configuration.outWidth)
          engine.forward(x, into: &recon)
          recon.add(Matrix(tokens, configuration.outWidth, configuration.isTranscoder ? targets : batch), times: -1)
          let mse = sumOfSquares(recon) / Double(recon.count)
          recon.scale(by: 2 / Float(recon.count))
          losses = engine.backward(recon)
          losses.total += mse
        } else {
          losses = computeGradients(engine, x, targets)
        }
        #expect(abs(losses.total - whole.total) < 1e-6 * whole.total)
        #expect(abs(losses.sparsity - whole.sparsity) < 1e-6 * max(1, whole.sparsity))
        #expect(abs(losses.l1 - whole.l1) < 1e-6 * max(1, whole.l1) && losses.l0 == whole.l0)
        #expect(engine.activity == activity)
        for (a, b) in zip(engine.state, after) { #expect(abs(a - b) <= 1e-6 * abs(b), "state \(after)") }
        for (parameter, expected) in zip(engine.parameters, gradients) {
          for (a, b) in zip(parameter.gradient.values, expected) { #expect(abs(a - b) < 1e-6, "\(parameter.name)") }
        }
      }
    }
  }

  @Test(arguments: [SAEConfiguration.Architecture.relu, .topk, .tied, .rica], [nil, 4, 20])
  func denseAndSparseStepsAgree(architecture: SAEConfiguration.Architecture, dOut: Int?) throws {
    if dOut != nil && !architecture.canTranscode { return }
    var random = SeededGenerator(seed: 12)
    let (d, n, tokens) = (9, 40, 70)
    var configuration = SAEConfiguration(architecture: architecture, dIn: d, dSAE: n, k: 7, l1: 0.3)
    (configuration.dOut, configuration.skip) = (dOut, dOut != nil)
    let x = Matrix(tokens, d, random.floats(tokens * d))
    let targets = random.floats(tokens * configuration.outWidth)
    let sparse = try SparseAutoencoder(configuration, seed: 4)
    let dense = try SparseAutoencoder(configuration, seed: 4)
    sparse.activity.activeFraction = 0
    dense.activity.activeFraction = 1
    let (a, b) = (computeGradients(sparse, x, targets), computeGradients(dense, x, targets))
    #expect(abs(a.total - b.total) < 1e-6 * a.total)
    #expect(a.l0 == b.l0)
    #expect(sparse.activity.tokensSinceActive == dense.activity.tokensSinceActive)
    for (p, q) in zip(sparse.parameters, dense.parameters) {
      for (g, h) in zip(p.gradient.values, q.gradient.values) { #expect(abs(g - h) < 1e-6, "\(p.name)") }
    }
  }
}
