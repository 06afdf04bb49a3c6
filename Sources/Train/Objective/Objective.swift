import Transformer

/// What is minimised: a weighted sum of terms, to which the SAE adds the losses of its own (sparsity). All are means over
/// the tokens of a batch that are text.
///
/// | term | |
/// | --- | --- |
/// | local | (x̂ − x)², mean over elements, in normalised units |
/// | kl | KL(original ‖ spliced) of the next-token distributions, nats |
/// | next-token | cross-entropy of the spliced model with the next token, nats |
/// | downstream | (a′ − a)², mean over elements and over the chosen later residual streams, each in its own normalised units (e2e_sae's `in_to_orig`, whose total coefficient is ours · scale² of the stream) |
/// | kl-without-sae, next-token-without-sae | of the model with trained half-layers, but without the SAE |
package struct Objective: Equatable, Sendable {
  package enum Term: String, CaseIterable, Sendable {
    case local, kl
    case nextToken = "next-token"
    case downstream
    case klWithoutSAE = "kl-without-sae"
    case nextTokenWithoutSAE = "next-token-without-sae"

    var needsHalfLayers: Bool { self == .klWithoutSAE || self == .nextTokenWithoutSAE }
    /// Whether it is made from the teacher's predictions.
    var needsTeacher: Bool { self == .kl || self == .klWithoutSAE }
  }

  /// Named objectives.
  package enum Preset: String, CaseIterable, Sendable {
    case local
    /// Braun et al. 2024, arXiv 2405.12241: KL + sparsity.
    case e2e
    /// The same with errors at later layers.
    case e2eDownstream = "e2e+ds"
    case nextToken = "next-token"
    /// KL, which also trains the half-layers next to the hook.
    case intrusive
    /// The same plus KL of the changed model without the SAE.
    case nonIntrusive = "non-intrusive"
    /// Local, then ½(α·KL + MSE) with α = MSE/KL of the batch (arXiv 2503.17272).
    case localToKL = "local-kl"
    /// The weights given, and no others.
    case mixed
  }

  /// Which later residual streams count.
  package enum Downstream: Equatable, Sendable {
    case all
    /// The first so many after the hook.
    case next(Int)
    case named([String])

    /// `all`, `next`, a number or names parted by commas; nil if it is a number below 1 or nothing.
    init?(_ text: String) {
      switch text {
      case "all": self = .all
      case "next": self = .next(1)
      default:
        if let n = Int(text) {
          if n < 1 { return nil }
          self = .next(n)
        } else {
          let names = text.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
          if names.contains("") { return nil }
          self = .named(names)
        }
      }
    }
  }

  package var weights: [Term: TermWeight]
  package var downstream = Downstream.all
  package var trainsHalfLayers = false
  /// Whether the weight of kl, and that of next-token, is multiplied by MSE over the term in the batch, so that both count
  /// alike.
  package var balances = false

  /// - Parameter finetuneFraction: of `localToKL`: share of the steps, at the end, that have KL.
  package init(_ preset: Preset, finetuneFraction: Double = 0.05) {
    let one = TermWeight(1)
    switch preset {
    case .local: weights = [.local: one]
    case .e2e: weights = [.kl: one]
    case .e2eDownstream: weights = [.kl: one, .downstream: one]
    case .nextToken: weights = [.nextToken: one]
    case .intrusive: weights = [.kl: one]
    case .nonIntrusive: weights = [.kl: one, .klWithoutSAE: one]
    case .localToKL:
      let share = 1 - finetuneFraction
      weights = [.local: TermWeight(1, then: 0.5, at: share), .kl: TermWeight(0, then: 0.5, at: share)]
      balances = true
    case .mixed: weights = [:]
    }
    trainsHalfLayers = preset == .intrusive || preset == .nonIntrusive
  }

  /// Cross-entropy of the next token in the place of KL.
  mutating func useNextTokens() {
    for (kl, nextToken) in [(Term.kl, Term.nextToken), (.klWithoutSAE, .nextTokenWithoutSAE)] {
      if let weight = weights.removeValue(forKey: kl) { weights[nextToken] = weight }
    }
  }

  package func weight(_ term: Term, at progress: Double) -> Double { weights[term]?.value(at: progress) ?? 0 }

  package func has(_ term: Term) -> Bool { weights[term].map { !$0.isZero } ?? false }

  /// Whether a term is made by layers of the model, and whether any step runs some.
  package var needsModel: Bool { Term.allCases.contains { $0 != .local && has($0) } }
  package var runsModel: Bool { trainsHalfLayers || needsModel }
  /// Whether a term compares predictions with the original's.
  package var needsTeacher: Bool { Term.allCases.contains { $0.needsTeacher && has($0) } }
  /// Whether a step does.
  func needsTeacher(at progress: Double) -> Bool {
    Term.allCases.contains { $0.needsTeacher && weight($0, at: progress) > 0 }
  }
  /// Whether there may be steps that run no layer of the model. Weights are zero from a step of their own on, or from the
  /// first on.
  package var hasLocalSteps: Bool {
    ([0] + weights.values.map(\.to)).contains { $0 < 1 && !needsModel(at: $0) }
  }

  /// Whether a step runs layers of the model, and so takes whole sequences. A step that does not takes shuffled tokens.
  package func needsModel(at progress: Double) -> Bool {
    trainsHalfLayers || Term.allCases.contains { $0 != .local && weight($0, at: progress) > 0 }
  }
}
