import LinearAlgebra

/// The k·B largest positive pre-activations of a batch of B tokens (Bussmann et al. 2024, arXiv 2412.06410); in inference,
/// where there is no batch, all above a threshold: the running mean of the smallest active latent of a step.
///
/// The threshold is that of dictionary_learning's BatchTopKTrainer (t ← βt + (1 − β)·min with β = 0.999, from step 1,000
/// on, 0 where nothing is active), but that its first 1/(1 − β) values are averaged plainly, and that short runs begin with
/// their second half and have 1/(1 − β) = a tenth of their steps: what it was long ago is not what it is after the learning
/// rate has fallen. SAELens has β = 0.99 from t = 0 at the first step.
final class BatchTopK: LatentRule {
  /// Widths of nested prefixes whose reconstructions the loss averages (`matryoshka`); empty: none.
  let prefixes: [Int]
  private var k: AnnealedK
  private let nLatents: Int
  private static let firstStep = 1000
  /// Steps that the running mean reaches back: 1/(1 − β).
  private var memory = 1000

  private var threshold = 0.0
  /// Values in `threshold`.
  private var nAveraged = 0.0
  /// The smallest active latents of the last step and of the one before: they only make the selection fast.
  private var last = 0.0
  private var previous = 0.0
  private var isAveraging = true

  init(k: AnnealedK, nLatents: Int, prefixes: [Int] = []) {
    (self.k, self.nLatents, self.prefixes) = (k, nLatents, prefixes)
  }

  var state: [Double] {
    get { [threshold, nAveraged, last, previous] }
    set {
      precondition(newValue.count == 4, "\(newValue.count) numbers for batchtopk")
      (threshold, nAveraged, last, previous) = (newValue[0], newValue[1], newValue[2], newValue[3])
    }
  }

  func canHold(_ state: [Double]) -> Bool { state.count == 4 && state.allSatisfy(\.isFinite) && state[1] >= 0 }

  var thresholds: [Float]? { [Float](repeating: Float(max(0, threshold)), count: nLatents) }

  func begin(step: Int, of nSteps: Int) {
    k.begin(step: step, of: nSteps)
    isAveraging = step >= min(Self.firstStep, nSteps / 2)
    memory = min(1000, max(2, nSteps / 10))
  }

  func selection(rows: Int, isTraining: Bool) -> CodeSelection {
    guard isTraining else { return .above(thresholds ?? []) }
    // Below what it was, by more than it moved: a guess that was too high costs a second pass.
    let guess = last - max(0.03 * last, 2 * abs(last - previous))
    return .largest(count: k.current * rows, guess: guess > 0 ? Float(guess) : 0)
  }

  func activate(_ code: inout SparseCode, isTraining: Bool) {
    guard isTraining else { return }
    let smallest = Double(code.smallestValue ?? 0)
    (previous, last) = (last, smallest)
    guard isAveraging else { return }
    nAveraged += 1
    threshold += (smallest - threshold) * max(1 / nAveraged, 1 / Double(memory))
  }
}
