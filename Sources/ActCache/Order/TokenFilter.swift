/// Which tokens a training reader passes over. Padding is always passed over.
public struct TokenFilter: Codable, Equatable, Sendable {
  /// Pass over the token that the cache's sequences begin with.
  public var skipsBOS: Bool
  /// Only these positions of each sequence; nil for all.
  public var positions: Range<Int>?
  /// Pass over tokens whose norm, at one of the hooks that are read, is above so many times the median norm of that hook
  /// (`HookStatistics.medianSquaredNorm`): attention sinks and the like. All activations are read once to find them.
  public var maxNormRatio: Double?

  public init(skipsBOS: Bool = false, positions: Range<Int>? = nil, maxNormRatio: Double? = nil) {
    self.skipsBOS = skipsBOS
    self.positions = positions
    self.maxNormRatio = maxNormRatio
  }

  /// Whether the tokens themselves must be looked at.
  func readsTokens(of cache: CacheReader) -> Bool { skipsBOS || cache.manifest.spec.hasLengths }
}

/// A row of a window that holds the activation of an eligible token: slot · rowsPerFrame + row of the frame. Only
/// `EligibleTokens` makes one.
struct TrainingRow: Sendable, Equatable, BitwiseCopyable {
  let value: UInt32
  fileprivate init(_ value: UInt32) { self.value = value }
}

/// The tokens that training may see: those of no held-out sequence, of no frame left out, that pass the filter. Counted
/// once, when a reader is opened, so that the length of an epoch is known.
struct EligibleTokens: Sendable {
  let context: Int
  /// Numbers of the frames that are read, ascending.
  let frames: [Int]
  /// Eligible tokens of each of them.
  private(set) var counts: [Int]
  /// Their sequences.
  private let sequences: [Range<Int>]
  private let split: SequenceSplit
  private let positions: Range<Int>
  /// One bit per token: passed over; empty if no filter looks at tokens.
  private var skipped: [UInt64] = []
  /// Tokens of training sequences that the norm of their activation alone leaves out.
  private(set) var nOutliers = 0

  /// - Parameters:
  ///   - hooks: whose norms a filter looks at.
  ///   - leavingOut: frames that are not read at all.
  init(_ cache: CacheReader, hooks: [String], filter: TokenFilter, leavingOut damaged: Set<Int> = []) throws {
    let manifest = cache.manifest
    context = manifest.context
    split = cache.split
    positions = (filter.positions ?? 0..<manifest.context).clamped(to: 0..<manifest.context)
    frames = (0..<cache.nFrames).filter { !damaged.contains($0) }
    sequences = frames.map { cache.sequences(ofFrame: $0) }
    counts = []

    let bos = filter.skipsBOS ? manifest.identity.tokens.bos.flatMap { UInt32(exactly: $0) } : nil
    if filter.skipsBOS && bos == nil {
      throw ActCacheError.unsupported(
        "\(cache.path): the sequences were harvested without BOS, there is none to skip; leave the filter out")
    }
    if filter.readsTokens(of: cache) || filter.maxNormRatio != nil {
      skipped = [UInt64](repeating: 0, count: (manifest.nSequences * context + 63) / 64)
    }
    if filter.readsTokens(of: cache) {
      let stream = try TokenStream(cache)
      for sequence in sequences.lazy.joined() {
        guard let training = split.training(sequence) else { continue }
        let (tokens, length) = try stream.sequence(training.number)
        for position in 0..<context where position >= length || tokens[position] == bos {
          let i = sequence * context + position
          skipped[i >> 6] |= 1 << UInt64(i & 63)
        }
      }
    }
    if let ratio = filter.maxNormRatio {
      for hook in hooks {
        for token in try cache.tokens(at: hook, withNormAbove: ratio, in: frames) {
          let (sequence, position) = token.quotientAndRemainder(dividingBy: context)
          if positions.contains(position), split.training(sequence) != nil, !isSkipped(sequence, position) {
            nOutliers += 1
          }
          skipped[token >> 6] |= 1 << UInt64(token & 63)
        }
      }
    }
    counts = sequences.map { range in range.reduce(0) { $0 + (split.training($1).map(count) ?? 0) } }
  }

  /// Eligible tokens of one sequence.
  func count(of sequence: TrainingSequence) -> Int {
    if skipped.isEmpty { return positions.count }
    return positions.reduce(0) { $0 + (isSkipped(sequence.number, $1) ? 0 : 1) }
  }

  /// Eligible tokens of each training sequence of frame number `place` of `frames`.
  func countsBySequence(ofFrame place: Int) -> [Int] { sequences[place].compactMap { split.training($0).map(count) } }

  private func isSkipped(_ sequence: Int, _ position: Int) -> Bool {
    let i = sequence * context + position
    return skipped[i >> 6] >> UInt64(i & 63) & 1 == 1
  }

  /// Appends the eligible rows of frame number `place` of `frames`, which begins with row `base`, ascending.
  func appendRows(ofFrame place: Int, base: Int, to rows: inout [TrainingRow]) {
    let range = sequences[place]
    for sequence in range where split.training(sequence) != nil {
      let start = base + (sequence - range.lowerBound) * context
      for position in positions where skipped.isEmpty || !isSkipped(sequence, position) {
        rows.append(TrainingRow(UInt32(truncatingIfNeeded: start + position)))
      }
    }
  }
}
