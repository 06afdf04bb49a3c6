/// Text to token ids and back, with the ids of Hugging Face `tokenizers`.
///
/// Immutable and shared freely between threads; the state of a run of encoding lives in a `BPEEncoder`.
///
///     text ─ added tokens ─ normalizer ─ added tokens ─ pre-tokenizer ─ merges ─ template ─► ids
package final class BPETokenizer: Sendable {
  /// Everything that decides the ids.
  struct Parts: Sendable {
    var model: BPEModel
    var addedTokens: [AddedToken] = []
    var normalizer = Normalizer()
    var preTokenizer = PreTokenizer()
    var decoder = TokenDecoder.byteLevel
    /// Put before and after the text when special tokens are asked for.
    var prefixIDs: [UInt32] = []
    var suffixIDs: [UInt32] = []
    var bosTokenID: UInt32?
    var eosTokenID: UInt32?
  }

  let parts: Parts
  let compiled: CompiledModel
  /// Added tokens that are looked for in the text as it is, and after normalization.
  let rawMatcher: AddedTokenMatcher
  let normalizedMatcher: AddedTokenMatcher
  /// Index into `parts.addedTokens`.
  private let addedTokenOfID: [UInt32: Int]

  init(_ parts: Parts) {
    self.parts = parts
    compiled = CompiledModel(parts.model, isByteLevel: parts.preTokenizer.isByteLevel)
    let raw = parts.addedTokens.filter { !$0.isNormalized }
    rawMatcher = AddedTokenMatcher(tokens: raw, patterns: raw.map(\.content))
    let normalized = parts.addedTokens.filter(\.isNormalized)
    normalizedMatcher = AddedTokenMatcher(
      tokens: normalized, patterns: normalized.map { parts.normalizer.normalized($0.content) })
    addedTokenOfID = Dictionary(
      parts.addedTokens.enumerated().map { ($0.element.id, $0.offset) }, uniquingKeysWith: { $1 })
  }

  /// One more than the largest id, so that every id indexes an embedding of this many rows.
  package var vocabularySize: Int {
    max(parts.model.tokens.idLimit, (parts.addedTokens.map { Int($0.id) }.max() ?? -1) + 1)
  }

  /// The token that starts a text, where the tokenizer's files name it.
  package var bosTokenID: UInt32? { parts.bosTokenID }

  /// The token that ends a text or document, where the tokenizer's files name it.
  package var eosTokenID: UInt32? { parts.eosTokenID }

  /// Whether encoding with special tokens puts the BOS token first.
  package var prependsBOS: Bool { parts.bosTokenID != nil && parts.prefixIDs.first == parts.bosTokenID }

  /// Tokens that are cut out of the text before anything else looks at it.
  package var addedTokens: [AddedToken] { parts.addedTokens }

  /// The token as its file spells it: byte-level vocabularies write a leading space as "Ġ". Nil for an unused id.
  package func tokenText(_ id: UInt32) -> String? { storedText(id).map { String(decoding: $0, as: UTF8.self) } }

  /// The id of a token as its file spells it.
  package func tokenID(_ text: String) -> UInt32? {
    let bytes = Array(text.utf8)
    return parts.addedTokens.last { $0.content == bytes }?.id ?? parts.model.tokens.id(of: bytes)
  }

  /// Whether decoding leaves this token out unless special tokens are asked for.
  package func isSpecial(_ id: UInt32) -> Bool { addedTokenOfID[id].map { parts.addedTokens[$0].isSpecial } ?? false }

  private func storedText(_ id: UInt32) -> ArraySlice<UInt8>? {
    if let index = addedTokenOfID[id] { return parts.addedTokens[index].content[...] }
    return parts.model.tokens.text(id)
  }

  /// What the decoder starts from: added tokens in their normal form.
  func decodableText(_ id: UInt32) -> ArraySlice<UInt8>? {
    if let index = addedTokenOfID[id] {
      let token = parts.addedTokens[index]
      return token.isNormalized ? parts.normalizer.normalized(token.content)[...] : token.content[...]
    }
    return parts.model.tokens.text(id)
  }

  /// The ids of a text. For many texts, make one `BPEEncoder` per thread: it remembers words.
  ///
  /// `text` must be UTF-8 (`UTF8Text.firstError`).
  package func encode(_ text: [UInt8], addSpecialTokens: Bool = false) -> [UInt32] {
    var ids: [UInt32] = []
    BPEEncoder(self).encode(text, addSpecialTokens: addSpecialTokens, into: &ids)
    return ids
  }

  /// The ids of a text.
  package func encode(_ text: String, addSpecialTokens: Bool = false) -> [UInt32] {
    encode(Array(text.utf8), addSpecialTokens: addSpecialTokens)
  }
}
