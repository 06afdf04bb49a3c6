import LinearAlgebra
import SAE
import TestSupport
import Testing

@Suite struct InitializationTests {
  private func sae(
    _ architecture: SAEConfiguration.Architecture = .relu, dIn: Int = 7, dSAE: Int = 32, k: Int = 4,
    _ change: (inout SAEConfiguration) -> Void = { _ in }
  ) throws -> SparseAutoencoder {
    var configuration = SAEConfiguration(architecture: architecture, dIn: dIn, dSAE: dSAE, k: k)
    change(&configuration)
    return try SparseAutoencoder(configuration, seed: 9)
  }

  private func norms(_ matrix: borrowing Matrix) -> [Float] {
    (0..<matrix.rows).map { row in
      (0..<matrix.columns).reduce(Float(0)) { $0 + matrix[row, $1] * matrix[row, $1] }.squareRoot()
    }
  }

  @Test func encoderIsTheDecodersTransposeUnlessItIsRandom() throws {
    let tied = try sae()
    #expect(tied.wEnc.value.values == tied.wDec.value.values)
    let free = try sae { $0.initialization.encoder = .random }
    #expect(free.wDec.value.values == tied.wDec.value.values)
    #expect(free.wEnc.value.values != free.wDec.value.values)
    for norm in norms(free.wEnc.value) { #expect(abs(norm - 1) < 1e-5) }
  }

  @Test(arguments: [(1, 1), (1, 3), (5, 3), (7, 32), (16, 48), (33, 70)])
  func orthogonalDecoderIsOneBasisAfterTheOther(dIn: Int, dSAE: Int) throws {
    let decoder = try sae(dIn: dIn, dSAE: dSAE) { $0.initialization.decoder = .orthogonal }.wDec.value.copy()
    for start in stride(from: 0, to: dSAE, by: dIn) {
      for i in start..<min(start + dIn, dSAE) {
        for j in start..<min(start + dIn, dSAE) {
          let product = (0..<dIn).reduce(Float(0)) { $0 + decoder[i, $1] * decoder[j, $1] }
          // f32, some dozens of terms.
          #expect(abs(product - (i == j ? 1 : 0)) < 1e-5, "rows \(i) and \(j): \(product)")
        }
      }
    }
  }

  @Test(arguments: SAEConfiguration.Architecture.allCases.filter { !$0.isTied })
  func identityReconstructsItsInputBeforeTraining(architecture: SAEConfiguration.Architecture) throws {
    for dSAE in [14, 15, 32, 57] {
      let sae = try sae(architecture, dSAE: dSAE, k: 7) {
        $0.initialization.isIdentity = true
        // Coordinates below a threshold are lost.
        $0.initialThreshold = 0
      }
      var random = SeededGenerator(seed: 3)
      let x = Matrix(50, 7, random.floats(350, in: -2...2))
      sae.prepare(from: x)
      let recon: [Float]
      if architecture.usesK {
        // k per token while training; batchtopk has no threshold for inference yet.
        var out = Matrix(50, 7)
        sae.forward(x, into: &out)
        recon = out.values
      } else {
        recon = sae.decode(sae.encode(x)).values
      }
      let error = zip(recon, x.values).reduce(Float(0)) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
      // Encoder rows beyond the last basis are 0.01 long.
      let allowed: Float = dSAE % 14 == 0 ? 1e-9 : 1e-3
      #expect(error < allowed * Float(sumOfSquares(x)), "\(dSAE) latents: \(error)")
      for norm in norms(sae.wDec.value) { #expect(abs(norm - 1) < 1e-5) }
    }
  }

  @Test func identityNeedsLatentsForBothSignsAndAllCoordinates() {
    #expect(
      throws: SAEError.invalid(
        "init is identity, which needs 14 latents or more (two per dimension, 7); latents are 13")
    ) { _ = try sae(dSAE: 13) { $0.initialization.isIdentity = true } }
    #expect(
      throws: SAEError.invalid(
        "init is identity, which needs as many active latents per token as there are dimensions, 7; k is 4 at the start: "
          + "give --k-start 7 or more")
    ) { _ = try sae(.topk) { $0.initialization.isIdentity = true } }
    #expect(throws: Never.self) {
      _ = try sae(.topk) { ($0.initialization.isIdentity, $0.kStart) = (true, 7) }
    }
  }

  @Test func oneMatrixAndTranscodersCannotBeTheIdentity() {
    let rest = "leave it out for"
    for (architecture, dOut, word) in [
      (SAEConfiguration.Architecture.tied, nil, "tied"), (.rica, nil, "rica"), (.relu, 7, "a transcoder"),
    ] {
      #expect(
        throws: SAEError.invalid(
          "init is identity, which needs an encoder of its own and the input as target; \(rest) \(word)")
      ) {
        _ = try sae(architecture) { ($0.initialization.isIdentity, $0.dOut) = (true, dOut) }
      }
    }
    #expect(throws: SAEError.invalid("encoder-init is random, but tied has one matrix for both")) {
      _ = try sae(.tied) { $0.initialization.encoder = .random }
    }
  }

  /// WᵀW = 1, whatever the number of bases.
  @Test func orthogonalRicaReconstructsItsInputBeforeTraining() throws {
    for dSAE in [7, 14, 35] {
      let sae = try sae(.rica, dSAE: dSAE) { $0.initialization.decoder = .orthogonal }
      var random = SeededGenerator(seed: 3)
      let x = Matrix(50, 7, random.floats(350, in: -2...2))
      sae.prepare(from: x)
      let code = sae.encode(x)
      #expect(code.nActive == 50 * dSAE)
      for (a, b) in zip(sae.decode(code).values, x.values) { #expect(abs(a - b) < 1e-5) }
    }
  }

  @Test func aTranscoderStartsFromItsTargets() throws {
    let sae = try sae(dSAE: 20) { ($0.dOut, $0.skip, $0.initialization.bias) = (3, true, .mean) }
    sae.prepare(from: Matrix(2, 3, [1, 2, 3, 3, 2, 5]))
    #expect(sae.bDec.value.values == [2, 2, 4])
    #expect(sae.wDec.value.columns == 3 && sae.wEnc.value.columns == 7)
    for matrix in [sae.wDec, sae.wEnc] { for norm in norms(matrix.value) { #expect(abs(norm - 1) < 1e-5) } }
    #expect(sae.wSkip?.value.values == [Float](repeating: 0, count: 21))
  }

  @Test func biasIsTheMedianTheMeanOrZero() throws {
    // Two tokens of three are alike: their geometric median is that point.
    let sample = Matrix(3, 2, [1, 2, 1, 2, 7, -4])
    func bias(_ choice: Initialization.Bias) throws -> [Float] {
      let sae = try sae(dIn: 2) { $0.initialization.bias = choice }
      sae.prepare(from: sample)
      return sae.bDec.value.values
    }
    for (found, expected) in zip(try bias(.median), [1, 2] as [Float]) { #expect(abs(found - expected) < 1e-2) }
    #expect(try bias(.mean) == [3, 0])
    #expect(try bias(.zero) == [0, 0])
  }

  @Test(arguments: SAEConfiguration.Architecture.allCases)
  func weightsOfAnotherAreTakenWithTheirNormalization(architecture: SAEConfiguration.Architecture) throws {
    let other = try sae(architecture)
    var random = SeededGenerator(seed: 4)
    other.bEnc.value = Matrix(1, 32, random.floats(32))
    other.bDec.value = Matrix(1, 7, random.floats(7))
    for parameter in other.parameters.dropFirst(4) { parameter.value = Matrix(1, 32, random.floats(32, in: 0...0.5)) }
    let mine = try sae(architecture) { $0.k = 4 }
    try mine.takeWeights(of: other, normalization: .factor(3), name: "runs/a")
    let raw = Matrix(20, 7, random.floats(140, in: -2...2))
    var scaled = raw.copy()
    scaled.scale(by: 3)
    let (a, b) = (other.decode(other.encode(raw)).values, mine.decode(mine.encode(scaled)).values)
    for (x, y) in zip(a, b) { #expect(abs(3 * x - y) < 1e-5 * max(1, abs(y))) }
  }

  @Test func weightsThatDoNotFitAreRefused() throws {
    let run = try sae()
    func message(_ other: SparseAutoencoder, _ mine: SparseAutoencoder) -> String {
      do { try mine.takeWeights(of: other, normalization: .factor(1), name: "runs/a") } catch { return "\(error)" }
      return "taken"
    }
    #expect(
      message(try sae(dSAE: 31), run)
        == "init runs/a has 31 latents of width 7, this run 32 of width 7; give a run of the same shape")
    #expect(
      message(try sae(.gated), run)
        == "init runs/a is gated, this run relu: gated latents have weights that others do not; give a run of the same kind"
    )
    let long = try sae { $0.decoderNorm = .free }
    long.wDec.value.scale(by: 2)
    #expect(
      message(long, run).hasSuffix("but here rows are held at 1; fold the norms into its encoder first"))
    #expect(message(try sae(.topk), run) == "taken")
    #expect(
      message(try sae { ($0.dOut, $0.skip) = (7, true) }, run)
        == "init runs/a is a transcoder to width 7 with skip, this run an autoencoder; give a run of the same kind")
    #expect(
      message(try sae(.rica), run)
        == "init runs/a is rica, this run relu: latents of rica have either sign; give a run of the same kind")
    #expect(message(run, try sae(.tied)) == "taken")
    #expect(
      message(try sae { $0.initialization.encoder = .random }, try sae(.tied))
        == "init runs/a: its encoder and decoder differ, but tied has one matrix for both; give a run of tied, or train relu"
    )
  }
}
