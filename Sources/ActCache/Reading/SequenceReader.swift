import Memory

/// Tokens and activations of whole sequences, by their number in the cache. Not public: the two readers below decide
/// which numbers they ask for.
final class SequenceSource {
  fileprivate let cache: CacheReader
  private let tokens: TokenStream
  fileprivate let decoder: FrameDecoder
  /// The last frame of targets.
  fileprivate var targets: (path: String, frame: Int, targets: TeacherTargets)?
  /// The last decoded frame of each stream.
  private var loaded: [String: Loaded] = [:]

  private struct Loaded {
    let coding: ValueCoding
    var frame = -1
    var content = FrameBuffer(count: 0)
  }

  init(_ cache: CacheReader) throws {
    self.cache = cache
    tokens = try TokenStream(cache)
    decoder = try FrameDecoder()
  }

  func tokens(of sequence: Int) throws -> (tokens: [UInt32], length: Int) { try tokens.sequence(sequence) }

  func read(_ sequence: Int, stream name: String, into output: inout MutableSpan<Float>) throws {
    var hook = try loaded.removeValue(forKey: name) ?? Loaded(coding: cache.coding(ofStream: name))
    let context = cache.manifest.context
    let width = hook.coding.width
    precondition(output.count == context * width, "\(output.count) values for a sequence of \(context) × \(width)")
    let frame = cache.frame(ofSequence: sequence)
    let sequences = cache.sequences(ofFrame: frame)
    let inFrame = sequence - sequences.lowerBound
    let nRows = sequences.count * context
    let count = nRows * hook.coding.rowByteCount
    if hook.frame != frame {
      let place = cache.place(ofFrame: frame)
      let shard = try cache.shard(place.shard, of: name)
      if hook.content.count < count { hook.content = FrameBuffer(count: count) }
      try hook.content.withMutableBytes(0..<count) { try shard.decode(frame: place.frame, with: decoder, into: &$0) }
      hook.frame = frame
    }
    hook.content.withBytes(0..<count) {
      hook.coding.decode($0, of: nRows, rows: (inFrame * context)..<((inFrame + 1) * context), into: &output)
    }
    loaded[name] = hook
  }
}

extension SequenceSource {
  /// The teacher's targets at the positions of a sequence.
  func targets(of sequence: Int, policy: LogitPolicy) throws -> TeacherTargets {
    _ = try cache.logits(policy.name)
    let place = cache.place(ofSequence: sequence)
    let shard = try cache.shard(place.shard, of: policy.stream)
    guard let shape = shard.header.targetShape else {
      throw ActCacheError.unsupported(
        "logits \(policy.name) are final hidden states; read them as such, and the model's unembedding makes targets")
    }
    let context = cache.manifest.context
    let (frame, inFrame) = place.offset.quotientAndRemainder(dividingBy: shard.header.sequencesPerFrame)
    if targets?.path != shard.path || targets?.frame != frame {
      targets = nil
      let content = FrameBuffer(count: shard.contentBytes(ofFrame: frame))
      try content.withMutableBytes(0..<content.count) { try shard.decode(frame: frame, with: decoder, into: &$0) }
      let nTokens = shard.header.sequences(inFrame: frame) * context
      do throws(TargetFault) {
        let all = try content.withBytes(0..<content.count) { (bytes: RawSpan) throws(TargetFault) in
          try shape.decode(bytes, nTokens: nTokens)
        }
        targets = (shard.path, frame, all)
      } catch { throw shard.damaged("frame \(frame): \(error.what)") }
    }
    guard let all = targets?.targets else { throw shard.damaged("frame \(frame) gives no targets") }
    return all.tokens((inFrame * context)..<((inFrame + 1) * context))
  }
}

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
  private let numbers: [Int]
  private let source: SequenceSource

  /// Throws `ActCacheError.missing` if the cache holds nothing out.
  public init(_ cache: CacheReader) throws {
    numbers = cache.manifest.heldOut
    count = numbers.count
    context = cache.manifest.context
    guard count > 0 else {
      throw ActCacheError.missing(
        "\(cache.path): no sequence is held out; harvest with a held-out fraction above 0 and more than one sequence")
    }
    source = try SequenceSource(cache)
  }

  /// Held-out sequence `ordinal`, 0..<count.
  public func sequence(_ ordinal: Int) throws -> CachedSequence {
    let (tokens, length) = try source.tokens(of: numbers[ordinal])
    return CachedSequence(number: numbers[ordinal], tokens: tokens, length: length)
  }

  /// Fills `output`, [context, width] row-major, with its activations.
  public func read(_ ordinal: Int, hook: String, into output: inout MutableSpan<Float>) throws {
    try source.read(numbers[ordinal], stream: StreamSpec.hooksPrefix + hook, into: &output)
  }

  /// Fills `output`, [context, dModel] row-major, with the values of `ln_final.hook_normalized` that the policy `hidden`
  /// keeps: times the final norm's weight (and plus its bias), they are what the unembedding makes logits of.
  public func readHidden(_ ordinal: Int, into output: inout MutableSpan<Float>) throws {
    try source.read(numbers[ordinal], stream: LogitPolicy.hidden.stream, into: &output)
  }

  /// The teacher's next-token distributions at its positions, by a policy that keeps them (any but `hidden`).
  /// - Throws: `ActCacheError.missing` if the cache has no such policy, `.damaged` naming the file.
  public func targets(_ ordinal: Int, policy: LogitPolicy) throws -> TeacherTargets {
    try source.targets(of: numbers[ordinal], policy: policy)
  }
}

