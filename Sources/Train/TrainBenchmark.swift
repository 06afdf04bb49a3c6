import Foundation
import LinearAlgebra
import SAE

/// Times training steps on synthetic activations: sparse combinations of 4·d directions plus noise, the data of the
/// usual comparisons with PyTorch libraries.
package struct TrainBenchmark: Sendable {
  package struct Result: Codable, Sendable {
    package var arch: SAEConfiguration.Architecture
    package var d, latents, k, batch: Int
    package var threads: Int
    package var steps: Int
    package var medianSecondsPerStep: Double
    package var minSecondsPerStep: Double
    package var maxSecondsPerStep: Double
    package var tokensPerSecond: Double
    /// Active latents per token in the last step.
    package var l0: Double
    /// Of the encoder's products alone (2·d·latents per token) at the measured tokens per second, in GFLOP/s.
    package var encoderGFLOPs: Double
  }

  package let configuration: SAEConfiguration
  package let batch: Int
  package let steps: Int

  package init(_ configuration: SAEConfiguration, batch: Int, steps: Int) {
    self.configuration = configuration
    self.batch = batch
    self.steps = steps
  }

  /// Two steps are not counted.
  package func run() throws -> Result {
    let sae = try SparseAutoencoder(configuration, seed: 0)
    let optimizer = Optimizer(sae)
    let pool = (0..<4).map { SharedMatrix(syntheticBatch(seed: UInt64($0))) }
    sae.setDecoderBias(fromMedianOf: pool[0].matrix)
    var seconds: [Double] = []
    var l0 = 0.0
    for step in 0..<steps + 2 {
      let start = ContinuousClock.now
      l0 = sae.computeGradients(pool[step % 4].matrix).l0
      optimizer.apply(to: sae, learningRate: Schedule.defaultPeak(dSAE: configuration.dSAE))
      if step >= 2 { seconds.append((ContinuousClock.now - start) / .seconds(1)) }
    }
    seconds.sort()
    let median = seconds[seconds.count / 2]
    let rate = Double(batch) / median
    return Result(
      arch: configuration.architecture, d: configuration.dIn, latents: configuration.dSAE, k: configuration.k,
      batch: batch, threads: Threads.count, steps: steps, medianSecondsPerStep: median,
      minSecondsPerStep: seconds[0], maxSecondsPerStep: seconds[seconds.count - 1], tokensPerSecond: rate, l0: l0,
      encoderGFLOPs: rate * 2 * Double(configuration.dIn * configuration.dSAE) / 1e9)
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
