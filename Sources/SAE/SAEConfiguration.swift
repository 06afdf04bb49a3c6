import LinearAlgebra

/// What kind of autoencoder, and how large.
package struct SAEConfiguration: Codable, Sendable, Equatable {
  package enum Architecture: String, Codable, Sendable, CaseIterable {
    /// ReLU latents with an L1 penalty (Bricken et al. 2023).
    case relu
    /// The k largest latents of a token, with AuxK for dead ones (Gao et al. 2024, arXiv 2406.04093).
    case topk
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
  /// Latents.
  package var dSAE: Int
  package var decoderNorm = DecoderNorm.unit
  /// topk: active latents per token.
  package var k: Int
  /// topk: dead latents per token that reconstruct the residual; dIn / 2 where not set.
  package var kAux: Int
  /// topk: weight of the AuxK loss (1/32 in the paper).
  package var auxCoefficient: Float
  /// relu: λ of the penalty λ · mean over tokens of ‖c‖_p / dIn.
  package var l1: Float
  /// relu: p of the penalty.
  package var p: Float = 1
  /// A latent is dead when it was not active for this many tokens.
  package var deadTokens: Int

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
  }

  /// Whether dead latents reconstruct the residual (AuxK).
  var usesAuxK: Bool { architecture == .topk && auxCoefficient > 0 }

  /// The part of an SAE that makes its kind.
  func makeRule() -> any LatentRule {
    switch architecture {
    case .relu: ReLU(l1: l1, p: p, dIn: dIn)
    case .topk: TopK(k: k)
    }
  }

  /// An SAE of this kind, at its random start.
  package func makeAutoencoder(seed: UInt64) throws(SAEError) -> any Autoencoder {
    try SparseAutoencoder(self, seed: seed)
  }

  /// Throws `SAEError.invalid` naming the first value that makes no sense.
  package func validate() throws(SAEError) {
    func check(_ holds: Bool, _ what: String) throws(SAEError) { if !holds { throw .invalid(what) } }
    try check(dIn >= 1 && dIn <= 65_536, "dIn is \(dIn); 1 to 65,536 are allowed")
    try check(dSAE >= 1 && dSAE <= 1 << 24, "latents are \(dSAE); 1 to 16,777,216 are allowed")
    if architecture == .topk {
      try check(k >= 1 && k <= dSAE, "k is \(k); it must be from 1 to the number of latents, \(dSAE)")
      try check(kAux >= 1, "k-aux is \(kAux); it must be at least 1 (aux-coefficient 0 switches AuxK off)")
      try check(
        auxCoefficient >= 0 && auxCoefficient.isFinite, "aux-coefficient is \(auxCoefficient); it must not be negative")
    } else {
      try check(l1 >= 0 && l1.isFinite, "l1 is \(l1); it must not be negative")
      try check(p > 0 && p.isFinite, "p is \(p); it must be positive")
    }
    try check(deadTokens >= 1, "dead-tokens is \(deadTokens); it must be at least 1")
  }
}