/// The training sequences: all that are not held out, in an order of their own each epoch. For one thread at a time.
public final class SequenceReader {
  /// Number of training sequences.
  public let count: Int
  public let context: Int
  public let seed: UInt64
  /// Training sequences, ascending.
  private let numbers: [Int]
  private let source: SequenceSource
  private var permutation: (epoch: Int, order: KeyedPermutation)

  public init(_ cache: CacheReader, seed: UInt64) throws {
    let heldOut = Set(cache.manifest.heldOut)
    numbers = (0..<cache.manifest.nSequences).filter { !heldOut.contains($0) }
    count = numbers.count
    context = cache.manifest.context
    self.seed = seed
    guard count > 0 else { throw ActCacheError.missing("\(cache.path): every sequence is held out") }
    source = try SequenceSource(cache)
    permutation = (0, SequenceReader.order(count, seed, epoch: 0))
  }

  private static func order(_ count: Int, _ seed: UInt64, epoch: Int) -> KeyedPermutation {
    KeyedPermutation(count: count, key: Key(seed).mixing(.sequences).mixing(UInt64(epoch)).value)
  }

  /// Number in the cache of the sequence at place `index` of the endless order: epoch `index / count`.
  private func number(_ index: Int) -> Int {
    precondition(index >= 0, "sequence \(index)")
    let (epoch, place) = index.quotientAndRemainder(dividingBy: count)
    if permutation.epoch != epoch { permutation = (epoch, SequenceReader.order(count, seed, epoch: epoch)) }
    return numbers[permutation.order[place]]
  }

  /// The sequence at place `index` of the order.
  public func sequence(_ index: Int) throws -> CachedSequence {
    let number = number(index)
    let (tokens, length) = try source.tokens(of: number)
    return CachedSequence(number: number, tokens: tokens, length: length)
  }

  /// Fills `output`, [context, width] row-major, with its activations.
  public func read(_ index: Int, hook: String, into output: inout MutableSpan<Float>) throws {
    try source.read(number(index), stream: StreamSpec.hooksPrefix + hook, into: &output)
  }

  /// Fills `output`, [context, dModel] row-major, with the values of `ln_final.hook_normalized` that the policy `hidden`
  /// keeps: times the final norm's weight (and plus its bias), they are what the unembedding makes logits of.
  public func readHidden(_ index: Int, into output: inout MutableSpan<Float>) throws {
    try source.read(number(index), stream: LogitPolicy.hidden.stream, into: &output)
  }

  /// The teacher's next-token distributions at its positions, by a policy that keeps them (any but `hidden`).
  /// - Throws: `ActCacheError.missing` if the cache has no such policy, `.damaged` naming the file.
  public func targets(_ index: Int, policy: LogitPolicy) throws -> TeacherTargets {
    try source.targets(of: number(index), policy: policy)
  }
}
