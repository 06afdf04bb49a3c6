/// One sequence of a cache.
public struct CachedSequence: Equatable, Sendable {
  /// Number in the cache.
  public let number: Int
  /// [context] token ids.
  public let tokens: [UInt32]
  /// How many positions are text; the rest is padding.
  public let length: Int
}

/// The held-out sequences, which evaluation reads. For one thread at a time.
public final class HeldOutReader {
  /// Number of held-out sequences.
  public let count: Int
  public let context: Int
  private let sequences: [HeldOutSequence]
  private let source: SequenceSource<HeldOutSequence>

  /// Throws `ActCacheError.missing` if the cache holds nothing out.
  public init(_ cache: CacheReader) throws {
    sequences = cache.split.heldOut
    count = sequences.count
    context = cache.manifest.context
    guard count > 0 else {
      throw ActCacheError.missing(
        "\(cache.path): no sequence is held out; harvest with a held-out fraction above 0 and more than one sequence")
    }
    source = try SequenceSource(cache)
  }

  /// Held-out sequence `ordinal`, 0..<count.
  public func sequence(_ ordinal: Int) throws -> CachedSequence {
    let (tokens, length) = try source.tokens(of: sequences[ordinal])
    return CachedSequence(number: sequences[ordinal].number, tokens: tokens, length: length)
  }

  /// Fills `output`, [context, width] row-major, with its activations.
  public func read(_ ordinal: Int, hook: String, into output: inout MutableSpan<Float>) throws {
    try source.read(sequences[ordinal], stream: StreamSpec.hooksPrefix + hook, into: &output)
  }

  /// Lends its activations, [context, width] row-major: without a copy if the cache is mapped and keeps them as f32
  /// without compression.
  public func withActivations<R>(_ ordinal: Int, hook: String, _ body: (Span<Float>) throws -> R) throws -> R {
    try source.withActivations(sequences[ordinal], stream: StreamSpec.hooksPrefix + hook, body)
  }

  /// Fills `output`, [context, dModel] row-major, with the values of `ln_final.hook_normalized` that the policy `hidden`
  /// keeps: times the final norm's weight (and plus its bias), they are what the unembedding makes logits of.
  public func readHidden(_ ordinal: Int, into output: inout MutableSpan<Float>) throws {
    try source.read(sequences[ordinal], stream: LogitPolicy.hidden.stream, into: &output)
  }

  /// The teacher's next-token distributions at its positions, by a policy that keeps them (any but `hidden`).
  /// - Throws: `ActCacheError.missing` if the cache has no such policy, `.damaged` naming the file.
  public func targets(_ ordinal: Int, policy: LogitPolicy) throws -> TeacherTargets {
    try source.targets(of: sequences[ordinal], policy: policy)
  }
}

/// The training sequences: all that are not held out, in an order of their own each epoch. For one thread at a time.
public final class SequenceReader {
  /// Number of training sequences.
  public let count: Int
  public let context: Int
  public let seed: UInt64
  /// Frames that are left out, ascending: with them the order is a function of (seed, epoch, index).
  public let skipped: [SkippedFrame]
  /// Training sequences, ascending.
  private let sequences: [TrainingSequence]
  private let source: SequenceSource<TrainingSequence>
  private var permutation: (epoch: Int, order: KeyedPermutation)

  /// - Parameter hooks: whose frames are checked if damaged ones are to be skipped.
  public init(
    _ cache: CacheReader, seed: UInt64, hooks: [String] = [], onCorrupt: CorruptionPolicy = .stop
  ) throws {
    let split = cache.split
    skipped = try onCorrupt == .skip ? cache.damagedFrames(hooks: hooks, tokens: true) : []
    let damaged = Set(skipped.map(\.frame))
    sequences = (0..<cache.nFrames).lazy.filter { !damaged.contains($0) }
      .flatMap { cache.sequences(ofFrame: $0).compactMap(split.training) }
    count = sequences.count
    context = cache.manifest.context
    self.seed = seed
    guard count > 0 else {
      throw ActCacheError.missing("\(cache.path): every sequence is held out\(damaged.isEmpty ? "" : " or damaged")")
    }
    source = try SequenceSource(cache)
    permutation = (0, SequenceReader.order(count, seed, epoch: 0))
  }

  private static func order(_ count: Int, _ seed: UInt64, epoch: Int) -> KeyedPermutation {
    KeyedPermutation(count: count, key: Key(seed).mixing(.sequences).mixing(UInt64(epoch)).value)
  }

  /// The sequence at place `index` of the endless order: epoch `index / count`.
  private func place(_ index: Int) -> TrainingSequence {
    precondition(index >= 0, "sequence \(index)")
    let (epoch, place) = index.quotientAndRemainder(dividingBy: count)
    if permutation.epoch != epoch { permutation = (epoch, SequenceReader.order(count, seed, epoch: epoch)) }
    return sequences[permutation.order[place]]
  }

  /// The sequence at place `index` of the order.
  public func sequence(_ index: Int) throws -> CachedSequence {
    let sequence = place(index)
    let (tokens, length) = try source.tokens(of: sequence)
    return CachedSequence(number: sequence.number, tokens: tokens, length: length)
  }

  /// Fills `output`, [context, width] row-major, with its activations.
  public func read(_ index: Int, hook: String, into output: inout MutableSpan<Float>) throws {
    try source.read(place(index), stream: StreamSpec.hooksPrefix + hook, into: &output)
  }

  /// Lends its activations, [context, width] row-major: without a copy if the cache is mapped and keeps them as f32
  /// without compression.
  public func withActivations<R>(_ index: Int, hook: String, _ body: (Span<Float>) throws -> R) throws -> R {
    try source.withActivations(place(index), stream: StreamSpec.hooksPrefix + hook, body)
  }

  /// Fills `output`, [context, dModel] row-major, with the values of `ln_final.hook_normalized` that the policy `hidden`
  /// keeps: times the final norm's weight (and plus its bias), they are what the unembedding makes logits of.
  public func readHidden(_ index: Int, into output: inout MutableSpan<Float>) throws {
    try source.read(place(index), stream: LogitPolicy.hidden.stream, into: &output)
  }

  /// The teacher's next-token distributions at its positions, by a policy that keeps them (any but `hidden`).
  /// - Throws: `ActCacheError.missing` if the cache has no such policy, `.damaged` naming the file.
  public func targets(_ index: Int, policy: LogitPolicy) throws -> TeacherTargets {
    try source.targets(of: place(index), policy: policy)
  }

  /// Those of the policy `full` as they are stored, a quarter of the memory.
  package func codes(_ index: Int) throws -> CodedTargets { try source.codes(of: place(index)) }
}
