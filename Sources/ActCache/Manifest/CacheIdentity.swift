import Memory

/// How text becomes sequences of token ids; part of a cache's identity.
public struct TokenSpec: Codable, Equatable, Sendable {
  /// Positions per sequence.
  public let context: Int
  /// "concatenate" (documents run on from sequence to sequence) or "none" (one document per sequence, padded).
  public let pack: String
  /// The token every sequence begins with and documents are parted by; nil if none is added.
  public let bos: Int?
  /// The token between documents where no `bos` is added; nil if there is none.
  public let separator: Int?
  /// What fills the end of short sequences with pack "none".
  public let padding: Int
  /// Where plain text is cut into documents.
  public let documentSeparator: String
  /// The member of a JSON line that holds the text.
  public let textField: String

  public init(
    context: Int, pack: String, bos: Int?, separator: Int?, padding: Int, documentSeparator: String, textField: String
  ) {
    self.context = context
    self.pack = pack
    self.bos = bos
    self.separator = separator
    self.padding = padding
    self.documentSeparator = documentSeparator
    self.textField = textField
  }
}

/// What decides every number of a cache but the text itself: two caches with the same identity can share shards.
public struct CacheIdentity: Codable, Equatable, Sendable {
  /// SHA-256 over the model's tensors (name, shape, type, bytes of each), whatever files they lie in.
  public let weights: String
  /// SHA-256 of the model's configuration.
  public let modelConfiguration: String
  /// SHA-256 over the tokenizer.
  public let tokenizer: String
  public let tokens: TokenSpec
  /// Arithmetic of the forward pass, for instance "f32 openblas".
  public let numerics: String
  public let formatVersion: Int

  public init(weights: String, modelConfiguration: String, tokenizer: String, tokens: TokenSpec, numerics: String) {
    self.weights = weights
    self.modelConfiguration = modelConfiguration
    self.tokenizer = tokenizer
    self.tokens = tokens
    self.numerics = numerics
    formatVersion = ShardHeader.version
  }

  /// SHA-256 of the canonical JSON of this value, hex: the cache's name.
  public func baseKey() throws -> String { try CanonicalJSON.hexDigest(of: CanonicalJSON.encode(self)) }
}
