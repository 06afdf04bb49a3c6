/// A parsed JSON text that keeps the order of keys and compares strings as bytes.
///
/// Vocabularies hold keys such as "é" in both its composed and decomposed form; `String` calls these equal, so a
/// `Dictionary<String, …>` would lose tokens. All strings lie unescaped in one arena of UTF-8 bytes.
struct JSONDocument {
  indirect enum Value {
    case null
    case bool(Bool)
    /// The text of the number.
    case number(Range<Int>)
    case string(Range<Int>)
    case array([Value])
    case object([(key: Range<Int>, value: Value)])
  }

  private(set) var arena: [UInt8] = []
  private(set) var root: Value = .null

  /// Throws `TokenizerError.malformed` naming the byte offset at which the text stops being JSON.
  init(_ text: [UInt8], source: String) throws(TokenizerError) {
    var parser = JSONParser(text: text, source: source)
    root = try parser.parseDocument()
    arena = parser.arena
  }

  func bytes(_ range: Range<Int>) -> ArraySlice<UInt8> { arena[range] }

  func string(_ range: Range<Int>) -> String { String(decoding: arena[range], as: UTF8.self) }

  func equals(_ range: Range<Int>, _ name: String) -> Bool { arena[range].elementsEqual(name.utf8) }
}

private struct JSONParser {
  let text: [UInt8]
  let source: String
  var position = 0
  var depth = 0
  var arena: [UInt8] = []

  init(text: [UInt8], source: String) {
    self.text = text
    self.source = source
    arena.reserveCapacity(text.count)
  }

  func failure(_ what: String) -> TokenizerError {
    .malformed(source: source, what: "not JSON at byte \(position): \(what)")
  }

  mutating func parseDocument() throws(TokenizerError) -> JSONDocument.Value {
    if text.starts(with: [0xEF, 0xBB, 0xBF]) { position = 3 }
    let value = try parseValue()
    skipSpace()
    guard position == text.count else { throw failure("text after the value") }
    return value
  }

  mutating func skipSpace() {
    while position < text.count {
      let byte = text[position]
      guard byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 else { return }
      position += 1
    }
  }

  mutating func parseValue() throws(TokenizerError) -> JSONDocument.Value {
    skipSpace()
    guard position < text.count else { throw failure("the text ends where a value is expected") }
    switch text[position] {
    case UInt8(ascii: "{"): return try nested { (parser) throws(TokenizerError) in try parser.parseObject() }
    case UInt8(ascii: "["): return try nested { (parser) throws(TokenizerError) in try parser.parseArray() }
    case UInt8(ascii: "\""): return .string(try parseString())
    case UInt8(ascii: "t"):
      try expect("true")
      return .bool(true)
    case UInt8(ascii: "f"):
      try expect("false")
      return .bool(false)
    case UInt8(ascii: "n"):
      try expect("null")
      return .null
    default: return .number(try parseNumber())
    }
  }

  mutating func nested(
    _ body: (inout JSONParser) throws(TokenizerError) -> JSONDocument.Value
  ) throws(TokenizerError) -> JSONDocument.Value {
    guard depth < 128 else { throw failure("more than 128 levels of nesting") }
    depth += 1
    let value = try body(&self)
    depth -= 1
    return value
  }

  mutating func expect(_ word: String) throws(TokenizerError) {
    for byte in word.utf8 {
      guard position < text.count, text[position] == byte else { throw failure("expected \(word)") }
      position += 1
    }
  }

  /// Steps over `byte`, if it is next.
  mutating func take(_ byte: UInt8) -> Bool {
    skipSpace()
    guard position < text.count, text[position] == byte else { return false }
    position += 1
    return true
  }

  mutating func parseObject() throws(TokenizerError) -> JSONDocument.Value {
    position += 1
    var members: [(key: Range<Int>, value: JSONDocument.Value)] = []
    if take(UInt8(ascii: "}")) { return .object(members) }
    repeat {
      skipSpace()
      guard position < text.count, text[position] == UInt8(ascii: "\"") else { throw failure("expected a key") }
      let key = try parseString()
      guard take(UInt8(ascii: ":")) else { throw failure("expected a colon") }
      members.append((key, try parseValue()))
    } while take(UInt8(ascii: ","))
    guard take(UInt8(ascii: "}")) else { throw failure("expected a comma or a closing brace") }
    return .object(members)
  }

  mutating func parseArray() throws(TokenizerError) -> JSONDocument.Value {
    position += 1
    var elements: [JSONDocument.Value] = []
    if take(UInt8(ascii: "]")) { return .array(elements) }
    repeat { elements.append(try parseValue()) } while take(UInt8(ascii: ","))
    guard take(UInt8(ascii: "]")) else { throw failure("expected a comma or a closing bracket") }
    return .array(elements)
  }

  mutating func parseNumber() throws(TokenizerError) -> Range<Int> {
    let start = arena.count
    while position < text.count {
      switch text[position] {
      case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "+"), UInt8(ascii: "."),
        UInt8(ascii: "e"), UInt8(ascii: "E"):
        arena.append(text[position])
        position += 1
        continue
      default: break
      }
      break
    }
    guard arena.count > start else { throw failure("expected a value") }
    return start..<arena.count
  }

  mutating func parseString() throws(TokenizerError) -> Range<Int> {
    position += 1
    let start = arena.count
    while true {
      guard position < text.count else { throw failure("the text ends inside a string") }
      let byte = text[position]
      position += 1
      if byte == UInt8(ascii: "\"") { break }
      guard byte >= 0x20 else { throw failure("a control character inside a string") }
      if byte == UInt8(ascii: "\\") { try parseEscape() } else { arena.append(byte) }
    }
    return start..<arena.count
  }

  mutating func parseEscape() throws(TokenizerError) {
    guard position < text.count else { throw failure("the text ends inside a string") }
    let byte = text[position]
    position += 1
    switch byte {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): arena.append(byte)
    case UInt8(ascii: "b"): arena.append(0x08)
    case UInt8(ascii: "f"): arena.append(0x0C)
    case UInt8(ascii: "n"): arena.append(0x0A)
    case UInt8(ascii: "r"): arena.append(0x0D)
    case UInt8(ascii: "t"): arena.append(0x09)
    case UInt8(ascii: "u"):
      var value = try parseHex4()
      if value >= 0xD800 && value < 0xDC00 {
        guard position + 1 < text.count, text[position] == UInt8(ascii: "\\"), text[position + 1] == UInt8(ascii: "u")
        else { throw failure("a lone surrogate escape") }
        position += 2
        let low = try parseHex4()
        guard low >= 0xDC00 && low < 0xE000 else { throw failure("a lone surrogate escape") }
        value = 0x10000 + (value - 0xD800) << 10 + (low - 0xDC00)
      }
      guard let scalar = Unicode.Scalar(value) else { throw failure("a lone surrogate escape") }
      appendUTF8(scalar.value, to: &arena)
    default: throw failure("an unknown escape")
    }
  }

  mutating func parseHex4() throws(TokenizerError) -> UInt32 {
    var value: UInt32 = 0
    for _ in 0..<4 {
      guard position < text.count, let digit = Character(Unicode.Scalar(text[position])).hexDigitValue,
        text[position] < 0x80
      else { throw failure("expected four hexadecimal digits") }
      value = value << 4 | UInt32(digit)
      position += 1
    }
    return value
  }
}
