/// One sequence of a cache, for a person to look at.
package struct SequenceDump: Encodable, Sendable {
  /// Activations.
  package struct Hook: Encodable, Sendable {
    /// The hook point, or "logits/hidden".
    package let name: String
    package let dtype: String
    package let width: Int
    package let place: StoredSequences.Place
    /// ‖x‖ at each position of text.
    package let norms: [Double]
    /// The first values at each position of text.
    package let firstValues: [[Float]]
  }

  /// Teacher targets at each position of text.
  package struct Targets: Encodable, Sendable {
    package struct Token: Encodable, Equatable, Sendable {
      package let token: UInt32
      package let probability: Float
    }

    package let policy: String
    package let place: StoredSequences.Place
    /// Tokens that are listed.
    package let counts: [Int]
    /// The most likely of them, by descending probability.
    package let top: [[Token]]
    package let tailMasses: [Float]
    /// Nats.
    package let entropies: [Float]
  }

  /// Values and tokens shown of each position.
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
  package let logits: [Targets]
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
    let isWhole = { (name: String, stream: Manifest.Stream) in stream.nSequences == manifest.nSequences }
    let hidden = manifest.logits[LogitPolicy.hidden.name].map { [(LogitPolicy.hidden.stream, $0)] } ?? []
    let activations = manifest.hooks.sorted { $0.key < $1.key }.map { ($0.key, $0.value) } + hidden
    hooks = try activations.filter(isWhole).map { name, hook in
      let stream = manifest.hooks[name] == nil ? name : StreamSpec.hooksPrefix + name
      var values = [Float](repeating: 0, count: manifest.context * hook.width)
      var output = values.mutableSpan
      try stored.read(sequence, stream: stream, into: &output)
      let rows = (0..<length).map { values[($0 * hook.width)..<(($0 + 1) * hook.width)] }
      return Hook(
        name: name, dtype: hook.dtype, width: hook.width,
        place: try stored.place(of: sequence, stream: stream),
        norms: rows.map { $0.reduce(0.0) { $0 + Double($1) * Double($1) }.squareRoot() },
        firstValues: rows.map { Array($0.prefix(SequenceDump.nValues)) })
    }
    logits = try manifest.logits.sorted { $0.key < $1.key }.filter(isWhole).compactMap { name, _ in
      guard let policy = LogitPolicy(name), policy != .hidden else { return nil }
      return Targets(
        policy, try stored.targets(of: sequence, policy: policy).tokens(0..<length),
        place: try stored.place(of: sequence, stream: policy.stream))
    }
  }
}

extension SequenceDump.Targets {
  fileprivate init(_ policy: LogitPolicy, _ targets: TeacherTargets, place: StoredSequences.Place) {
    self.policy = policy.name
    self.place = place
    counts = zip(targets.starts, targets.starts.dropFirst()).map { $1 - $0 }
    top = zip(targets.starts, targets.starts.dropFirst()).map { start, end in
      let all = (start..<end).map { Token(token: targets.indices[$0], probability: targets.probabilities[$0]) }
      // Of equal ones that with the lower id first, as lists have it.
      let byProbability = all.sorted { ($1.probability, $0.token) < ($0.probability, $1.token) }
      return Array(byProbability.prefix(SequenceDump.nValues))
    }
    tailMasses = targets.tailMasses
    entropies = targets.entropies
  }
}
