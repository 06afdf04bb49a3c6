import LinearAlgebra

/// What an SAE's weights are before the first step. Each part can be chosen by itself, so that its effect can be measured.
package struct Initialization: Codable, Sendable, Equatable {
  package enum Encoder: String, Codable, Sendable, CaseIterable {
    /// The decoder's rows (Gao et al. 2024, A.1); the two are not tied afterwards.
    case transpose
    /// Random on the unit sphere, independent of the decoder.
    case random
  }

  package enum Decoder: String, Codable, Sendable, CaseIterable {
    /// Random on the unit sphere.
    case random
    /// One random orthonormal basis after the other; the last may be a part of one. Where dIn divides dSAE, rows are those
    /// of torch's `orthogonal_` (e2e_sae) but for their length: wDecᵀ·wDec = dSAE/dIn · 1.
    case orthogonal
  }

  /// What bDec is made of, from the tokens of the first batch.
  package enum Bias: String, Codable, Sendable, CaseIterable {
    /// Their geometric median (Gao et al. 2024, A.1; dictionary_learning).
    case median
    case mean
    /// 0 (SAELens).
    case zero
  }

  package var encoder = Encoder.transpose
  package var decoder = Decoder.random
  package var bias = Bias.median
  /// Whether x̂ ≈ x before training, in place of `encoder` and `decoder`: see `SparseAutoencoder.setIdentity`.
  package var isIdentity = false

  package init() {}

  /// Throws `SAEError.invalid` if an SAE of this kind cannot be the identity.
  func validate(for configuration: SAEConfiguration) throws(SAEError) {
    if configuration.architecture.isTied && encoder == .random {
      throw .invalid("encoder-init is random, but \(configuration.architecture.rawValue) has one matrix for both")
    }
    guard isIdentity else { return }
    if configuration.isTranscoder || configuration.architecture.isTied {
      throw .invalid(
        "init is identity, which needs an encoder of its own and the input as target; leave it out for "
          + (configuration.isTranscoder ? "a transcoder" : configuration.architecture.rawValue))
    }
    let (d, n) = (configuration.dIn, configuration.dSAE)
    guard n >= 2 * d else {
      throw .invalid(
        "init is identity, which needs \(2 * d) latents or more (two per dimension, \(d)); latents are \(n)")
    }
    let k = configuration.kStart ?? configuration.k
    guard !configuration.architecture.usesK || k >= d else {
      throw .invalid(
        "init is identity, which needs as many active latents per token as there are dimensions, \(d); k is \(k) at the "
          + "start: give --k-start \(d) or more")
    }
  }
}

extension SparseAutoencoder {
  /// The weights of the configuration's `initialization`, biases and skip 0. A transcoder's encoder is random in any case, as
  /// SAELens': its rows are of other activations than the decoder's. rica's rows are √(dIn/dSAE) long, so that
  /// WᵀW ≈ 1 (with `orthogonal` and dSAE a multiple of dIn, = 1).
  func setWeights(seed: UInt64) {
    let (n, d, width) = (configuration.dSAE, configuration.dIn, configuration.outWidth)
    let choice = configuration.initialization
    var random = GaussianGenerator(seed: seed)
    wDec.value = Matrix(n, width, random.normals(n * width))
    if choice.isIdentity || choice.decoder == .orthogonal {
      orthonormalizeBlocks(&wDec.value)
    } else {
      normalizeRows(&wDec.value)
    }
    if choice.isIdentity {
      setIdentity()
    } else if configuration.architecture.isTied {
      if configuration.architecture == .rica { wDec.value.scale(by: (Float(d) / Float(n)).squareRoot()) }
    } else if choice.encoder == .transpose && !configuration.isTranscoder {
      wEnc.value = wDec.value.copy()
    } else {
      wEnc.value = Matrix(n, d, random.normals(n * d))
      normalizeRows(&wEnc.value)
    }
  }

  /// Makes x̂ ≈ x for every x and bDec: with an orthonormal basis q, the latents of decoder rows ±q_i and the same encoder
  /// rows are the positive and negative parts of x's coordinates. Several bases, of which the first is that of the
  /// coordinates and others random, each reconstruct their share, so that no latent is idle or the twin of another:
  ///
  ///     x̂ = Σ_bases 1/m · (Σ_i max(q_i·x, 0) q_i + max(−q_i·x, 0) (−q_i)) = x
  ///
  /// Kinds that keep k latents have one basis (m = 1): of more, a token would need all of m·dIn latents. Encoder rows of
  /// what is left are a hundredth of the decoder's: too small to disturb, large enough to learn. jumprelu loses
  /// coordinates below its thresholds. wDec must hold orthonormal blocks of dIn rows.
  private func setIdentity() {
    let (n, d) = (configuration.dSAE, configuration.dIn)
    let nBases = configuration.architecture.usesK ? 1 : n / (2 * d)
    let start = wDec.value.copy()
    for basis in 0..<nBases {
      for i in 0..<d {
        for column in 0..<d {
          let q: Float = basis == 0 ? (i == column ? 1 : 0) : start[basis * d + i, column]
          wDec.value[2 * (basis * d + i), column] = q
          wDec.value[2 * (basis * d + i) + 1, column] = -q
        }
      }
    }
    wEnc.value = wDec.value.copy()
    wEnc.value.scale(by: 1 / Float(nBases))
    for row in 2 * d * nBases..<n {
      for column in 0..<d { wEnc.value[row, column] = 0.01 * wDec.value[row, column] }
    }
  }

