extension TokenizerJSON {
  /// The component's members if it is a `Sequence` of `list`, or the component itself.
  private func flattened(_ node: JSONNode, list: String) throws(TokenizerError) -> [JSONNode] {
    guard try node.required("type").string() == "Sequence" else { return [node] }
    var result: [JSONNode] = []
    for element in try node.required(list).elements() { result += try flattened(element, list: list) }
    return result
  }

  func readNormalizer() throws(TokenizerError) -> Normalizer {
    guard let root = root["normalizer"] else { return Normalizer() }
    var normalizer = Normalizer()
    for node in try flattened(root, list: "normalizers") {
      let type = try node.required("type").string()
      switch type {
      case "NFC": normalizer.steps.append(.nfc)
      case "Prepend": normalizer.steps.append(.prepend(try node.required("prepend").bytes()))
      case "Replace":
        let replacement = try readReplacement(node)
        normalizer.steps.append(.replace(pattern: replacement.pattern, content: replacement.content))
      default:
        throw node.unsupported("the normalizer \(type)", supported: "NFC, Prepend, Replace of a string, Sequence")
      }
    }
    return normalizer
  }

  private func readReplacement(_ node: JSONNode) throws(TokenizerError) -> TokenDecoder.Replacement {
    let pattern = try node.required("pattern")
    guard let text = try pattern["String"]?.bytes(), !text.isEmpty else {
      let regex = try pattern["Regex"]?.string() ?? ""
      throw node.unsupported("Replace of the regex \"\(regex)\"", supported: "Replace of a string")
    }
    return TokenDecoder.Replacement(pattern: text, content: try node.required("content").bytes())
  }

  func readPreTokenizer() throws(TokenizerError) -> PreTokenizer {
    var result = PreTokenizer()
    guard let root = root["pre_tokenizer"] else { return result }
    let nodes = try flattened(root, list: "pretokenizers")
    for (index, node) in nodes.enumerated() {
      let type = try node.required("type").string()
      if result.isByteLevel { throw node.unsupported("\(type) after ByteLevel", supported: "ByteLevel as the last") }
      switch type {
      case "ByteLevel":
        result.isByteLevel = true
        result.addsPrefixSpace = try node.required("add_prefix_space").bool()
        if result.addsPrefixSpace && index > 0 {
          throw node.unsupported(
            "add_prefix_space after another pre-tokenizer", supported: "add_prefix_space in the first")
        }
        if try node.bool("use_regex", default: true) { result.steps.append(.gpt2) }
      case "Digits": result.steps.append(.digits(individual: try node.required("individual_digits").bool()))
      case "Split": result.steps.append(try readSplit(node))
      case "Metaspace":
        guard nodes.count == 1 else {
          throw node.unsupported("Metaspace beside another pre-tokenizer", supported: "Metaspace alone")
        }
        result.metaspace = try readMetaspace(node)
      default:
        throw node.unsupported(
          "the pre-tokenizer \(type)", supported: "ByteLevel, Digits, Metaspace, Split, Sequence")
      }
    }
    return result
  }

  private func readSplit(_ node: JSONNode) throws(TokenizerError) -> PreTokenizer.Step {
    let pattern = try node.required("pattern")
    guard let regex = try pattern["Regex"]?.string() else {
      throw node.unsupported(
        "Split at the string \"\(try pattern["String"]?.string() ?? "")\"", supported: "Split by a known regex")
    }
    let known = PreTokenizer.splitPatterns
    guard let match = known.first(where: { $0.pattern.utf8.elementsEqual(regex.utf8) }) else {
      throw node.unsupported(
        "Split by the regex \(regex)", supported: known.map(\.pattern).joined(separator: "  or  "))
    }
    // These patterns match every code point, so all of these behaviors cut at every match.
    let behavior = try node.required("behavior").string()
    let invert = try node.bool("invert", default: false)
    guard behavior == "Isolated" && !invert || behavior == "Removed" && invert else {
      throw node.unsupported(
        "Split with the behavior \(behavior)\(invert ? ", inverted" : "")", supported: "Isolated, or Removed inverted")
    }
    return match.step
  }

