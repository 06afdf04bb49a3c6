import Memory

/// A sequence of either kind, for maintenance.
private struct AnySequence: SplitSequence { let number: Int }

/// What a cache stores of any sequence, and where. For one thread at a time.
///
/// It gives held-out sequences too: for looking at a cache, copying it out and checking it. Training goes through the
/// readers that leave them out.
package final class StoredSequences {
  package let cache: CacheReader
  private let source: SequenceSource<AnySequence>
  private let heldOut: Set<Int>

  package init(_ cache: CacheReader) throws {
    self.cache = cache
    source = try SequenceSource(cache)
    heldOut = Set(cache.manifest.heldOut)
  }

  /// `k` different sequences (all, if there are fewer), ascending; always the same ones for a seed.
  package func sample(_ k: Int, seed: UInt64) -> [Int] {
    let n = cache.manifest.nSequences
    let order = KeyedPermutation(count: n, key: Key(seed).value)
    return (0..<min(k, n)).map { order[$0] }.sorted()
  }

  package func isHeldOut(_ sequence: Int) -> Bool { heldOut.contains(sequence) }

  /// [context] token ids, and how many of them are text.
  package func tokens(of sequence: Int) throws -> (tokens: [UInt32], length: Int) {
    try source.tokens(of: AnySequence(number: sequence))
  }

  /// Fills `output`, [context, width] row-major, with the activations of a sequence.
  /// - Parameter stream: "hooks/<name>", "logits/hidden".
  package func read(_ sequence: Int, stream: String, into output: inout MutableSpan<Float>) throws {
    try source.read(AnySequence(number: sequence), stream: stream, into: &output)
  }

  /// The teacher's targets at the positions of a sequence, of a policy other than `hidden`.
  package func targets(of sequence: Int, policy: LogitPolicy) throws -> TeacherTargets {
    try source.targets(of: AnySequence(number: sequence), policy: policy)
  }

  /// Where a sequence lies in a file.
  package struct Place: Encodable, Equatable, Sendable {
    /// Path of the shard.
    package let file: String
    /// Number of its data frame.
    package let frame: Int
    /// Place of the sequence among those of the frame.
    package let sequenceInFrame: Int
    /// Bytes of the frame in the file: `firstByte..<endByte`.
    package let firstByte: Int
    package let endByte: Int
  }

  /// - Parameter stream: "tokens", "hooks/<name>" or "logits/<policy>".
  package func place(of sequence: Int, stream: String) throws -> Place {
    let (shard, offset) = cache.place(ofSequence: sequence)
    let reader = try cache.shard(shard, of: stream)
    let (frame, row) = offset.quotientAndRemainder(dividingBy: reader.header.sequencesPerFrame)
    let bytes = reader.byteRange(ofFrame: frame)
    return Place(
      file: reader.path, frame: frame, sequenceInFrame: row, firstByte: bytes.lowerBound, endByte: bytes.upperBound)
  }
}
