import ActCache

/// What of a cache is there already, and what a run has to add.
package struct Inventory: Sendable {
  /// Whether a range of a stream is to be harvested if it is missing.
  package typealias Filter = @Sendable (_ stream: String, _ range: Range<Int>) -> Bool

  private let contents: CacheContents
  private let spec: CacheSpec
  private let streams: [StreamSpec]
  private let wanted: Filter?
  /// By first sequence.
  private let tokens: [Int: Receipt]
  /// Where ranges begin and texts end, ascending.
  private let cuts: [Int]

  init(_ contents: CacheContents, spec: CacheSpec, streams: [StreamSpec], wanted: Filter? = nil) {
    self.contents = contents
    self.spec = spec
    self.streams = streams
    self.wanted = wanted
    tokens = Dictionary(contents.tokenReceipts.map { ($0.first, $0) }, uniquingKeysWith: { first, _ in first })
    cuts = Set(contents.tokenReceipts.map(\.first) + contents.generations.map(\.nSequences)).sorted()
  }

  /// Where the range from `first` on ends: as it was cut before, or at the next multiple of a shard.
  func rangeEnd(from first: Int) -> Int {
    if let receipt = tokens[first] { return receipt.end }
    // A range whose receipt is lost ended before the next one, and where a text did.
    return min(spec.rangeEnd(from: first), cuts.first { $0 > first } ?? .max)
  }

  /// What a range lacks.
  struct Missing: Sendable {
    let tokens: Bool
    /// Places in the list of the run's streams.
    let streams: [Int]
    var isEmpty: Bool { !tokens && streams.isEmpty }
  }

  /// What the range of `shard` lacks.
  /// - Throws: `ActCacheError.mismatch` if it was made from another text.
  func missing(_ shard: TokenShard, cache: String) throws -> Missing {
    guard let receipt = tokens[shard.first] else {
      try checkWitnesses(shard, cache)
      return Missing(
        tokens: isWanted(StreamSpec.tokens, shard),
        streams: streams.indices.filter { isWanted(streams[$0].name, shard) && !isThere(streams[$0].name, shard) })
    }
    guard receipt.end == shard.range.upperBound else {
      throw ActCacheError.mismatch(
        "\(cache): this cache goes on beyond sequence \(shard.range.upperBound), where the text of this command ends, and "
          + "none of its generations ends there; repeat the command that made the cache (the same --tokens and --corpus), "
          + "or choose another --out")
    }
    guard receipt.chainBefore == shard.chainBefore.hexValue, receipt.chainAfter == shard.chainAfter.hexValue else {
      throw anotherText(shard, receipt.chainAfter, cache)
    }
    return Missing(
      tokens: false,
      streams: streams.indices.filter {
        isWanted(streams[$0].name, shard) && contents.receipt(of: streams[$0].name, matching: receipt) == nil
      })
  }

  /// A range whose tokens are lost may still be known from other streams, and from a generation that ends with it.
  private func checkWitnesses(_ shard: TokenShard, _ cache: String) throws {
    let end = shard.range.upperBound
    let chains =
      streams.compactMap { stream in
        contents.receipts[stream.name]?.first { $0.first == shard.first && $0.end == end }?.chainAfter
      } + contents.generations.filter { $0.nSequences == end }.map(\.chain)
    if let other = chains.first(where: { $0 != shard.chainAfter.hexValue }) { throw anotherText(shard, other, cache) }
  }

  private func anotherText(_ shard: TokenShard, _ chain: String, _ cache: String) -> ActCacheError {
    .mismatch(
      "\(cache): sequences \(shard.range.lowerBound)..<\(shard.range.upperBound) were made from another text (token "
        + "chain \(chain.prefix(12)), this text gives \(shard.chainAfter.hexValue.prefix(12))); repeat the "
        + "command that made the cache, or choose another --out")
  }

  private func isWanted(_ stream: String, _ shard: TokenShard) -> Bool { wanted?(stream, shard.range) ?? true }

  /// A stream's range can be there although its tokens' receipt is lost.
  private func isThere(_ stream: String, _ shard: TokenShard) -> Bool {
    contents.receipts[stream]?.contains {
      $0.first == shard.first && $0.end == shard.range.upperBound && $0.chainAfter == shard.chainAfter.hexValue
    } ?? false
  }

  /// Throws `ActCacheError.mismatch` if the cache goes on beyond `end` and was never meant to end there.
  func checkEnd(_ end: TextEnd, cache: String) throws {
    guard let beyond = tokens.values.map(\.end).max(), beyond > end.nSequences,
      !contents.generations.contains(where: { $0.nSequences == end.nSequences && $0.chain == end.chain.hexValue })
    else { return }
    throw ActCacheError.mismatch(
      "\(cache): this cache holds sequences up to \(beyond), the text of this command ends with \(end.nSequences); repeat "
        + "the command that made the cache, or choose another --out")
  }

  /// Tokens of sequences below `maxSequences` that every stream of the run has.
  func nTokensDone(below maxSequences: Int) -> Int {
    tokens.values.reduce(0) { sum, receipt in
      guard receipt.end <= maxSequences,
        streams.allSatisfy({ contents.receipt(of: $0.name, matching: receipt) != nil })
      else { return sum }
      return sum + (receipt.end - receipt.first) * spec.identity.tokens.context
    }
  }
}
