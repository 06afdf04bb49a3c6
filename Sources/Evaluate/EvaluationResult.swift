import SAE

/// What an SAE does to the model's predictions, and how well it reconstructs, on held-out sequences.
///
/// The scored positions of a sequence are those that predict a next token of the text: all but the last, padding
/// excluded. Reconstruction and activity count all positions of text. Formulas: docs/design.md, "Evaluation".
///
/// If half-layers were trained beside the SAE, x is the activation of the model with them, and spliced is that model with x̂;
/// original and ablations are of the model that was harvested all the same.
package struct EvaluationResult: Codable, Sendable, Equatable {
  /// How far a residual stream after the hook is from the original's, with the reconstruction spliced in.
  package struct StreamError: Codable, Sendable, Equatable {
    package var hook: String
    /// Mean over tokens and elements of (a_spliced − a_original)², in raw units.
    package var mse: Double
    /// Σ‖a_spliced − a_original‖² / Σ‖a_original − mean‖².
    package var fvu: Double
  }

  /// What the training of half-layers did to the predictions of the model without the SAE.
  package struct AlignmentTax: Codable, Sendable, Equatable {
    /// KL(original ‖ the model with the trained half-layers), nats.
    package var kl: Double
    /// Cross-entropy of that model, nats, and how much it is above the original's.
    package var ce: Double
    package var ceIncrease: Double
  }

  /// Time for one token, with padding and on all threads together; not the reading.
  package struct Times: Codable, Sendable, Equatable {
    /// The SAE: x → code → x̂.
    package var encodeDecode = 0.0
    /// The layers after the hook, to the input of the unembedding.
    package var layers = 0.0
    /// Both unembeddings and the comparison of the predictions.
    package var predictions = 0.0
  }

  package var run: String
  package var hook: String
  /// Of a transcoder: the hook that its reconstruction is put in, whose activations x below are.
  package var targetHook: String?
  /// The arch, or `fista`.
  package var architecture: String
  package var latents: Int
  /// Held-out sequences, tokens of text in them, and positions that predict a next token.
  package var sequences: Int
  package var tokens: Int
  package var scoredTokens: Int
  /// Active latents per token.
  package var l0: Double
  /// Σ‖x − x̂‖² / Σ‖x − mean‖² over the held-out tokens.
  package var fvu: Double
  /// Mean over tokens and elements of (x − x̂)², in the cache's normalised units (raw activations times its scale),
  /// whatever normalisation the run used.
  package var mse: Double
  /// Latents that were active on at least one held-out token, and the rest.
  package var alive: Int
  package var dead: Int
  /// Next-token cross-entropy in nats: of the model as it is, with the reconstruction in place of the activation, and
  /// with zeros or the mean of the cache's text in its place.
  package var ceOriginal: Double
  package var ceSpliced: Double
  package var ceZeroAblated: Double
  package var ceMeanAblated: Double
  /// ceSpliced − ceOriginal; positive is worse.
  package var ceIncrease: Double
  /// (ablated − spliced) / (ablated − original): 1 is perfect, 0 as bad as the ablation.
  package var lossRecoveredZero: Double
  package var lossRecoveredMean: Double
  /// As spliced, with the error x − x̂ put back into the residual stream after half of the half-layers that follow; nil
  /// where none follows.
  @NullWhereMissing package var ceErrorHalfway: Double?
  /// (ceSpliced − ceErrorHalfway) / ceIncrease: the share of the increase that goes when the error is back for the second
  /// half of the path; nil where nothing follows, or nothing increases.
  @NullWhereMissing package var errorShare: Double?
  /// KL(original ‖ spliced) of the next-token distributions, nats, and ½ Σ|p − q|.
  package var kl: Double
  package var statisticalDistance: Double
  /// Share of scored positions where original and spliced run have the same likeliest token.
  package var top1Agreement: Double
  /// Share of scored positions where the likeliest token is the text's next one.
  package var top1AccuracyOriginal: Double
  package var top1AccuracySpliced: Double
  /// nil where no half-layer was trained.
  @NullWhereMissing package var alignmentTax: AlignmentTax?
  /// Every `hook_resid_mid` and `hook_resid_post` after the hook, in forward order.
  package var downstream: [StreamError]
  package var microsecondsPerToken = Times()

  /// - Parameters:
  ///   - kind: what it is called, where that is not the arch.
  ///   - scale: in the cache, of the hook that is reconstructed.
  ///   - alive: latents that were active.
  package init(
    run: String, hook: String, targetHook: String? = nil, _ shape: SAEConfiguration, kind: String? = nil,
    sums: SequenceSums, scale: Double, alive: Int
  ) {
    (self.run, self.hook, self.targetHook) = (run, hook, targetHook)
    architecture = kind ?? shape.architecture.rawValue
    latents = shape.dSAE
    sequences = sums.tokens.count
    tokens = sums.tokens.reduce(0, +)
    scoredTokens = sums.scored.reduce(0, +)
    l0 = sums.l0()
    fvu = sums.own.fvu(tokens: sums.tokens)
    mse = sums.own.mse(tokens: sums.tokens) * scale * scale
    self.alive = alive
    dead = shape.dSAE - alive
    ceOriginal = sums.perScored(sums.ceOriginal)
    ceSpliced = sums.perScored(sums.ceSpliced)
    ceZeroAblated = sums.perScored(sums.ceZeroAblated)
    ceMeanAblated = sums.perScored(sums.ceMeanAblated)
    ceIncrease = sums.ceIncrease()
    lossRecoveredZero = (ceZeroAblated - ceSpliced) / (ceZeroAblated - ceOriginal)
    lossRecoveredMean = (ceMeanAblated - ceSpliced) / (ceMeanAblated - ceOriginal)
    if !sums.ceErrorHalfway.isEmpty {
      let halfway = sums.perScored(sums.ceErrorHalfway)
      ceErrorHalfway = halfway
      errorShare = ceIncrease == 0 ? nil : (ceSpliced - halfway) / ceIncrease
    }
    kl = sums.perScored(sums.kl)
    statisticalDistance = sums.perScored(sums.distance)
    top1Agreement = sums.perScored(sums.agreeing)
    top1AccuracyOriginal = sums.perScored(sums.correctOriginal)
    top1AccuracySpliced = sums.perScored(sums.correctSpliced)
    if let without = sums.withoutSAE {
      let ce = sums.perScored(without.ce)
      alignmentTax = AlignmentTax(kl: sums.perScored(without.kl), ce: ce, ceIncrease: ce - ceOriginal)
    }
    downstream = sums.downstream.map {
      StreamError(hook: $0.hook, mse: $0.mse(tokens: sums.tokens), fvu: $0.fvu(tokens: sums.tokens))
    }
  }
}
