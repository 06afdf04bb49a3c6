import ActCache
import Memory

/// Chooses the steps of fixed-point streams from the first tokens of the text.
struct Calibration {
  /// Tokens that are looked at.
  static let nTokens = 16_384

  let configuration: HarvestConfiguration
  let source: any ActivationSource
  let tokenizer: any TextTokenizer
  let text: TextSource
  let spec: CacheSpec
  let files: any FileOperations

  /// The streams with their steps: those that the cache has, those that another worker has chosen, or new ones.
  /// - Throws: `HarvestError.setting` if the text can be read only once.
  func resolve(_ streams: [StreamSpec], _ contents: CacheContents) throws -> [StreamSpec] {
    let baseKey = try spec.identity.baseKey()
    func chosen(_ stream: StreamSpec) throws -> [Float]? {
      let there = contents.receipts[stream.name]?.first?.stream
      if let there, there.dtype == stream.dtype { return there.steps }
      return try FixedPointSteps.open(
        cache: configuration.out, stream: stream.name, dtype: stream.dtype, baseKey: baseKey, files: files)
    }
    let isFixed = { (stream: StreamSpec) in if case .fixed = stream.type { true } else { false } }
    let unknown = try streams.filter { try isFixed($0) && chosen($0) == nil }
    if !unknown.isEmpty {
      for (stream, statistics) in zip(unknown, try measure(unknown)) {
        guard case .fixed(let s) = stream.type else { continue }
        try FixedPointSteps.choose(
          FixedPointSteps.steps(statistics, s: s), cache: configuration.out, stream: stream.name, dtype: stream.dtype,
          baseKey: baseKey, files: files)
      }
    }
    return try streams.map { isFixed($0) ? $0.with(steps: try chosen($0)) : $0 }
  }

  private func measure(_ streams: [StreamSpec]) throws -> [StreamStatistics] {
    guard !configuration.corpora.contains("-") else {
      throw HarvestError.setting(
        name: "dtype", value: configuration.dtype,
        allowed: "bf16, f16, f32 with --corpus - (fixed point reads the beginning of the text twice); or give files")
    }
    let context = spec.identity.tokens.context
    var statistics = streams.map { StreamStatistics(width: $0.width) }
    let perBatch = max(1, configuration.batchTokens / context)
    _ = try text.read(
      configuration, tokenizer: tokenizer,
      layout: TokenShardReader.Layout(
        tokens: spec.identity.tokens, nVocabulary: source.nVocabulary, rangeEnd: { $0 + perBatch },
        maxSequences: max(1, Calibration.nTokens / context), hasLengths: spec.hasLengths),
      baseKey: "", report: { _ in }, progress: { _, _ in },
      deliver: { shard in
        try source.run(
          tokens: shard.tokens, nSequences: shard.nSequences, hooks: streams.map(\.sourceHook)
        ) { i, values in
          for (sequence, length) in shard.lengths.enumerated() {
            _ = statistics[i].add(values, from: sequence * context * streams[i].width, nRows: Int(length))
          }
        }
        return true
      })
    return statistics
  }
}
