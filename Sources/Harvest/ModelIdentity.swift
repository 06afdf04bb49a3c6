import ActCache

extension CacheIdentity {
  /// What of the model (and of its tokenizer, if it is given) is not that of this cache: `weights: mine, not theirs` each.
  package func differences(from source: any ActivationSource, _ tokenizer: (any TextTokenizer)? = nil) throws
    -> [String]
  {
    let pairs = [
      ("weights", weights, try source.weightsDigest),
      ("model configuration", modelConfiguration, source.configurationDescription),
      ("numerics", numerics, source.numerics), ("tokenizer", self.tokenizer, tokenizer?.digest ?? self.tokenizer),
    ]
    return pairs.compactMap { name, mine, theirs in
      mine == theirs ? nil : "\(name): \(CacheIdentity.short(mine)), not \(CacheIdentity.short(theirs))"
    }
  }

  /// Throws `ActCacheError.mismatch` unless the cache was made with this model and tokenizer.
  func require(_ source: any ActivationSource, _ tokenizer: any TextTokenizer, path: String) throws {
    let differences = try differences(from: source, tokenizer)
    guard differences.isEmpty else {
      throw ActCacheError.mismatch(
        "\(path): this cache was made with another model: it has \(differences.joined(separator: "; ")). Give the model "
          + "that was harvested")
    }
  }

  private static func short(_ text: String) -> Substring {
    let isShort = text.utf8.count == 64 && text.allSatisfy(\.isHexDigit) || text.utf8.count <= 12
    return (isShort ? text : CanonicalJSON.hexDigest(of: Array(text.utf8))).prefix(12)
  }
}
