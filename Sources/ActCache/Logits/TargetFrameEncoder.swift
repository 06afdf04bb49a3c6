/// Collects the targets of a frame token by token, in order, and lays them out.
package struct TargetFrameEncoder {
  package let shape: TargetFrameShape
  private var counts: [UInt32] = []
  private var tailMasses: [Float] = []
  private var entropies: [Float] = []
  private var tops: [Float] = []
  private var steps: [Float] = []
  private var indices: [UInt32] = []
  private var codes: [UInt16] = []

  package init(_ shape: TargetFrameShape) { self.shape = shape }

  package var nTokens: Int { entropies.count }

  /// Appends a token of `topk` or `mass`.
  ///
  /// - Parameters:
  ///   - indices: tokens of the vocabulary, by descending log-probability.
  ///   - logProbabilities: theirs, nats.
  ///   - tailMass: of all others.
  ///   - entropy: of the whole distribution, nats.
  ///
  /// Throws `TargetFault` if a number is not finite, and appends nothing then.
  package mutating func append(
    indices: ArraySlice<UInt32>, logProbabilities: ArraySlice<Float>, tailMass: Float, entropy: Float
  ) throws(TargetFault) {
    guard case .listed(let most, _) = shape.layout else {
      preconditionFailure("\(shape.policy.name) takes whole rows of logits")
    }
    guard let top = logProbabilities.first, let bottom = logProbabilities.last,
      tailMass.isFinite, entropy.isFinite, top.isFinite, (top - bottom).isFinite
    else { throw notFinite }
    precondition(
      indices.count == logProbabilities.count && indices.count <= most && top >= bottom,
      "\(indices.count) indices, \(logProbabilities.count) log-probabilities from \(top) to \(bottom), at most \(most)")
    let step = (top - bottom) / LinearCodes.mostSteps
    counts.append(UInt32(indices.count))
    tailMasses.append(tailMass)
    entropies.append(entropy)
    tops.append(min(0, top))
    steps.append(step)
    self.indices.append(contentsOf: indices)
    let first = codes.count
    LinearCodes.append(logProbabilities.span, top: top, step: step, to: &codes)
    // They ascend: the differences take an eighth less after compression.
    for i in stride(from: codes.count - 1, to: first, by: -1) { codes[i] -= codes[i - 1] }
  }

  /// Appends a token of `full`.
  ///
  /// - Parameters:
  ///   - logits: of the whole vocabulary.
  ///   - logSumExp: log Σ e^logit.
  ///   - entropy: nats.
  ///
  /// Throws `TargetFault` if a number is not finite, and appends nothing then.
  package mutating func append(logits: Span<Float>, logSumExp: Double, entropy: Float) throws(TargetFault) {
    precondition(shape.layout == .full && logits.count == shape.nVocabulary, "\(logits.count) logits")
    let (top, bottom) = LinearCodes.range(logits)
    let step = (top - bottom) / LinearCodes.mostSteps
    // The entropy is not finite if a logit is not.
    guard logSumExp.isFinite, entropy.isFinite, top.isFinite, step.isFinite else { throw notFinite }
    tops.append(min(0, Float(Double(top) - logSumExp)))
    steps.append(step)
    entropies.append(entropy)
    LinearCodes.append(logits, top: top, step: step, to: &codes)
  }

  private var notFinite: TargetFault { TargetFault("the logits are not finite, or too far apart for f32") }

  /// Appends a position that is no text.
  package mutating func appendPadding() {
    entropies.append(0)
    tops.append(0)
    steps.append(0)
    if shape.layout == .full {
      codes.append(contentsOf: repeatElement(0, count: shape.nVocabulary))
    } else {
      counts.append(0)
      tailMasses.append(1)
    }
  }

  /// The content of the frame.
  package func content() -> TargetFrameContent {
    var content = TargetFrameContent()
    if case .listed(_, let indexByteCount) = shape.layout {
      content.append(counts)
      content.append(tailMasses)
      content.append(entropies)
      content.append(tops)
      content.append(steps)
      content.append(indices, byteCount: indexByteCount)
    } else {
      content.append(entropies)
      content.append(tops)
      content.append(steps)
    }
    content.append(codes)
    return content
  }
}
