/// Which tokens a training reader passes over. Padding is always passed over.
public struct TokenFilter: Codable, Equatable, Sendable {
  /// Pass over the token that the cache's sequences begin with.
  public var skipsBOS: Bool
  /// Only these positions of each sequence; nil for all.
  public var positions: Range<Int>?

  public init(skipsBOS: Bool = false, positions: Range<Int>? = nil) {
    self.skipsBOS = skipsBOS
    self.positions = positions
  }
}

/// The tokens that training may see: those of no held-out sequence that pass the filter. Counted once, when a reader
/// is opened, so that the length of an epoch is known.
struct EligibleTokens: Sendable {
  let context: Int
  /// First sequence of each frame, and of the end.
  private let frameStarts: [Int]
  private let positions: Range<Int>
  /// One bit per sequence: held out.
  private var heldOut: [UInt64]
  /// One bit per token: passed over; empty if no filter looks at tokens.
  private var skipped: [UInt64] = []
  /// Eligible tokens of each frame.
  private(set) var counts: [Int]

  init(_ cache: CacheReader, filter: TokenFilter) throws {
    let manifest = cache.manifest
    context = manifest.context
    let nSequences = manifest.nSequences
    frameStarts = (0..<cache.nFrames).map { cache.sequences(ofFrame: $0).lowerBound } + [nSequences]
    positions = (filter.positions ?? 0..<manifest.context).clamped(to: 0..<manifest.context)
    heldOut = [UInt64](repeating: 0, count: (nSequences + 63) / 64)
    for sequence in manifest.heldOut { heldOut[sequence >> 6] |= 1 << UInt64(sequence & 63) }
    counts = [Int](repeating: 0, count: cache.nFrames)

    let bos = filter.skipsBOS ? manifest.identity.tokens.bos.flatMap { UInt32(exactly: $0) } : nil
    if filter.skipsBOS && bos == nil {
      throw ActCacheError.unsupported(
        "\(cache.path): the sequences were harvested without BOS, there is none to skip; leave the filter out")
    }
    if bos != nil || manifest.spec.hasLengths {
      skipped = [UInt64](repeating: 0, count: (nSequences * context + 63) / 64)
      let stream = try TokenStream(cache)
      for sequence in 0..<nSequences where !isHeldOut(sequence) {
        let (tokens, length) = try stream.sequence(sequence)
        for position in 0..<context where position >= length || tokens[position] == bos {
          let i = sequence * context + position
          skipped[i >> 6] |= 1 << UInt64(i & 63)
        }
      }
    }
    for frame in counts.indices {
      var n = 0
      for sequence in cache.sequences(ofFrame: frame) where !isHeldOut(sequence) {
        if skipped.isEmpty { n += positions.count } else { for p in positions where !isSkipped(sequence, p) { n += 1 } }
      }
      counts[frame] = n
    }
  }

  func isHeldOut(_ sequence: Int) -> Bool { heldOut[sequence >> 6] >> UInt64(sequence & 63) & 1 == 1 }

  private func isSkipped(_ sequence: Int, _ position: Int) -> Bool {
    let i = sequence * context + position
    return skipped[i >> 6] >> UInt64(i & 63) & 1 == 1
  }

  /// Appends the rows of `frame` (sequence in the frame · context + position) plus `base`, ascending.
  func appendRows(ofFrame frame: Int, base: Int, to rows: inout [UInt32]) {
    let first = frameStarts[frame]
    for sequence in first..<frameStarts[frame + 1] where !isHeldOut(sequence) {
      let start = base + (sequence - first) * context
      for position in positions where skipped.isEmpty || !isSkipped(sequence, position) {
        rows.append(UInt32(truncatingIfNeeded: start + position))
      }
    }
  }
}
