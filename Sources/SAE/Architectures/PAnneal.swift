import LinearAlgebra

/// ReLU latents whose penalty λ · mean over tokens of ‖c‖_p / dIn becomes ever more like L0: p falls from `pStart` to
/// `pEnd` (Karvonen et al. 2024, arXiv 2408.00113). As in dictionary_learning's PAnnealTrainer, whose λ this is:
///
/// - Updates i = 0..<n are spread evenly from the step `annealStart` · steps to the last; update i sets p to
///   pStart + (pEnd − pStart)·i/(n − 1), the first changes nothing, and the last falls on the end of the run.
/// - At an update λ is multiplied by mean ‖c‖_p / mean ‖c‖_q, means over the last 10 steps, with q the p to come: the
///   penalty goes on as large as it was.
///
/// With `pPower` (its `Lp^p`, the paper's form) ‖c‖_p is Σ c^p. An update takes effect in the next step.
final class PAnneal: DenseLatentRule {
  private static let queueLength = 10

  private let configuration: SAEConfiguration
  private var lambda: Double
  /// Updates done.
  private var nUpdates = 0
  /// Σ over tokens of the penalty's norms at p and at the next p, of the last steps; the newest is last.
  private var queue: [(now: Double, next: Double)] = []
  private var step = 0
  private var updateSteps: [Int] = []
  /// The same of the batch at hand.
  private var sums = (now: 0.0, next: 0.0)

  init(_ configuration: SAEConfiguration) {
    self.configuration = configuration
    lambda = Double(configuration.l1)
  }

  private func p(afterUpdate i: Int) -> Double {
    let (start, end) = (Double(configuration.pStart), Double(configuration.pEnd))
    return configuration.annealUpdates == 1
      ? start : start + (end - start) * Double(i) / Double(configuration.annealUpdates - 1)
  }

  private var p: Double { nUpdates == 0 ? Double(configuration.pStart) : p(afterUpdate: nUpdates - 1) }

  private var nextP: Double? {
    switch nUpdates {
    case 0: nil
    case ..<configuration.annealUpdates: p(afterUpdate: nUpdates)
    default: Double(configuration.pEnd)
    }
  }

  var state: [Double] {
    get {
      let pairs = queue.flatMap { [$0.now, $0.next] }
      return [lambda, Double(nUpdates), Double(queue.count)] + pairs
        + [Double](repeating: 0, count: 2 * Self.queueLength - pairs.count)
    }
    set {
      lambda = newValue[0]
      nUpdates = Int(newValue[1])
      queue = (0..<Int(newValue[2])).map { (newValue[3 + 2 * $0], newValue[4 + 2 * $0]) }
    }
  }

  func canHold(_ state: [Double]) -> Bool {
    func isCount(_ number: Double, upTo most: Int) -> Bool {
      number >= 0 && number <= Double(most) && number == number.rounded()
    }
    return state.count == 3 + 2 * Self.queueLength && state.allSatisfy(\.isFinite) && state[0] >= 0
      && isCount(state[1], upTo: configuration.annealUpdates) && isCount(state[2], upTo: Self.queueLength)
  }

  func begin(step: Int, of nSteps: Int) {
    self.step = step
    let (start, n) = (Int(Double(configuration.annealStart) * Double(nSteps)), configuration.annealUpdates)
    updateSteps = (0..<n).map { start + (nSteps - start) * $0 / max(1, n - 1) }
  }

  func selection(rows: Int, isTraining: Bool) -> CodeSelection { .positive }

  func backward(_ code: inout SparseCode, batchRows: Int, losses: inout StepLosses) {
    let unit = 1 / Double(configuration.outWidth * batchRows)
    let sum = addNormGradients(
      &code, p: Float(p), isPower: configuration.pPower, times: Float(lambda * unit))
    losses.sparsity += sum * unit
    losses.total += lambda * sum * unit
    if let nextP {
      sums.now += sum
      sums.next += sumOfNorms(code, p: Float(nextP), isPower: configuration.pPower)
    }
  }

  func finishBatch(bEnc: Parameter) {
    if nextP != nil {
      queue = queue.suffix(Self.queueLength - 1) + [sums]
      sums = (0, 0)
    }
    guard nUpdates < updateSteps.count, step >= updateSteps[nUpdates] else { return }
    let (now, next) = queue.reduce((0, 0)) { ($0.0 + $1.now, $0.1 + $1.next) }
    // Without any active latent there is nothing to keep as large as it was.
    if now > 0 && next > 0 { lambda *= now / next }
    nUpdates += 1
  }

  // While p is 1 and no other is in sight, this is a ReLU.
  private var relu: ReLU { ReLU(l1: Float(lambda), p: Float(p), width: configuration.outWidth) }

  var isDenseCapable: Bool { p == 1 && nextP == nil }

  func activate(dense acts: inout Matrix, bias: borrowing Matrix) -> (sum: Double, nActive: Int) {
    relu.activate(dense: &acts, bias: bias)
  }

  func backward(dense dActs: inout Matrix, acts: borrowing Matrix, batchRows: Int) {
    relu.backward(dense: &dActs, acts: acts, batchRows: batchRows)
  }

  func addLosses(sum: Double, batchRows: Int, to losses: inout StepLosses) {
    relu.addLosses(sum: sum, batchRows: batchRows, to: &losses)
  }
}
