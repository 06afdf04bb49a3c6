/// Reads the parts of a Hugging Face `tokenizer.json` that are pure data; `TokenizerJSON+Components.swift` reads
/// those that are programs. Whatever is not known exactly is an error naming it.
struct TokenizerJSON {
  let root: JSONNode

  /// `source` names the file in messages.
  init(_ text: [UInt8], source: String) throws(TokenizerError) {
    root = JSONNode(try JSONDocument(text, source: source), source: source)
    guard root.isObject() else { throw root.malformed("is not a JSON object") }
  }

  func parts() throws(TokenizerError) -> BPETokenizer.Parts {
    for name in ["truncation", "padding"] {
      if let node = root[name] { throw node.unsupported("a fixed \(name)", supported: "null") }
    }
    let preTokenizer = try readPreTokenizer()
    let model = try readModel(isByteLevel: preTokenizer.isByteLevel)
    var parts = BPETokenizer.Parts(model: model)
    parts.preTokenizer = preTokenizer
    parts.normalizer = try readNormalizer()
    parts.addedTokens = try readAddedTokens(model)
    parts.decoder = try readDecoder()
    (parts.prefixIDs, parts.suffixIDs) = try readPostProcessor()
    return parts
  }

  private func readModel(isByteLevel: Bool) throws(TokenizerError) -> BPEModel {
    let node = try root.required("model")
    // Old files leave the type out.
    if let type = node["type"], try type.string() != "BPE" {
      throw node.unsupported("the model \(try type.string())", supported: "BPE")
    }
    if let dropout = node["dropout"] { throw dropout.unsupported("dropout", supported: "null") }
    for name in ["continuing_subword_prefix", "end_of_word_suffix"] {
      if let affix = node[name], try !affix.bytes().isEmpty {
        throw affix.unsupported("\"\(try affix.string())\"", supported: "null")
      }
    }
    var vocabulary: [(text: [UInt8], id: UInt32)] = []
    let entries = try node.required("vocab")
    for (text, id) in try entries.members() { vocabulary.append((text, try id.id())) }
    var merges: [[UInt8]] = []
    for merge in try node.required("merges").elements() {
      if merge.isString() {
        merges.append(try merge.bytes())
      } else {
        let pair = try merge.elements()
        guard pair.count == 2 else { throw merge.malformed("has \(pair.count) parts; expected 2") }
        // Parts may hold spaces; a NUL cannot be mistaken for one.
        merges.append(try pair[0].bytes() + [0xFF] + pair[1].bytes())
      }
    }
    var model = try BPEModel(vocabulary: vocabulary, merges: merges, source: root.source)
    model.fusesUnknown = try node.bool("fuse_unk", default: false)
    model.byteFallback = try node.bool("byte_fallback", default: false)
    model.ignoresMerges = try node.bool("ignore_merges", default: false)
    if model.byteFallback && isByteLevel {
      throw node.unsupported("byte_fallback with a ByteLevel pre-tokenizer", supported: "one of the two")
    }
    if let unknown = node["unk_token"] {
      model.unknownID = model.tokens.id(of: try unknown.bytes())
      if model.unknownID == nil && !model.spellsEverything(isByteLevel: isByteLevel) {
        throw unknown.malformed("is \"\(try unknown.string())\", which is not in the vocabulary")
      }
    }
    return model
  }

  /// Ids follow Hugging Face: that of the vocabulary, or the next after it, whatever the file says; a file that says
  /// otherwise contradicts itself.
  private func readAddedTokens(_ model: BPEModel) throws(TokenizerError) -> [AddedToken] {
    guard let list = root["added_tokens"] else { return [] }
    var tokens: [AddedToken] = []
    var next = UInt32(model.tokens.count)
    for node in try list.elements() {
      let content = try node.required("content").bytes()
      if content.isEmpty { continue }
      let id = try node.required("id").id()
      var assigned = model.tokens.id(of: content) ?? tokens.first { $0.content == content }?.id
      if assigned == nil {
        assigned = next
        next += 1
      }
      guard assigned == id else {
        throw node.malformed("has the id \(id), but its place in the vocabulary gives it \(assigned ?? 0)")
      }
      tokens.removeAll { $0.content == content }
      tokens.append(
        AddedToken(
          id: id, content: content,
          singleWord: try node.required("single_word").bool(), stripsLeft: try node.required("lstrip").bool(),
          stripsRight: try node.required("rstrip").bool(), isNormalized: try node.required("normalized").bool(),
          isSpecial: try node.required("special").bool()))
    }
    return tokens
  }
}

extension BPEModel {
  /// Builds the tables. A merge is "left right" in bytes, split at its only space, or at its only 0xFF, a byte that
  /// UTF-8 never has.
  init(vocabulary: [(text: [UInt8], id: UInt32)], merges: [[UInt8]], source: String) throws(TokenizerError) {
    var tokens = TokenTable(minimumCapacity: vocabulary.count)
    let limit = 4 * vocabulary.count + (1 << 16)
    for (text, id) in vocabulary {
      guard Int(id) < limit else {
        throw .malformed(source: source, what: "the id \(id) is far outside a vocabulary of \(vocabulary.count)")
      }
      do {
        try tokens.insert(text, id: id)
      } catch {
        let name = String(decoding: text, as: UTF8.self)
        switch error {
        case .text(let other):
          throw .malformed(source: source, what: "the token \"\(name)\" has two ids, \(other) and \(id)")
        case .id: throw .malformed(source: source, what: "the id \(id) belongs to \"\(name)\" and to another token")
        }
      }
    }
    var table = MergeTable(minimumCapacity: merges.count)
    var rank: UInt32 = 0
    for merge in merges {
      let isTuple = merge.contains(0xFF)
      if !isTuple && merge.starts(with: "#version".utf8) { continue }
      let parts = merge.split(separator: isTuple ? 0xFF : 0x20, omittingEmptySubsequences: false)
      guard parts.count == 2 else {
        let text = String(decoding: merge, as: UTF8.self)
        throw .malformed(source: source, what: "merge \(rank) is \"\(text)\"; expected two tokens and a space between")
      }
      var ids: [UInt32] = []
      for token in [Array(parts[0]), Array(parts[1]), Array(parts[0] + parts[1])] {
        guard let id = tokens.id(of: token) else {
          let name = String(decoding: token, as: UTF8.self)
          throw .malformed(source: source, what: "merge \(rank) needs \"\(name)\", which is not in the vocabulary")
        }
        ids.append(id)
      }
      table.insert(ids[0], ids[1], rank: rank, id: ids[2])
      rank += 1
    }
    self.init(tokens: tokens, merges: table)
  }

  /// Whether no text can need the unknown token.
  func spellsEverything(isByteLevel: Bool) -> Bool {
    guard isByteLevel || byteFallback else { return false }
    return (0..<256).allSatisfy { byte in
      var text: [UInt8] = []
      if isByteLevel {
        appendUTF8(ByteAlphabet.codePoints[byte], to: &text)
      } else {
        text = CompiledModel.byteTokenText(byte)
      }
      return tokens.id(of: text) != nil
    }
  }
}
