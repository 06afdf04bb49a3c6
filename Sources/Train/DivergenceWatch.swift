import Foundation
import SAE

/// Tells from the losses of a run's steps that it will come to nothing. It is kept in checkpoints: a run that goes on is
/// judged as if it had not stopped.
///
/// Losses are held against those since the loss was made of the same terms (`TrainConfiguration.hasSameLoss`): what a
/// schedule switches on may rise. The batches say what is too much besides: who reconstructs every token by the mean has
/// the error `largestVariance`. Losses made by the model say little of that error, and may rise tenfold and fall again where
/// a run begins with good weights (`--init`, half-layers): they are held against their median alone.
struct DivergenceWatch: Codable, Equatable {
  struct Problem: Equatable {
    var what: String
    /// Whether it is that no latent is active.
    var isInactivity = false
  }

  /// Losses in a running median, at most and at least; with so many it is enough that a loss is above them.
  static let (span, least) = (101, 10)
  static let factor = 10.0
  /// Times the first error and the variance that no error may have, while all terms are local and where the model runs:
  /// its last norm hides the scale of what is reconstructed.
  static let errorFactor = (local: 100.0, model: 1e6)
  /// Steps in a row without an active latent; in short runs half of them.
  static let inactiveSteps = 100

  /// The step since which losses are made of the same terms.
  private(set) var since = 0
  /// The newest of those losses, oldest first.
  private var recent: [Double] = []
  private var first: Double?
  private var leastMedian: Double?
  /// Mean squared error of the run's first step.
  private var firstError: Double?
  /// Of the batches so far, per element.
  private var largestVariance = 0.0
  private var nInactive = 0

  /// The loss of `step` has other terms than those before it.
  mutating func begin(at step: Int) {
    (since, recent, first, leastMedian) = (step, [], nil, nil)
  }

  /// What is wrong after a step with `losses`; nil if nothing is.
  ///
  /// - Parameters:
  ///   - isLocal: whether all terms of the loss are.
  ///   - isInactive: whether no latent was active, nor near its threshold.
  ///   - nSteps: of the run.
  mutating func problem(
    _ losses: StepLosses, nLatents: Int, isLocal: Bool = true, isInactive: Bool = false, nSteps: Int = .max
  ) -> Problem? {
    let loss = losses.total
    guard loss.isFinite, losses.mse.isFinite else {
      let what = loss.isFinite ? losses.mse : loss
      // Without the sign that some have.
      return Problem(what: "the loss is \(what.isNaN ? .nan : what)")
    }
    if losses.nDead == nLatents { return Problem(what: "all \(nLatents) latents are dead", isInactivity: true) }
    nInactive = isInactive ? nInactive + 1 : 0
    if nInactive >= max(1, min(Self.inactiveSteps, nSteps / 2)) {
      return Problem(what: "no latent was active in \(nInactive) steps", isInactivity: true)
    }
    if losses.fvu > 0, case let variance = losses.mse / losses.fvu, variance.isFinite {
      largestVariance = max(largestVariance, variance)
    }
    if let what = explosion(losses, isLocal: isLocal) { return Problem(what: what) }
    recent = recent.suffix(Self.span - 1) + [loss]
    first = first ?? loss
    firstError = firstError ?? losses.mse
    return nil
  }

  private mutating func explosion(_ losses: StepLosses, isLocal: Bool) -> String? {
    let (loss, error) = (losses.total, losses.mse)
    // Of a batch of one token, or of equal ones, there is no variance.
    let factor = isLocal ? Self.errorFactor.local : Self.errorFactor.model
    if largestVariance > 0, let firstError, case let usual = max(firstError, largestVariance), error > factor * usual {
      return String(
        format: "the mean squared error is %.4g, over %.0f times the first one and the variance of the batches, %.4g",
        error, factor, usual)
    }
    guard recent.count >= Self.least, let first else { return nil }
    let median = recent.sorted()[recent.count / 2]
    let lowest = min(leastMedian ?? median, median)
    leastMedian = lowest
    // A batch may be far from the others.
    if recent.count == Self.span, loss > Self.factor * median {
      return String(
        format: "the loss is %.4g, over %.0f times its median of %d steps, %.4g", loss, Self.factor, Self.span, median)
    }
    // What began well, such as a run with --init, may be worse for a while without being lost.
    guard isLocal, loss > Self.factor * lowest, loss > first, largestVariance > 0, error > largestVariance else {
      return nil
    }
    return String(
      format: "the loss is %.4g, over %.0f times its least running median, %.4g", loss, Self.factor, lowest)
  }

  /// Whether a watch of a run can be so before `step`; what is read from a file may be anything.
  func isPossible(before step: Int) -> Bool {
    (0...step).contains(since) && recent.count <= min(Self.span, step - since) && nInactive >= 0 && nInactive <= step
      && (recent + [first, leastMedian, firstError, largestVariance].compactMap { $0 }).allSatisfy(\.isFinite)
      && (first == nil) == recent.isEmpty && (firstError == nil) == (step == 0)
  }
}

extension TrainConfiguration {
  /// Whether the losses of steps `a` and `b` > `a` are sums of the same terms, none of which weighs more than twice as much
  /// at `b`, of the same k.
  func hasSameLoss(_ a: Int, _ b: Int, _ objective: Objective, _ sae: SAEConfiguration) -> Bool {
    func weight(_ term: Objective.Term, _ step: Int) -> Double {
      objective.weight(term, at: Double(step) / Double(nSteps))
    }
    return Objective.Term.allCases.allSatisfy { weight($0, b) <= 2 * weight($0, a) }
      && sae.k(step: a, of: nSteps) == sae.k(step: b, of: nSteps)
  }
}

extension SAEConfiguration {
  /// Options, with their values, that keep latents from being active where they are too large.
  var whatKeepsLatentsInactive: [String] {
    switch architecture {
    case .jumprelu: ["--threshold (now \(initialThreshold))"] + (targetL0 == nil ? ["--l0 (now \(l0))"] : [])
    case .relu, .tied, .gated, .panneal: ["--l1 (now \(l1))"]
    case .deep: deep.sparse == .relu ? ["--l1 (now \(l1))"] : []
    case .topk, .batchtopk, .matryoshka, .rica: []
    }
  }
}
