import ActCache

extension CacheIdentity {
  /// What of the model is not that of this cache: `weights: mine, not theirs` each.
  func differences(from source: any ActivationSource) throws -> [String] {
    differences(
      weights: try source.weightsDigest, modelConfiguration: source.configurationDescription, numerics: source.numerics)
  }

  /// Throws `ActCacheError.mismatch` unless the cache was made with this model (and tokenizer, where one is given).
  package func require(_ source: any ActivationSource, _ tokenizer: (any TextTokenizer)? = nil, path: String) throws {
    try require(
      weights: source.weightsDigest, modelConfiguration: source.configurationDescription, numerics: source.numerics,
      tokenizer: tokenizer?.digest, path: path)
  }
}
