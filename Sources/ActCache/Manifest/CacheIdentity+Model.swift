import Memory

extension CacheIdentity {
  /// What of a model is not that of this cache: `weights: mine, not theirs` each.
  ///
  /// - Parameters:
  ///   - modelConfiguration: in the form in which harvests record it.
  ///   - tokenizer: its digest; nil where no text is tokenized.
  package func differences(
    weights: String, modelConfiguration: String, numerics: String, tokenizer: String? = nil
  ) -> [String] {
    var list: [String] = []
    func compare(_ name: String, _ mine: String, _ theirs: String) {
      if mine != theirs { list.append("\(name): \(Self.short(mine)), not \(Self.short(theirs))") }
    }
    compare("weights", self.weights, weights)
    list += Self.configurationDifference(self.modelConfiguration, modelConfiguration).map { [$0] } ?? []
    compare("numerics", self.numerics, numerics)
    if let tokenizer { compare("tokenizer", self.tokenizer, tokenizer) }
    return list
  }

  /// Throws `ActCacheError.mismatch` unless the cache at `path` was made with this model.
  package func require(
    weights: String, modelConfiguration: String, numerics: String, tokenizer: String? = nil, path: String
  ) throws(ActCacheError) {
    let differences = differences(
      weights: weights, modelConfiguration: modelConfiguration, numerics: numerics, tokenizer: tokenizer)
    guard differences.isEmpty else {
      throw .mismatch(
        "\(path): this cache was made with another model: it has \(differences.joined(separator: "; ")). Give the model "
          + "that was harvested")
    }
  }

  /// In which members two configurations differ; nil if they are equal.
  static func configurationDifference(_ mine: String, _ theirs: String) -> String? {
    if mine == theirs { return nil }
    guard case .object(let a) = try? JSONValue(parsing: mine.utf8),
      case .object(let b) = try? JSONValue(parsing: theirs.utf8)
    else { return "model configuration: \(short(mine)), not \(short(theirs))" }
    func text(_ value: JSONValue?) -> String {
      let text = value?.text ?? "nothing"
      return text.count > 60 ? "\(text.prefix(57))…" : text
    }
    let members = Set(a.keys).union(b.keys).sorted().filter { a[$0] != b[$0] }
    return "model configuration: " + members.map { "\($0) \(text(a[$0])), not \(text(b[$0]))" }.joined(separator: ", ")
  }

  /// The beginning of a digest; of the digest of `text` if it is something else and long.
  static func short(_ text: String) -> Substring {
    let isShort = text.utf8.count == 64 && text.allSatisfy(\.isHexDigit) || text.utf8.count <= 12
    return (isShort ? text : CanonicalJSON.hexDigest(of: Array(text.utf8))).prefix(12)
  }
}