  private func readMetaspace(_ node: JSONNode) throws(TokenizerError) -> PreTokenizer.Metaspace {
    let name = try node["prepend_scheme"]?.string() ?? "always"
    guard var prepend = PreTokenizer.Metaspace.Prepend(rawValue: name) else {
      throw node.unsupported("the prepend_scheme \(name)", supported: "first, never, always")
    }
    if try !node.bool("add_prefix_space", default: true) {
      guard node["prepend_scheme"] == nil || prepend == .never else {
        throw node.malformed("has add_prefix_space false and the prepend_scheme \(name), which contradict each other")
      }
      prepend = .never
    }
    return PreTokenizer.Metaspace(
      replacement: try node.required("replacement").codePoint(), prepend: prepend,
      split: try node.bool("split", default: true))
  }

  func readDecoder() throws(TokenizerError) -> TokenDecoder {
    guard let root = root["decoder"] else { return .joined }
    let nodes = try flattened(root, list: "decoders")
    var replacements: [TokenDecoder.Replacement] = []
    var byteFallback = false
    var fused = false
    var strip = TokenDecoder.Strip()
    for node in nodes {
      let type = try node.required("type").string()
      func order(_ rule: String) -> TokenizerError {
        node.unsupported("\(type) at this place among the decoders", supported: rule)
      }
      switch type {
      case "ByteLevel":
        guard nodes.count == 1 else { throw order("ByteLevel alone") }
        return .byteLevel
      case "Metaspace":
        guard nodes.count == 1 else { throw order("Metaspace alone") }
        let metaspace = try readMetaspace(node)
        return .metaspace(replacement: metaspace.replacement, dropsFirst: metaspace.prepend != .never)
      case "Replace":
        guard !byteFallback && !fused else { throw order("Replace before ByteFallback and Fuse") }
        replacements.append(try readReplacement(node))
      case "ByteFallback":
        guard !byteFallback && !fused else { throw order("ByteFallback once, before Fuse") }
        byteFallback = true
      case "Fuse": fused = true
      case "Strip":
        guard fused && strip.count == 0 else { throw order("one Strip, after Fuse") }
        guard try node.required("stop").count() == 0 else {
          throw node.unsupported("Strip at the end of the text", supported: "Strip with stop 0")
        }
        strip = TokenDecoder.Strip(
          content: try node.required("content").codePoint(), count: try node.required("start").count())
      default:
        throw node.unsupported(
          "the decoder \(type)", supported: "ByteLevel, Metaspace, Replace, ByteFallback, Fuse, Strip, Sequence")
      }
    }
    return .pieces(replacements: replacements, byteFallback: byteFallback, strip: strip)
  }

  /// Ids put before and after the text.
  func readPostProcessor() throws(TokenizerError) -> (prefix: [UInt32], suffix: [UInt32]) {
    var prefix: [UInt32] = []
    var suffix: [UInt32] = []
    guard let root = root["post_processor"] else { return (prefix, suffix) }
    for node in try flattened(root, list: "processors") {
      let type = try node.required("type").string()
      switch type {
      case "ByteLevel": continue  // Moves offsets only.
      case "TemplateProcessing":
        let template = try readTemplate(node)
        prefix = template.prefix + prefix
        suffix += template.suffix
      default:
        throw node.unsupported(
          "the post-processor \(type)", supported: "ByteLevel, TemplateProcessing, Sequence")
      }
    }
    return (prefix, suffix)
  }

  private func readTemplate(_ node: JSONNode) throws(TokenizerError) -> (prefix: [UInt32], suffix: [UInt32]) {
    var prefix: [UInt32] = []
    var suffix: [UInt32] = []
    var texts = 0
    for piece in try node.required("single").elements() {
      if let sequence = piece["Sequence"] {
        guard try sequence.required("id").string() == "A" else {
          throw piece.unsupported("a second text in the template for one", supported: "one text")
        }
        texts += 1
        continue
      }
      let name = try piece.required("SpecialToken").required("id").bytes()
      var ids: [UInt32]?
      for (key, token) in try node.required("special_tokens").members() where key == name {
        ids = []
        for id in try token.required("ids").elements() { ids?.append(try id.id()) }
      }
      guard let ids else {
        throw piece.malformed("names \"\(String(decoding: name, as: UTF8.self))\", which special_tokens does not have")
      }
      if texts == 0 { prefix += ids } else { suffix += ids }
    }
    guard texts == 1 else {
      throw node.unsupported("a template with \(texts) texts", supported: "one text between special tokens")
    }
    return (prefix, suffix)
  }
}
