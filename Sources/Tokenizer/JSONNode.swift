/// A value in a `JSONDocument` that knows where it stands, for messages.
struct JSONNode {
  let document: JSONDocument
  let value: JSONDocument.Value
  /// File or other origin.
  let source: String
  /// Dotted path from the root, such as `model.merges[3]`.
  let path: String

  init(_ document: JSONDocument, source: String) {
    self.init(document: document, value: document.root, source: source, path: "")
  }

  private init(document: JSONDocument, value: JSONDocument.Value, source: String, path: String) {
    self.document = document
    self.value = value
    self.source = source
    self.path = path
  }

  private func child(_ value: JSONDocument.Value, _ name: String) -> JSONNode {
    JSONNode(
      document: document, value: value, source: source,
      path: path.isEmpty || name.hasPrefix("[") ? path + name : path + "." + name)
  }

  func malformed(_ what: String) -> TokenizerError {
    .malformed(source: source, what: (path.isEmpty ? "" : path + " ") + what)
  }

  func unsupported(_ component: String, supported: String) -> TokenizerError {
    .unsupported(source: source, component: path.isEmpty ? component : "\(path): \(component)", supported: supported)
  }

  /// The last member of this name, or nil where there is none or it is null.
  subscript(_ name: String) -> JSONNode? {
    guard case .object(let members) = value,
      let member = members.last(where: { document.equals($0.key, name) })
    else { return nil }
    if case .null = member.value { return nil }
    return child(member.value, name)
  }

  func required(_ name: String) throws(TokenizerError) -> JSONNode {
    guard let node = self[name] else { throw malformed("has no \"\(name)\"") }
    return node
  }

  func elements() throws(TokenizerError) -> [JSONNode] {
    guard case .array(let elements) = value else { throw malformed("is not an array") }
    return elements.enumerated().map { child($0.element, "[\($0.offset)]") }
  }

  func members() throws(TokenizerError) -> [(key: [UInt8], node: JSONNode)] {
    guard case .object(let members) = value else { throw malformed("is not an object") }
    return members.map { (Array(document.bytes($0.key)), child($0.value, document.string($0.key))) }
  }

  func bytes() throws(TokenizerError) -> [UInt8] {
    guard case .string(let range) = value else { throw malformed("is not a string") }
    return Array(document.bytes(range))
  }

  func string() throws(TokenizerError) -> String { String(decoding: try bytes(), as: UTF8.self) }

  func isString() -> Bool { if case .string = value { true } else { false } }

  func isObject() -> Bool { if case .object = value { true } else { false } }

  func bool() throws(TokenizerError) -> Bool {
    guard case .bool(let flag) = value else { throw malformed("is not true or false") }
    return flag
  }

  func bool(_ name: String, default fallback: Bool) throws(TokenizerError) -> Bool {
    guard let node = self[name] else { return fallback }
    return try node.bool()
  }

  /// A whole number from 0 to 2²⁸ - 1, the range of ids.
  func id() throws(TokenizerError) -> UInt32 {
    guard case .number(let range) = value, let id = UInt32(document.string(range)), id < 1 << 28 else {
      throw malformed("is not a whole number from 0 to \((1 << 28) - 1)")
    }
    return id
  }

  func count() throws(TokenizerError) -> Int { Int(try id()) }

  func codePoint() throws(TokenizerError) -> UInt32 {
    let text = try string()
    guard let scalar = text.unicodeScalars.first, text.unicodeScalars.count == 1 else {
      throw malformed("is not a single character")
    }
    return scalar.value
  }
}
