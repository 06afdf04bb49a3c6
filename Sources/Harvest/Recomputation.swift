import ActCache
import Memory

/// Whether a cache is this model's: its weights' digest, and some sequences put through the model again.
///
/// A stored value is right if some number within `tolerance` of what the model gives now is rounded to it: on the same
/// kind of CPU the model gives the very same numbers, on another one its sums are added in another order. What that
/// means of teacher targets says `TargetComparison`.
package struct Recomputation: Sendable {
  /// One stream of activations or teacher targets.
  package struct Stream: Encodable, Equatable, Sendable {
    /// "hooks/<name>", "logits/<policy>".
    package let name: String
    package let dtype: String
    /// Values that were compared; of targets probabilities, tail masses and entropies.
    package fileprivate(set) var values = 0
    /// Those that are exactly what the model gives, rounded to `dtype`.
    package fileprivate(set) var equal = 0
    /// Those that are not what the model gives within the tolerance.
    package fileprivate(set) var wrong = 0
    /// The largest |stored − computed|, relative to the largest value of its token; of targets between two
    /// log-probabilities, nats.
    package fileprivate(set) var largestError = 0.0
  }

  /// Part of the largest value of a token by which one of its values may differ before it is rounded. Between the
  /// OpenBLAS kernels for AVX2 and AVX-512 it was at most a tenth of this (docs/design.md).
  package static let tolerance: Float = 1e-4

  package private(set) var sequences: [Int] = []
  package private(set) var streams: [Stream] = []
  /// Streams that are there and were not compared, with the reason.
  package private(set) var notCompared: [String] = []
  package private(set) var findings: [Finding] = []
  package private(set) var wasInterrupted = false

  /// - Parameters:
  ///   - count: sequences to recompute, chosen by `seed`.
  ///   - tokensPerPass: as in `HarvestConfiguration.batchTokens`.
  /// - Throws: `ActCacheError.damaged` for a shard that cannot be read, and what the model throws.
  package init(
    cache: CacheReader, source: any ActivationSource, count: Int, seed: UInt64, tokensPerPass: Int = 4096,
    isInterrupted: () -> Bool = { false }, progress: (_ done: Int, _ all: Int) -> Void = { _, _ in }
  ) throws {
    let manifest = cache.manifest
    let differences = try manifest.identity.differences(from: source)
    guard differences.isEmpty else {
      findings = [
        Finding(
          .otherModel, cache.path, "it was made with another model: \(differences.joined(separator: "; "))",
          remedy: "give the model that was harvested with --model")
      ]
      return
    }
    let stored = try StoredSequences(cache)
    var specs: [StreamSpec] = []
    for spec in manifest.streams.sorted(by: { $0.name < $1.name }) {
      let n = (spec.hookName.flatMap { manifest.hooks[$0] } ?? spec.policyName.flatMap { manifest.logits[$0] })?
        .nSequences
      if let n, n < manifest.nSequences {
        notCompared.append("\(spec.name): it has \(n) of \(manifest.nSequences) sequences")
      } else {
        streams.append(Stream(name: spec.name, dtype: spec.dtype))
        specs.append(spec)
      }
    }
    let activations = specs.indices.filter { specs[$0].type != nil }
    let targets = specs.indices.compactMap { i -> (index: Int, shape: TargetFrameShape)? in
      guard specs[i].type == nil, let policy = specs[i].policy else { return nil }
      return TargetFrameShape(policy: policy, nVocabulary: specs[i].width).map { (i, $0) }
    }
    sequences = stored.sample(count, seed: seed)
    let perPass = max(1, tokensPerPass / manifest.context)
    for start in stride(from: 0, to: sequences.count, by: perPass) {
      if isInterrupted() {
        wasInterrupted = true
        sequences = Array(sequences.prefix(start))
        break
      }
      let batch = Array(sequences[start..<min(start + perPass, sequences.count)])
      let texts = try batch.map { try stored.tokens(of: $0) }
      let teacher = TeacherRequest(
        streams: targets.map { TeacherPass.Stream($0.shape, sequencesPerFrame: 1) }, hidden: nil,
        block: TeacherPass.Block(
          numbers: batch, context: manifest.context, lengths: texts.map { UInt32(clamping: $0.length) }))
      let output = try source.run(
        tokens: texts.flatMap(\.tokens), nSequences: batch.count, hooks: activations.map { specs[$0].sourceHook },
        teacher: targets.isEmpty ? nil : teacher
      ) { hook, values in
        let i = activations[hook]
        guard let rounding = Rounding(specs[i]) else { return }
        var buffer = [Float](repeating: 0, count: manifest.context * specs[i].width)
        for (row, sequence) in batch.enumerated() {
          var output = buffer.mutableSpan
          try stored.read(sequence, stream: specs[i].name, into: &output)
          let computed = values.extracting((row * buffer.count)..<((row + 1) * buffer.count))
          compare(i, buffer.span, computed, rounding, sequence: sequence, length: texts[row].length, specs[i].width)
        }
      }
      for (j, (i, shape)) in targets.enumerated() {
        guard let frames = output?.frames[j], frames.count == batch.count else {
          throw HarvestError.system("the model gave no targets of \(shape.policy.name)")
        }
        for (row, sequence) in batch.enumerated() {
          let there = try stored.targets(of: sequence, policy: shape.policy)
          let computed: TeacherTargets
          do throws(TargetFault) {
            computed = try shape.decode(frames[row].bytes, nTokens: manifest.context)
          } catch {
            throw HarvestError.system("\(specs[i].name): what the model gives does not read back: \(error.what)")
          }
          note(i, TargetComparison(stored: there, computed: computed, policy: shape.policy), sequence: sequence)
        }
      }
      progress(start + batch.count, sequences.count)
    }
    for i in streams.indices where streams[i].wrong > 0 { conclude(i, cache) }
  }

  private var firstWrong: [Int: String] = [:]

  private mutating func conclude(_ i: Int, _ cache: CacheReader) {
    let stream = streams[i]
    findings.append(
      Finding(
        .otherModel, "\(cache.path)/\(stream.name)",
        "\(stream.wrong) of \(stream.values) values are not what the model gives; the first is \(firstWrong[i] ?? "")",
        remedy: "harvest the cache anew into another folder; this one was not made by this model"))
  }

  private mutating func note(_ i: Int, _ comparison: TargetComparison, sequence: Int) {
    streams[i].values += comparison.values
    streams[i].equal += comparison.equal
    streams[i].largestError = max(streams[i].largestError, comparison.largestError)
    if streams[i].wrong == 0, let (position, what) = comparison.faults.first {
      firstWrong[i] = "sequence \(sequence), position \(position): \(what)"
    }
    streams[i].wrong += comparison.faults.count
  }

  private mutating func compare(
    _ i: Int, _ stored: borrowing Span<Float>, _ computed: borrowing Span<Float>, _ rounding: Rounding, sequence: Int,
    length: Int, _ width: Int
  ) {
    for position in 0..<(stored.count / width) {
      let row = (position * width)..<((position + 1) * width)
      // The writer stores zeros where there is no text.
      let isText = position < length
      var largest: Float = 0
      for j in row where isText { largest = max(largest, computed[j].magnitude) }
      let slack = largest * Recomputation.tolerance
      for j in row {
        let (a, b) = (stored[j], isText ? computed[j] : 0)
        streams[i].values += 1
        if a == rounding.round(b, channel: j - row.lowerBound) { streams[i].equal += 1 }
        if largest > 0 { streams[i].largestError = max(streams[i].largestError, Double((a - b).magnitude / largest)) }
        let (low, high) = (
          rounding.round(b - slack, channel: j - row.lowerBound), rounding.round(b + slack, channel: j - row.lowerBound)
        )
        if a >= low && a <= high { continue }
        if streams[i].wrong == 0 {
          firstWrong[i] =
            "sequence \(sequence), position \(position), channel \(j - row.lowerBound): \(a), the model gives \(b)"
        }
        streams[i].wrong += 1
      }
    }
  }
}

/// What a value becomes when it is stored and read again; monotonic. Where a type ends, it stays at its end.
private struct Rounding {
  let type: StorageType
  /// Of fixed point, by channel.
  let steps: [Float]?

  /// nil for streams of another kind.
  init?(_ stream: StreamSpec) {
    guard let type = stream.type else { return nil }
    self.type = type
    steps = stream.steps
  }

  func round(_ value: Float, channel: Int) -> Float {
    switch type {
    case .float(.f32): return value
    case .float(.bf16): return floatFromBF16(bf16Bits(value))
    case .float(.f16): return floatFromF16(f16Bits(min(max(value, -65_504), 65_504)))
    case .fixed:
      guard let step = steps?[channel] else { return value }
      let limit = Float((1 << 23) - 1)
      return min(max((value / step).rounded(.toNearestOrEven), -limit), limit) * step
    }
  }
}
