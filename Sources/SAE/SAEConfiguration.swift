import LinearAlgebra

/// What kind of autoencoder, and how large.
package struct SAEConfiguration: Codable, Sendable, Equatable {
  package enum Architecture: String, Codable, Sendable, CaseIterable {
    /// ReLU latents with an L1 penalty (Bricken et al. 2023).
    case relu
    /// The k largest latents of a token, with AuxK for dead ones (Gao et al. 2024, arXiv 2406.04093).
    case topk
    /// The k·B largest latents of a batch of B tokens, a threshold in inference (Bussmann et al. 2024,
    /// arXiv 2412.06410), with AuxK.
    case batchtopk
    /// batchtopk whose loss is a mean over nested prefixes of the latents (Bussmann et al. 2025, arXiv 2503.17547).
    case matryoshka
    /// Latents above a trained threshold, with a penalty on their number (Rajamanoharan et al. 2024, arXiv 2407.14435).
    case jumprelu
    /// Latents whose gate and size have biases of their own (Rajamanoharan et al. 2024, arXiv 2404.16014).
    case gated
    /// ReLU latents with a penalty on ‖c‖_p whose p falls (Karvonen et al. 2024, arXiv 2408.00113).
    case panneal
    /// Hidden layers on either side of the sparse one.
    case deep
    /// relu with one matrix for encoder and decoder (Cunningham et al. 2023, arXiv 2309.08600).
    case tied
    /// Linear latents by one matrix, reconstruction instead of orthogonality (Le et al. 2011).
    case rica

    /// Whether the number of active latents is set, and dead ones are helped by AuxK.
    package var usesK: Bool { self == .topk || self == .batchtopk || self == .matryoshka }
    /// Whether encoder and decoder are one matrix.
    package var isTied: Bool { self == .tied || self == .rica }
    /// Whether it can reconstruct other activations than its input.
    package var canTranscode: Bool { !isTied && self != .deep }
  }

  /// What jumprelu's penalty is of.
  package enum Sparsity: String, Codable, Sendable, CaseIterable {
    /// The number of active latents.
    case step
    /// Σ tanh(s · c).
    case tanh
  }

  /// What keeps the decoder's rows from growing while latents shrink under their penalty.
  package enum DecoderNorm: String, Codable, Sendable, CaseIterable {
    /// Rows are held at unit norm: the gradient loses its part along each row, rows are rescaled after each step
    /// (Bricken et al. 2023).
    case unit
    /// Rows are divided by their norm within the loss, and drift freely (e2e_sae).
    case graph
    /// Nothing does.
    case free
  }

  package var architecture: Architecture
  /// Width of the activations.
  package var dIn: Int
  /// Of a transcoder, the width of the activations that it makes from those at its input; nil for all others. Penalties are
  /// then divided by it instead of dIn.
  package var dOut: Int?
  /// Of a transcoder: whether a linear map of the input is added to the reconstruction.
  package var skip = false
  /// Latents.
  package var dSAE: Int
  /// rica: free.
  package var decoderNorm: DecoderNorm
  /// topk, batchtopk, matryoshka: active latents per token.
  package var k: Int
  /// The same three: k of the first step, where it is to change.
  package var kStart: Int?
  /// Share of the steps in which k goes from `kStart` to `k`.
  package var kAnnealFraction = 0.1
  /// topk: whether the loss also has that of the 4k largest latents, with weight 1/8 (Multi-TopK).
  package var multiTopK = false
  /// matryoshka: widths of the nested prefixes, ascending; all latents are the last. Empty: `Matryoshka.defaultPrefixes`.
  package var prefixes: [Int] = []
  /// topk, batchtopk, matryoshka: dead latents per token that reconstruct the residual; dIn / 2 where not set.
  package var kAux: Int
  /// The same three: weight of the AuxK loss (1/32 in the paper).
  package var auxCoefficient: Float
  /// relu, tied, gated, panneal: λ of the penalty λ · mean over tokens of ‖c‖_p / dIn; panneal adapts it. rica: of λ · mean
  /// over tokens of Σ log cosh c / dIn.
  package var l1: Float
  /// relu, tied: p of the penalty.
  package var p: Float = 1
  /// jumprelu: λ of λ · mean over tokens of the number of active latents, or of Σ tanh, / dIn.
  package var l0: Float = 1
  package var sparsity = Sparsity.step
  /// jumprelu: L0 that the penalty λ · (L0 / target − 1)² / dIn draws to, in place of `sparsity`.
  package var targetL0: Float?
  /// jumprelu: s of tanh(s · c).
  package var tanhScale: Float = 4
  /// jumprelu: width of the band around a threshold in which pre-activations move it. Here as in SAELens; the paper has
  /// 0.001 for activations of norm 1, in our units 0.001·√dIn.
  package var bandwidth: Float = 0.05
  /// jumprelu: thresholds at the start, as in SAELens.
  package var initialThreshold: Float = 0.01
  /// panneal: p falls from the first to the second.
  package var pStart: Float = 1
  package var pEnd: Float = 0.2
  /// panneal: the penalty is of ‖c‖_p^p.
  package var pPower = false
  /// panneal: share of the run before p begins to fall.
  package var annealStart: Float = 0.1
  /// panneal: in how many updates it falls, the first and last included.
  package var annealUpdates = 10
  /// deep: the layers around the sparse one, and its kind.
  package var deep = DeepShape()
  /// A latent is dead when it was not active for this many tokens.
  package var deadTokens: Int
  package var initialization = Initialization()

  package init(
    architecture: Architecture, dIn: Int, dSAE: Int, k: Int = 32, kAux: Int? = nil, auxCoefficient: Float = 1 / 32,
    l1: Float = 1, deadTokens: Int = 10_000_000
  ) {
    self.architecture = architecture
    self.dIn = dIn
    self.dSAE = dSAE
    self.k = k
    self.kAux = kAux ?? max(1, dIn / 2)
    self.auxCoefficient = auxCoefficient
    self.l1 = l1
    self.deadTokens = deadTokens
    decoderNorm = architecture == .rica ? .free : .unit
  }

  /// Width of what is reconstructed.
  package var outWidth: Int { dOut ?? dIn }
  package var isTranscoder: Bool { dOut != nil }

  /// Whether dead latents reconstruct the residual (AuxK).
  var usesAuxK: Bool { architecture.usesK && auxCoefficient > 0 }

  /// The part of an SAE that makes its kind.
  func makeRule(bEnc: Parameter) -> any LatentRule {
    switch architecture {
    case .relu, .tied: ReLU(l1: l1, p: p, width: outWidth)
    case .rica: RICA(l1: l1, width: outWidth, nLatents: dSAE)
    case .topk: TopK(k: annealedK, nLatents: dSAE, isMulti: multiTopK)
    case .batchtopk: BatchTopK(k: annealedK, nLatents: dSAE)
    case .matryoshka:
      BatchTopK(
        k: annealedK, nLatents: dSAE, prefixes: prefixes.isEmpty ? Matryoshka.defaultPrefixes(nLatents: dSAE) : prefixes
      )
    case .jumprelu: JumpReLU(self)
    case .gated: Gated(self, bEnc: bEnc)
    case .panneal: PAnneal(self)
    case .deep:
      switch deep.sparse {
      case .relu: ReLU(l1: l1, p: p, width: outWidth)
      case .topk: TopK(k: annealedK, nLatents: dSAE, isMulti: false)
      }
    }
  }

  private var annealedK: AnnealedK { AnnealedK(k: k, start: kStart, fraction: kAnnealFraction) }

  /// k of a step, where the kind has one.
  package func k(step: Int, of nSteps: Int) -> Int {
    var k = annealedK
    k.begin(step: step, of: nSteps)
    return k.current
  }

  /// An SAE of this kind, at its random start.
  package func makeAutoencoder(seed: UInt64) throws(SAEError) -> any Autoencoder {
    architecture == .deep ? try Deep(self, seed: seed) : try SparseAutoencoder(self, seed: seed)
  }

  /// Throws `SAEError.invalid` naming the first value that makes no sense.
  package func validate() throws(SAEError) {
    func check(_ holds: Bool, _ what: String) throws(SAEError) { if !holds { throw .invalid(what) } }
    try check(dIn >= 1 && dIn <= 65_536, "dIn is \(dIn); 1 to 65,536 are allowed")
    try check(dSAE >= 1 && dSAE <= 1 << 24, "latents are \(dSAE); 1 to 16,777,216 are allowed")
    if architecture.usesK || architecture == .deep && deep.sparse == .topk {
      try check(k >= 1 && k <= dSAE, "k is \(k); it must be from 1 to the number of latents, \(dSAE)")
      if let kStart {
        try check(
          kStart >= 1 && kStart <= dSAE,
          "k-start is \(kStart); it must be from 1 to the number of latents, \(dSAE)")
      }
      try check(
        kAnnealFraction >= 0 && kAnnealFraction <= 1,
        "k-anneal-fraction is \(kAnnealFraction); it must be from 0 to 1")
      try check(kAux >= 1, "k-aux is \(kAux); it must be at least 1 (aux-coefficient 0 switches AuxK off)")
      try check(
        auxCoefficient >= 0 && auxCoefficient.isFinite,
        "aux-coefficient is \(auxCoefficient); expected a finite number, 0 or more")
    } else {
      try check(l1 >= 0 && l1.isFinite, "l1 is \(l1); expected a finite number, 0 or more")
      try check(p > 0 && p.isFinite, "p is \(p); it must be positive")
    }
    if !prefixes.isEmpty {
      try check(
        prefixes[0] >= 1 && zip(prefixes, prefixes.dropFirst()).allSatisfy { $0 < $1 } && prefixes.last == dSAE,
        "prefixes are \(prefixes); they must be positive and ascending, the last the number of latents, \(dSAE)")
    }
    if architecture == .deep {
      try deep.validate(dIn: dIn)
      try check(
        decoderNorm != .graph, "the decoder of deep is normalised after each step (unit) or free, not in the graph")
    }
    if architecture == .panneal {
      try check(
        pEnd > 0 && pStart >= pEnd && pStart.isFinite,
        "p-start is \(pStart) and p-end \(pEnd); p-end must be above 0 and p-start not below it")
      try check(
        annealStart >= 0 && annealStart < 1, "anneal-start is \(annealStart); from 0 to below 1 are allowed")
      try check(
        annealUpdates >= 1 && annealUpdates <= 10_000, "anneal-updates is \(annealUpdates); 1 to 10,000 are allowed")
    }
    if architecture == .jumprelu {
      try check(l0 >= 0 && l0.isFinite, "l0 is \(l0); expected a finite number, 0 or more")
      try check(
        targetL0.map { $0 > 0 && $0 <= Float(dSAE) } ?? true,
        "target-l0 is \(targetL0 ?? 0); it must be above 0 and at most the number of latents, \(dSAE)")
      try check(tanhScale > 0 && tanhScale.isFinite, "tanh-scale is \(tanhScale); it must be positive")
      try check(bandwidth > 0 && bandwidth.isFinite, "bandwidth is \(bandwidth); it must be positive")
      try check(
        initialThreshold >= 0 && initialThreshold.isFinite,
        "threshold is \(initialThreshold); expected a finite number, 0 or more")
    }
    if let dOut {
      try check(dOut >= 1 && dOut <= 65_536, "the target's width is \(dOut); 1 to 65,536 are allowed")
      try check(
        architecture.canTranscode,
        "\(architecture.rawValue) reconstructs its input; for another target choose relu, topk, batchtopk, matryoshka, "
          + "jumprelu, gated or panneal")
    } else {
      try check(!skip, "skip is for transcoders; give them a target")
    }
    try check(
      architecture != .tied || decoderNorm == .unit,
      "decoder-norm is \(decoderNorm.rawValue); rows of tied, which are its encoder's too, are held at unit norm")
    try check(
      architecture != .rica || decoderNorm == .free,
      "decoder-norm is \(decoderNorm.rawValue); rows of rica are free, its reconstruction holds them")
    try check(deadTokens >= 1, "dead-tokens is \(deadTokens); it must be at least 1")
    try initialization.validate(for: self)
  }
}