  /// Sets `bDec` from `sample` [tokens, dIn], a transcoder's from targets [tokens, dOut], as the configuration's `initialization` says.
  func setDecoderBias(from sample: borrowing Matrix) {
    switch configuration.initialization.bias {
    case .median: setDecoderBias(fromMedianOf: sample)
    case .mean:
      bDec.value = columnSums(sample)
      bDec.value.scale(by: 1 / Float(max(1, sample.rows)))
    case .zero: bDec.value = Matrix(1, configuration.outWidth)
    }
  }

  /// Takes the weights of another SAE, made for raw activations, for those that `normalization` makes of them: biases and
  /// thresholds change with the factor. What the other kind does not have (thresholds of a relu SAE for a jumprelu one) stays as it is.
  ///
  /// - Parameters:
  ///   - targetScale: of a transcoder, the factor on raw targets.
  ///   - name: of the other one, for messages.
  /// - Throws: `SAEError.invalid` if the other has another shape, normalization or target, only one of the two is gated, or
  ///   rica, or rows of its decoder are not of unit norm where this one's are held there, or not its encoder's where both are
  ///   one.
  package func takeWeights(
    of other: SparseAutoencoder, normalization: InputNormalization, targetScale: Float? = nil, name: String
  ) throws(SAEError) {
    let inputScale = normalization.folded
    guard other.standardizesTokens == (normalization == .perToken) else {
      let (theirs, mine) = other.standardizesTokens ? ("", "not ") : ("not ", "")
      throw .invalid(
        "init \(name) is \(theirs)for tokens normalised one by one (--normalization unit), this run is \(mine)for them; "
          + "choose the --normalization that it was trained with")
    }
    let (mine, theirs) = (configuration, other.configuration)
    guard mine.dOut == theirs.dOut, mine.skip == theirs.skip else {
      func text(_ shape: SAEConfiguration) -> String {
        shape.dOut.map { "a transcoder to width \($0) with\(shape.skip ? "" : "out") skip" } ?? "an autoencoder"
      }
      throw .invalid("init \(name) is \(text(theirs)), this run \(text(mine)); give a run of the same kind")
    }
    guard (mine.dIn, mine.dSAE) == (theirs.dIn, theirs.dSAE) else {
      throw .invalid(
        "init \(name) has \(theirs.dSAE) latents of width \(theirs.dIn), this run \(mine.dSAE) of width \(mine.dIn); give a "
          + "run of the same shape")
    }
    guard (rule is Gated) == (other.rule is Gated) else {
      throw .invalid(
        "init \(name) is \(theirs.architecture.rawValue), this run \(mine.architecture.rawValue): gated latents have "
          + "weights that others do not; give a run of the same kind")
    }
    guard (mine.architecture == .rica) == (theirs.architecture == .rica) else {
      throw .invalid(
        "init \(name) is \(theirs.architecture.rawValue), this run \(mine.architecture.rawValue): latents of rica have "
          + "either sign; give a run of the same kind")
    }
    if mine.architecture == .tied, wEnc.value.count == other.wEnc.value.count {
      var apart = other.wEnc.value.copy()
      apart.add(other.wDec.value, times: -1)
      guard sumOfSquares(apart) <= 1e-6 * sumOfSquares(other.wDec.value) else {
        throw .invalid(
          "init \(name): its encoder and decoder differ, but tied has one matrix for both; give a run of tied, or train relu"
        )
      }
    }
    if wDec.hasUnitRows {
      for (row, square) in squaredNorms(other.wDec.value).enumerated() {
        let norm = Float(square.squareRoot())
        guard abs(norm - 1) < 1e-3 else {
          throw .invalid(
            "init \(name): row \(row) of its decoder has norm \(norm), but here rows are held at 1; fold the norms into "
              + "its encoder first")
        }
      }
    }
    // Latents are in units of what is reconstructed.
    let targetScale = targetScale ?? inputScale
    func scaled(_ values: borrowing Matrix, by factor: Float) -> Matrix {
      var result = values.copy()
      result.scale(by: factor)
      return result
    }
    func scaled(_ bias: borrowing Matrix) -> Matrix { scaled(bias, by: targetScale) }
    wDec.value = other.wDec.value.copy()
    wEnc.value = scaled(other.wEnc.value, by: targetScale / inputScale)
    if let wSkip, let theirs = other.wSkip { wSkip.value = scaled(theirs.value, by: targetScale / inputScale) }
    bEnc.value = scaled(other.bEnc.value)
    bDec.value = scaled(other.bDec.value)
    if let rule = rule as? JumpReLU, let thresholds = other.rule.thresholds {
      rule.threshold.value = Matrix(1, mine.dSAE, thresholds.map { $0 * targetScale })
    }
    if let rule = rule as? Gated, let theirs = other.rule as? Gated {
      rule.bMag.value = scaled(theirs.bMag.value)
      rule.rMag.value = theirs.rMag.value.copy()
    }
  }
}
