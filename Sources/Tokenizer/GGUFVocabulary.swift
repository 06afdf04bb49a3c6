/// The tokenizer inside a GGUF file, as its metadata gives it. Whoever reads the file fills this in; the comments
/// name the keys.
package struct GGUFVocabulary: Sendable {
  /// File or other origin, for messages.
  package var source: String
  /// `general.architecture`, which decides for files without `pre`.
  package var architecture: String?
  /// `tokenizer.ggml.model`: `gpt2` (byte-level BPE) or `llama` (SentencePiece BPE).
  package var model: String
  /// `tokenizer.ggml.pre`.
  package var pre: String?
  /// `tokenizer.ggml.tokens`, in UTF-8.
  package var tokens: [[UInt8]]
  /// `tokenizer.ggml.token_type`: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte.
  package var tokenTypes: [Int32] = []
  /// `tokenizer.ggml.scores`; needed by `llama`.
  package var scores: [Float] = []
  /// `tokenizer.ggml.merges`, in UTF-8; needed by `gpt2`.
  package var merges: [[UInt8]] = []
  /// `tokenizer.ggml.bos_token_id`, `eos_token_id`, `unknown_token_id`.
  package var bosTokenID: UInt32?
  package var eosTokenID: UInt32?
  package var unknownTokenID: UInt32?
  /// `tokenizer.ggml.add_bos_token`, `add_eos_token`, `add_space_prefix`; nil where the key is absent.
  package var addsBOS: Bool?
  package var addsEOS: Bool?
  package var addsSpacePrefix: Bool?

  package init(source: String, model: String, tokens: [[UInt8]]) {
    self.source = source
    self.model = model
    self.tokens = tokens
  }

  /// The names that `pre` may have, and what they mean. Normalizers, and words kept whole, are those of the
  /// models' Hugging Face tokenizers.
  private static let pres: [String: (steps: [PreTokenizer.Step], nfc: Bool, ignoresMerges: Bool)] = [
    "gpt-2": ([.gpt2], false, false),
    "gpt-neox": ([.gpt2], true, false),
    "mpt": ([.gpt2], true, false),
    "olmo": ([.gpt2], true, false),
    "smollm": ([.digits(individual: true), .gpt2], false, false),
    "llama-bpe": ([.llama3(digits: 3)], false, true),
    "qwen2": ([.llama3(digits: 1)], true, false),
  ]

  /// Kinds of `tokenTypes`.
  private enum Kind {
    static let unknown: Int32 = 2
    static let control: Int32 = 3
    static let userDefined: Int32 = 4
  }

  private func unsupported(_ component: String, supported: String) -> TokenizerError {
    .unsupported(source: source, component: component, supported: supported)
  }

  private func malformed(_ what: String) -> TokenizerError { .malformed(source: source, what: what) }

  /// Builds the tokenizer.
  package func makeTokenizer() throws(TokenizerError) -> BPETokenizer {
    guard tokens.count < 1 << 28 else { throw malformed("\(tokens.count) tokens; at most \((1 << 28) - 1) are read") }
    guard tokenTypes.isEmpty || tokenTypes.count == tokens.count else {
      throw malformed("\(tokenTypes.count) token types for \(tokens.count) tokens")
    }
    for (name, id) in [("bos", bosTokenID), ("eos", eosTokenID), ("unknown", unknownTokenID)] {
      if let id, Int(id) >= tokens.count {
        throw malformed("the \(name) token id \(id) is not below the vocabulary size \(tokens.count)")
      }
    }
    for (index, token) in tokens.enumerated() {
      if UTF8Text.firstError(in: token) != nil { throw malformed("token \(index) is not UTF-8") }
    }
    var parts =
      switch model {
      case "gpt2": try byteLevelParts()
      case "llama": try sentencePieceParts()
      default: throw unsupported("tokenizer.ggml.model \(model)", supported: "gpt2, llama")
      }
    parts.bosTokenID = bosTokenID
    parts.eosTokenID = eosTokenID
    let startsWithBOS = addsBOS ?? (model == "llama" || pre == "llama-bpe")
    if startsWithBOS {
      guard let bosTokenID else { throw malformed("add_bos_token is set but bos_token_id is missing") }
      parts.prefixIDs = [bosTokenID]
    }
    if addsEOS ?? false {
      guard let eosTokenID else { throw malformed("add_eos_token is set but eos_token_id is missing") }
      parts.suffixIDs = [eosTokenID]
    }
    return BPETokenizer(parts)
  }

  private func addedTokens(kinds: [Int32], normalizesUserDefined: Bool) -> [AddedToken] {
    zip(tokens, tokenTypes).enumerated().compactMap { id, token in
      guard kinds.contains(token.1), !token.0.isEmpty else { return nil }
      let isUserDefined = token.1 == Kind.userDefined
      return AddedToken(
        id: UInt32(id), content: token.0, isNormalized: isUserDefined && normalizesUserDefined,
        isSpecial: !isUserDefined)
    }
  }

  private func byteLevelParts() throws(TokenizerError) -> BPETokenizer.Parts {
    let known = Self.pres.keys.sorted().joined(separator: ", ")
    let name: String
    switch (pre, architecture) {
    case (let pre?, _): name = pre
    case (nil, "gpt2"): name = "gpt-2"
    case (nil, "gptneox"): name = "gpt-neox"
    default: throw unsupported("a file without tokenizer.ggml.pre", supported: known)
    }
    guard let rules = Self.pres[name] else { throw unsupported("tokenizer.ggml.pre \(name)", supported: known) }
    let vocabulary = tokens.enumerated().map { (text: $0.element, id: UInt32($0.offset)) }
    var parts = BPETokenizer.Parts(model: try BPEModel(vocabulary: vocabulary, merges: merges, source: source))
    parts.model.ignoresMerges = rules.ignoresMerges
    parts.preTokenizer = PreTokenizer(steps: rules.steps, isByteLevel: true)
    if rules.nfc { parts.normalizer.steps = [.nfc] }
    parts.addedTokens = addedTokens(
      kinds: [Kind.unknown, Kind.control, Kind.userDefined], normalizesUserDefined: true)
    return parts
  }

  /// SentencePiece merges the neighbours whose joined text has the highest score, leftmost first among equals
  /// (Kudo & Richardson 2018; llama.cpp, `llm_tokenizer_spm`). A pair's rank is thus that of its text's score.
  private func sentencePieceParts() throws(TokenizerError) -> BPETokenizer.Parts {
    guard scores.count == tokens.count else { throw malformed("\(scores.count) scores for \(tokens.count) tokens") }
    guard !scores.contains(where: \.isNaN) else { throw malformed("a score is not a number") }
    let vocabulary = tokens.enumerated().map { (text: $0.element, id: UInt32($0.offset)) }
    var model = try BPEModel(vocabulary: vocabulary, merges: [], source: source)
    model.byteFallback = true
    model.unknownID = unknownTokenID
    let rankOfScore = Dictionary(
      uniqueKeysWithValues: Set(scores).sorted(by: >).enumerated().map { ($0.element, UInt32($0.offset)) })
    for (id, text) in tokens.enumerated() {
      guard let rank = rankOfScore[scores[id]] else { continue }
      let span = text.span
      for cut in 0..<text.count where cut > 0 && text[cut] & 0xC0 != 0x80 {
        guard let left = model.tokens.id(of: span, 0..<cut), let right = model.tokens.id(of: span, cut..<text.count)
        else { continue }
        model.merges.insert(left, right, rank: rank, id: UInt32(id))
      }
      try checkSpelling(id, text, model.tokens)
    }
    var parts = BPETokenizer.Parts(model: model)
    var mark: [UInt8] = []
    appendUTF8(CompiledModel.spaceMark, to: &mark)
    let prefixes = addsSpacePrefix ?? true
    parts.normalizer.steps = prefixes ? [.prepend(mark)] : []
    parts.normalizer.steps.append(.replace(pattern: [0x20], content: mark))
    parts.addedTokens = addedTokens(
      kinds: [Kind.unknown, Kind.control, Kind.userDefined], normalizesUserDefined: false)
    parts.decoder = .pieces(
      replacements: [TokenDecoder.Replacement(pattern: mark, content: [0x20])], byteFallback: true,
      strip: TokenDecoder.Strip(count: prefixes ? 1 : 0))
    return parts
  }

  /// A normal token must be made of code points that are tokens; otherwise merges would need symbols without ids.
  private func checkSpelling(_ id: Int, _ text: [UInt8], _ table: TokenTable) throws(TokenizerError) {
    guard tokenTypes.isEmpty || tokenTypes[id] == 1 else { return }
    let span = text.span
    var index = 0
    while index < text.count {
      let length = decodeUTF8(span, at: index).length
      if table.id(of: span, index..<index + length) == nil {
        let name = String(decoding: text, as: UTF8.self)
        throw unsupported(
          "token \(id) \"\(name)\", which has a character that is no token", supported: "tokens made of tokens")
      }
      index += length
    }
  }
}
