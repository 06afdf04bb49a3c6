import Foundation

extension BPETokenizer {
  /// Opens a tokenizer: a directory with one of `fileSets`, a `tokenizer.json`, or a vocabulary (`vocab.json` or
  /// `encoder.json`) with its merges beside it. `tokenizer_config.json` beside it names the BOS and EOS tokens.
  package static func load(_ path: String) throws(TokenizerError) -> BPETokenizer {
    let url = URL(fileURLWithPath: path).resolvingSymlinksInPath()
    guard let attributes = try? FileManager.default.attributesOfItem(atPath: url.path) else {
      throw .unreadable(path: path, reason: "no such file or directory")
    }
    let isDirectory = attributes[.type] as? FileAttributeType == .typeDirectory
    let directory = isDirectory ? url : url.deletingLastPathComponent()
    let wanted = isDirectory ? nil : url.lastPathComponent
    for files in Self.fileSets where wanted == nil || files.contains(wanted ?? "") {
      let urls = files.map { directory.appendingPathComponent($0) }
      guard urls.allSatisfy({ FileManager.default.fileExists(atPath: $0.path) }) else { continue }
      var parts =
        files.count == 1
        ? try TokenizerJSON(try read(urls[0]), source: urls[0].path).parts()
        : try Self.parts(vocabulary: try read(urls[0]), merges: try read(urls[1]), sources: urls.map(\.path))
      let config = directory.appendingPathComponent("tokenizer_config.json")
      let hasConfig = FileManager.default.fileExists(atPath: config.path)
      try parts.nameSpecialTokens(config: hasConfig ? try read(config) : nil, source: config.path)
      return BPETokenizer(parts)
    }
    if let wanted, !Self.fileSets.contains(where: { $0.contains(wanted) }) {
      // A tokenizer.json of another name.
      var parts = try TokenizerJSON(try read(url), source: path).parts()
      try parts.nameSpecialTokens(config: nil, source: path)
      return BPETokenizer(parts)
    }
    throw .noTokenizer(path: directory.path, expected: Self.fileSets.map { $0.joined(separator: " with ") })
  }

  /// A tokenizer from the text of a `tokenizer.json`; `source` names it in messages.
  package static func parse(tokenizerJSON text: [UInt8], source: String) throws(TokenizerError) -> BPETokenizer {
    var parts = try TokenizerJSON(text, source: source).parts()
    try parts.nameSpecialTokens(config: nil, source: source)
    return BPETokenizer(parts)
  }

  /// In order of preference.
  package static let fileSets = [
    ["tokenizer.json"], ["vocab.json", "merges.txt"], ["encoder.json", "vocab.bpe"],
  ]

  private static func read(_ url: URL) throws(TokenizerError) -> [UInt8] {
    let data: Data
    do {
      data = try Data(contentsOf: url)
    } catch {
      throw .unreadable(path: url.path, reason: error.localizedDescription)
    }
    let bytes = [UInt8](data)
    if let offset = UTF8Text.firstError(in: bytes) {
      throw .malformed(source: url.path, what: "not UTF-8 at byte \(offset)")
    }
    return bytes
  }

  /// GPT-2's own files: a JSON object of ids by token, and one merge a line. `<|endoftext|>`, if the vocabulary has
  /// it, is an added token; no BOS is put before a text.
  static func parts(vocabulary: [UInt8], merges: [UInt8], sources: [String]) throws(TokenizerError) -> Parts {
    let root = JSONNode(try JSONDocument(vocabulary, source: sources[0]), source: sources[0])
    var entries: [(text: [UInt8], id: UInt32)] = []
    for (text, id) in try root.members() { entries.append((text, try id.id())) }
    var lines: [[UInt8]] = merges.split(separator: 0x0A, omittingEmptySubsequences: false).map {
      Array($0.last == 0x0D ? $0.dropLast() : $0)
    }
    if lines.last?.isEmpty == true { lines.removeLast() }
    let model = try BPEModel(vocabulary: entries, merges: lines, source: sources[1])
    var parts = Parts(model: model)
    parts.preTokenizer = PreTokenizer(steps: [.gpt2], isByteLevel: true)
    let end = Array("<|endoftext|>".utf8)
    if let id = model.tokens.id(of: end) {
      parts.addedTokens = [AddedToken(id: id, content: end, isSpecial: true)]
    }
    return parts
  }
}

extension BPETokenizer.Parts {
  /// Finds the BOS and EOS tokens: those that the text of a `tokenizer_config.json` names; without one, special
  /// tokens of the usual names, and what the template puts before a text.
  mutating func nameSpecialTokens(config: [UInt8]?, source: String) throws(TokenizerError) {
    let added = addedTokens
    func id(_ name: [UInt8]) -> UInt32? {
      added.first { $0.content == name && $0.isSpecial }?.id
    }
    if let config {
      let root = JSONNode(try JSONDocument(config, source: source), source: source)
      func named(_ key: String) throws(TokenizerError) -> UInt32? {
        guard let node = root[key] else { return nil }
        let content = try node.isString() ? node.bytes() : node.required("content").bytes()
        return added.first { $0.content == content }?.id ?? model.tokens.id(of: content)
      }
      bosTokenID = try named("bos_token")
      eosTokenID = try named("eos_token")
      return
    }
    let endOfText = id(Array("<|endoftext|>".utf8))
    bosTokenID = prefixIDs.first ?? id(Array("<s>".utf8)) ?? id(Array("<|begin_of_text|>".utf8)) ?? endOfText
    eosTokenID = id(Array("</s>".utf8)) ?? id(Array("<|end_of_text|>".utf8)) ?? endOfText
  }
}
