/// One sequence of a cache, for a person to look at.
package struct SequenceDump: Encodable, Sendable {
  package struct Hook: Encodable, Sendable {
    package let name: String
    package let dtype: String
    package let width: Int
    package let place: StoredSequences.Place
    /// ‖x‖ at each position of text.
    package let norms: [Double]
    /// The first values at each position of text.
    package let firstValues: [[Float]]
  }

  /// Values shown of each position.
  package static let nValues = 4

  package let cache: String
  package let generation: Int
  package let sequence: Int
  package let isHeldOut: Bool
  /// Of text; the positions after it are padding.
  package let length: Int
  package let tokens: [UInt32]
  package let tokensPlace: StoredSequences.Place
  package let hooks: [Hook]
  /// Where the teacher targets lie, by policy.
  package let logits: [String: StoredSequences.Place]
  /// Of the tokens, if there is a tokenizer.
  package var text: String?

  /// - Throws: `ActCacheError.missing` if there is no such sequence, `.damaged`.
  package init(_ sequence: Int, of cache: CacheReader) throws {
    let manifest = cache.manifest
    guard (0..<manifest.nSequences).contains(sequence) else {
      throw ActCacheError.missing(
        "\(cache.path): no sequence \(sequence); it has 0 to \(manifest.nSequences - 1)")
    }
    let stored = try StoredSequences(cache)
    self.cache = cache.path
    generation = manifest.generation
    self.sequence = sequence
    isHeldOut = stored.isHeldOut(sequence)
    let (tokens, length) = try stored.tokens(of: sequence)
    self.tokens = tokens
    self.length = length
    tokensPlace = try stored.place(of: sequence, stream: StreamSpec.tokens)
    hooks = try manifest.hooks.sorted { $0.key < $1.key }.filter { $0.value.nSequences == manifest.nSequences }.map {
      name, hook in
      var values = [Float](repeating: 0, count: manifest.context * hook.width)
      var output = values.mutableSpan
      try stored.read(sequence, stream: StreamSpec.hooksPrefix + name, into: &output)
      let rows = (0..<length).map { values[($0 * hook.width)..<(($0 + 1) * hook.width)] }
      return Hook(
        name: name, dtype: hook.dtype, width: hook.width,
        place: try stored.place(of: sequence, stream: StreamSpec.hooksPrefix + name),
        norms: rows.map { $0.reduce(0.0) { $0 + Double($1) * Double($1) }.squareRoot() },
        firstValues: rows.map { Array($0.prefix(SequenceDump.nValues)) })
    }
    logits = try manifest.logits.filter { $0.value.nSequences == manifest.nSequences }.reduce(into: [:]) {
      places, entry in
      places[entry.key] = try stored.place(of: sequence, stream: StreamSpec.logitsPrefix + entry.key)
    }
  }
}
