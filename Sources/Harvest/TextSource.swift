import ActCache

/// Where the token ids of a harvest come from.
enum TextSource: Sendable {
  /// Files that are read and tokenized.
  case corpora
  /// The tokens that the cache has already, up to the end of its newest generation.
  case cache(path: String)

  /// Reads the ids in the ranges of `layout`, the same ones whenever and by whomever they are read.
  ///
  /// - Parameters:
  ///   - report: told of everything that is left out.
  ///   - progress: called now and then; may throw to end the reading.
  ///   - deliver: takes the ranges in order; false if no more are wanted.
  /// - Returns: where the text ends; nil if `deliver` wanted no more.
  func read(
    _ configuration: HarvestConfiguration, tokenizer: any TextTokenizer, layout: TokenShardReader.Layout,
    baseKey: String, report: @escaping (CorpusNotice) -> Void,
    progress: @escaping (_ sequences: Int, _ fractionRead: Double?) throws -> Void,
    deliver: @escaping (TokenShard) throws -> Bool
  ) throws -> TextEnd? {
    switch self {
    case .corpora:
      return try TokenShardReader(
        corpora: configuration.corpora, separator: configuration.separator, textField: configuration.textField,
        tokenizer: tokenizer, layout: layout, baseKey: baseKey, report: report, progress: progress, deliver: deliver
      ).run()
    case .cache(let path):
      let cache = try CacheReader(path: path)
      let tokens = try TokenStream(cache)
      let nSequences = min(cache.manifest.nSequences, layout.maxSequences ?? .max)
      var shard = TokenShard(first: 0, chain: TokenChain(baseKey: baseKey))
      for sequence in 0..<nSequences {
        let (ids, length) = try tokens.sequence(sequence)
        shard.tokens += ids
        shard.lengths.append(UInt32(length))
        guard sequence + 1 == layout.rangeEnd(shard.first) || sequence + 1 == nSequences else { continue }
        shard.chainAfter.append(tokens: shard.tokens, lengths: layout.hasLengths ? shard.lengths : [])
        let next = TokenShard(first: sequence + 1, chain: shard.chainAfter)
        try progress(sequence + 1, Double(sequence + 1) / Double(nSequences))
        if try !deliver(shard) { return nil }
        shard = next
      }
      return TextEnd(
        nSequences: nSequences, chain: shard.chainAfter,
        counts: cache.manifest.generations.last?.counts ?? CorpusCounts())
    }
  }
}
