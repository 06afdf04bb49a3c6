// Some 200 times slower in debug.
#if !DEBUG
  import LinearAlgebra
  import SAE
  import TestSupport
  import Testing
  import Train

  /// Tokens made of known directions, as in the toy model of Sharkey et al. 2022 (HoagyC/sparse_coding's
  /// `replicate_toy_models.py`, with half its sizes): 256 random unit vectors in 128 dimensions, each independently present
  /// with a probability that falls by 1 % from one to the next, five per token on average, of sizes uniform in [0, 1].
  private struct ToyData: ~Copyable {
    static let (width, nFeatures, activePerToken) = (128, 256, 5.0)
    /// [nFeatures, width], rows of unit norm.
    let features: Matrix
    private let thresholds: [UInt64]
    /// Makes a typical ‖x‖² the width.
    private let scale = Float((Double(width) / (activePerToken / 3)).squareRoot())

    init(seed: UInt64) {
      var random = GaussianGenerator(seed: seed)
      var rows = Matrix(Self.nFeatures, Self.width, random.normals(Self.nFeatures * Self.width))
      normalizeRows(&rows)
      features = rows
      var weights: [Double] = []
      for i in 0..<Self.nFeatures { weights.append(i == 0 ? 1 : weights[i - 1] * 0.99) }
      let total = weights.reduce(0, +)
      thresholds = weights.map { UInt64($0 / total * Self.activePerToken * 0x1p64) }
    }

    func batch(_ tokens: Int, seed: UInt64) -> Matrix {
      var random = SeededGenerator(seed: seed)
      var sizes = [Float](repeating: 0, count: tokens * Self.nFeatures)
      for i in sizes.indices where random.next() < thresholds[i % Self.nFeatures] {
        sizes[i] = scale * Float(random.next() >> 40) * 0x1p-24
      }
      var x = Matrix(tokens, Self.width)
      gemm(Matrix(tokens, Self.nFeatures, sizes), features, into: &x)
      return x
    }

    /// MMCS: the mean over the true directions of the largest cosine with a row of `decoder`, of unit rows.
    func recovery(by decoder: borrowing Matrix) -> Double {
      var cosines = Matrix(Self.nFeatures, decoder.rows)
      gemm(features, decoder, into: &cosines, transposeB: true)
      let values = cosines.values
      let best = (0..<Self.nFeatures).map { row in
        values[row * decoder.rows..<(row + 1) * decoder.rows].max() ?? 0
      }
      return best.reduce(0) { $0 + Double($1) } / Double(Self.nFeatures)
    }
  }

  @Suite struct RecoveryTests {
    @Test(arguments: [SAEConfiguration.Architecture.topk, .relu])
    func directionsThatMadeTheDataAreFoundWithinAMinute(arch: SAEConfiguration.Architecture) throws {
      let data = ToyData(seed: 5)
      let (batch, nSteps) = (1024, 1500)
      let configuration = SAEConfiguration(
        architecture: arch, dIn: ToyData.width, dSAE: 2 * ToyData.nFeatures, k: 5, l1: 3, deadTokens: 200_000)
      let sae = try SparseAutoencoder(configuration, seed: 1)
      let start = ContinuousClock.now
      sae.prepare(from: data.batch(batch, seed: 99))
      let optimizer = Optimizer(sae.parameters)
      let schedule = Schedule(peak: 4e-3, nSteps: nSteps, warmupFraction: 0.02)
      let before = data.recovery(by: sae.wDec.value)
      for step in 0..<nSteps {
        sae.begin(step: step, of: nSteps)
        _ = sae.computeGradients(data.batch(batch, seed: UInt64(100 + step)))
        #expect(optimizer.apply(learningRate: schedule.learningRate(step: step)) != nil)
      }
      let seconds = (ContinuousClock.now - start) / .seconds(1)
      let recovery = data.recovery(by: sae.wDec.value)
      // Random directions have 0.26 in 128 dimensions.
      #expect(before < 0.3)
      #expect(recovery >= 0.95, "\(arch.rawValue): \(recovery) after \(nSteps) steps of \(batch) tokens")
      // Some 10 s on two cores shared with other work.
      #expect(seconds < 60)
    }
  }
#endif
