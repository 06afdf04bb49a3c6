import ActCache
import Foundation
import LinearAlgebra
import SAE

extension Activity {
  /// Losses and gradients.
  package static let compute = Activity(rawValue: "compute")
  /// The optimizer's sweep and what belongs to it.
  package static let optimize = Activity(rawValue: "optimize")
}

/// Times training steps: on the batches of a source, or on synthetic activations, sparse combinations of 4·d directions
/// plus noise, the data of the usual comparisons with PyTorch libraries, which cost nothing to read.
package struct TrainBenchmark {
  package struct Result: Codable, Sendable {
    package var arch: SAEConfiguration.Architecture
    package var d, latents, k, batch: Int
    package var threads: Int
    package var steps: Int
    /// Of every step, reading its batch included.
    package var secondsPerStep: [Double]
    package var medianSecondsPerStep: Double
    package var minSecondsPerStep: Double
    package var maxSecondsPerStep: Double
    package var tokensPerSecond: Double
    /// Active latents per token in the last step.
    package var l0: Double
    /// Of the encoder's products alone (2·d·latents per token) at the measured tokens per second, in GFLOP/s.
    package var encoderGFLOPs: Double
    package var medianSecondsPerOptimization = 0.0
    /// Bytes that the optimizer had to read and write in the last step, in GB per second of its median time.
    package var optimizerGBs = 0.0
    /// Of this benchmark's own steps, also where another run's were added.
    package var profile = StepProfile(phases: [])
    /// Where the time went: "train", and the source's own threads.
    package var lanes: [Lane]

    /// The steps of this run and of another one of the same kind, of which the lanes keep no spans.
    package func adding(_ other: Result) -> Result {
      var sum = self
      sum.setSeconds(secondsPerStep + other.secondsPerStep)
      for (i, lane) in other.lanes.enumerated() where i < lanes.count { sum.lanes[i].addTotals(of: lane) }
      return sum
    }

    fileprivate mutating func setSeconds(_ seconds: [Double]) {
      let sorted = seconds.sorted()
      secondsPerStep = seconds
      steps = seconds.count
      medianSecondsPerStep = sorted[sorted.count / 2]
      minSecondsPerStep = sorted[0]
      maxSecondsPerStep = sorted[sorted.count - 1]
      tokensPerSecond = Double(batch) / medianSecondsPerStep
      encoderGFLOPs = tokensPerSecond * 2 * Double(d * latents) / 1e9
    }
  }

  package let configuration: SAEConfiguration
  package let batch: Int
  package let steps: Int
  private let optimizer: OptimizerConfiguration
  private let source: (any BatchSource)?
  private let startL0: Double?
  private static let uncounted = 2

  /// - Parameters:
  ///   - source: of batches of `batch` tokens; nil for synthetic ones.
  ///   - startL0: latents per token that are active at the start; nil: as many as random weights give, about half. A trained
  ///     SAE has few, and costs less.
  package init(
    _ configuration: SAEConfiguration, batch: Int, steps: Int, optimizer: OptimizerConfiguration = .init(),
    source: (any BatchSource)? = nil, startL0: Double? = nil
  ) {
    self.configuration = configuration
    self.batch = batch
    self.steps = steps
    self.optimizer = optimizer
    self.source = source
    self.startL0 = startL0
  }

  /// Two steps are not counted.
  package func run() throws -> Result {
    let sae = try configuration.makeAutoencoder(seed: 0)
    let rate = LearningRate.auto.peak(optimizer.kind, dSAE: configuration.dSAE) ?? 1e-3
    let optimizer = Optimizer(sae.parameters, self.optimizer)
    let pool = source == nil ? (0..<4).map { SharedMatrix(syntheticBatch(seed: UInt64($0))) } : []
    var read = Matrix(source == nil ? 0 : batch, configuration.dIn)
    let scale = Float(source?.normalizationScale ?? 1)
    var target = Matrix(read.rows, source?.target?.width ?? 0)
    let targetScale = Float(source?.target?.normalizationScale ?? 1)
    if let source {
      try source.read(batch: 0, into: &read, target: &target)
      read.scale(by: scale)
      target.scale(by: targetScale)
      if configuration.isTranscoder { sae.prepare(from: target) } else { sae.prepare(from: read) }
    } else {
      sae.prepare(from: pool[0].matrix)
    }
    if let startL0 {
      if source == nil {
        sae.lowerBias(toL0: startL0, on: pool[0].matrix)
      } else {
        sae.lowerBias(toL0: startL0, on: read)
      }
    }
    let clock = PhaseClock()
    sae.onPhase = { clock.lap($0) }
    var reading = 0.0
    var seconds: [Double] = []
    var optimizerSeconds: [Double] = []
    var l0 = 0.0
    var origin = LapTimer.now
    var timer = LapTimer("train", origin: origin, keepsSpans: true)
    for step in 0..<steps + TrainBenchmark.uncounted {
      if step == TrainBenchmark.uncounted {
        origin = LapTimer.now
        timer = LapTimer("train", origin: origin, keepsSpans: true)
        clock.reset()
        reading = 0
      }
      let start = ContinuousClock.now
      if let source {
        let waited = source.secondsWaited
        try source.read(batch: step, into: &read, target: &target)
        read.scale(by: scale)
        target.scale(by: targetScale)
        timer.lap(source.reading, afterWaiting: source.secondsWaited - waited)
        reading += (ContinuousClock.now - start) / .seconds(1)
        clock.start()
        l0 =
          configuration.isTranscoder
          ? sae.computeGradients(read, target: target).l0 : sae.computeGradients(read).l0
      } else {
        clock.start()
        l0 = sae.computeGradients(pool[step % 4].matrix).l0
      }
      timer.lap(.compute)
      let computed = ContinuousClock.now
      optimizer.apply(learningRate: rate)
      timer.lap(.optimize)
      if step >= TrainBenchmark.uncounted {
        let now = ContinuousClock.now
        seconds.append((now - start) / .seconds(1))
        optimizerSeconds.append((now - computed) / .seconds(1))
      }
    }
    let optimization = optimizerSeconds.sorted()[steps / 2]
    var result = Result(
      arch: configuration.architecture, d: configuration.dIn, latents: configuration.dSAE, k: configuration.k,
      batch: batch, threads: Threads.count, steps: 0, secondsPerStep: [], medianSecondsPerStep: 0,
      minSecondsPerStep: 0, maxSecondsPerStep: 0, tokensPerSecond: 0, l0: l0, encoderGFLOPs: 0,
      medianSecondsPerOptimization: optimization, optimizerGBs: Double(optimizer.bytesMoved) / optimization / 1e9,
      lanes: [timer.lane] + (source?.lanes(since: origin) ?? []))
    result.setSeconds(seconds)
    var phases =
      source == nil ? [] : [StepProfile.Phase(name: "reading", secondsPerStep: reading / Double(steps))]
    phases += clock.phases(
      steps: steps, of: configuration, batch: batch, l0: l0,
      product: productSeconds(source == nil ? pool[0].matrix.copy() : read.copy()))
    phases.append(
      StepProfile.Phase(
        name: "optimizer", secondsPerStep: optimizerSeconds.reduce(0, +) / Double(steps),
        gigabytesPerSecond: result.optimizerGBs))
    result.profile.phases = phases
    return result
  }

  /// The least of five products of an encoder with `x`, which has the width of the layer before the latents.
  private func productSeconds(_ x: borrowing Matrix) -> Double {
    let width = configuration.architecture == .deep ? configuration.deep.encoder.last ?? x.columns : x.columns
    guard width == x.columns else { return 0 }
    let wEnc = Matrix(configuration.dSAE, width, repeating: 0.5)
    var least = Double.infinity
    for _ in 0..<5 {
      let start = ContinuousClock.now
      encoderProducts(x, wEnc)
      least = min(least, (ContinuousClock.now - start) / .seconds(1))
    }
    return least
  }

  private func normals(_ count: Int, seed: UInt64) -> [Float] {
    var random = GaussianGenerator(seed: seed)
    return random.normals(count)
  }

  private func syntheticBatch(seed: UInt64) -> Matrix {
    let d = configuration.dIn
    var basis = Matrix(4 * d, d, normals(4 * d * d, seed: 1000))
    basis.scale(by: 1 / Float(d).squareRoot())
    let code = Matrix(batch, 4 * d, normals(batch * 4 * d, seed: seed).map { max(0, $0 - 2) })
    var x = Matrix(batch, d, normals(batch * d, seed: seed + 100))
    x.scale(by: 0.05)
    gemm(code, basis, into: &x, accumulating: true)
    // To the scale of training: ‖x‖² ≈ d.
    x.scale(by: Float((Double(x.count) / sumOfSquares(x)).squareRoot()))
    return x
  }
}
