import Foundation
import TestSupport

@testable import ActCache

/// Teacher targets of known content.
extension SmallCache {
  /// log p of the whole vocabulary at a place of text, and the tokens by descending probability.
  func distribution(_ sequence: Int, _ position: Int) -> (logProbabilities: [Float], order: [Int]) {
    var random = SeededGenerator(seed: UInt64(1 + sequence * context + position))
    let logits = random.floats(nVocabulary, in: -4...4).map(Double.init)
    let logSum = log(logits.reduce(0) { $0 + exp($1) })
    return (
      logits.map { Float($0 - logSum) }, logits.indices.sorted { (logits[$0], -$0) > (logits[$1], -$1) }
    )
  }

  /// The frames of a stream of targets, and what is lost in every 16th sequence, as harvesting measures it.
  func targets(
    _ range: Range<Int>, of stream: StreamSpec
  ) throws -> (name: String, frames: [TargetFrameContent], error: PolicyError) {
    guard let policy = stream.policy, let shape = TargetFrameShape(policy: policy, nVocabulary: stream.width) else {
      throw ActCacheError.unsupported(stream.name)
    }
    let perFrame = try spec.sequencesPerFrame(of: stream)
    var error = PolicyError()
    var frames: [TargetFrameContent] = []
    for first in stride(from: range.lowerBound, to: range.upperBound, by: perFrame) {
      var encoder = TargetFrameEncoder(shape)
      let sequences = first..<min(first + perFrame, range.upperBound)
      for s in sequences { for p in 0..<context { try append(s, p, to: &encoder) } }
      frames.append(encoder.content())
      let decoded = try shape.decode(encoder.content().bytes, nTokens: encoder.nTokens)
      for s in sequences where s % 16 == 0 {
        let targets = decoded.tokens((s - first) * context..<(s - first + 1) * context)
        error.add(targets)
        let (logProbabilities, order) = distribution(s, 0)
        let listed = policy == .full ? Array(order.indices) : Array(order.prefix(targets.starts[1]))
        error.addRounding(
          logProbabilities: listed.map { logProbabilities[$0] }, stored: targets.probabilities[..<targets.starts[1]])
      }
    }
    return (stream.name, frames, error)
  }

  private func append(_ sequence: Int, _ position: Int, to encoder: inout TargetFrameEncoder) throws {
    guard position < length(sequence) else { return encoder.appendPadding() }
    let (logProbabilities, order) = distribution(sequence, position)
    let entropy = Float(-logProbabilities.reduce(0.0) { $0 + Double($1) * exp(Double($1)) })
    func tail(_ n: Int) -> Double { order.dropFirst(n).reduce(0) { $0 + exp(Double(logProbabilities[$1])) } }
    let n: Int
    switch encoder.shape.policy {
    case .full, .hidden: return try encoder.append(logits: logProbabilities.span, logSumExp: 0, entropy: entropy)
    case .topK(let k): n = k
    case .mass(let r, let cap): n = (1...min(cap, nVocabulary)).first { tail($0) <= r } ?? min(cap, nVocabulary)
    }
    let listed = order.prefix(n)
    try encoder.append(
      indices: listed.map { UInt32($0) }[...], logProbabilities: listed.map { logProbabilities[$0] }[...],
      tailMass: Float(tail(n)), entropy: entropy)
  }
}
