/// A parsed JSON text. Unlike Foundation's, this parser keeps integers exact, and refuses duplicate keys, texts
/// nested more than 64 deep and numbers out of range, because headers of weight files are not to be trusted.
package enum JSONValue: Equatable, Sendable {
  case null
  case bool(Bool)
  case integer(Int)
  case number(Double)
  case string(String)
  case array([JSONValue])
  case object([String: JSONValue])

  /// Why a text is not JSON, and at which byte.
  package struct Failure: Error, Equatable {
    package var problem: String
    package var offset: Int

    package init(problem: String, offset: Int) { (self.problem, self.offset) = (problem, offset) }
  }

  package init(parsing bytes: some Collection<UInt8>) throws(Failure) {
    var parser = JSONParser(bytes: Array(bytes))
    self = try parser.document()
  }

  /// As it stood in the text, near enough for messages.
  package var text: String {
    switch self {
    case .null: "null"
    case .bool(let value): "\(value)"
    case .integer(let value): "\(value)"
    case .number(let value): "\(value)"
    case .string(let value): "\"\(value)\""
    case .array(let values): "[" + values.map(\.text).joined(separator: ", ") + "]"
    case .object(let members):
      "{" + members.sorted { $0.key < $1.key }.map { "\"\($0.key)\": \($0.value.text)" }.joined(separator: ", ") + "}"
    }
  }

  /// An integer, or a float that is one.
  package var exactInt: Int? {
    switch self {
    case .integer(let value): value
    case .number(let value): Int(exactly: value)
    default: nil
    }
  }

  package var double: Double? {
    switch self {
    case .integer(let value): Double(value)
    case .number(let value): value
    default: nil
    }
  }
}

private struct JSONParser {
  let bytes: [UInt8]
  var offset = 0
  var depth = 0

  init(bytes: [UInt8]) { self.bytes = bytes }

  mutating func document() throws(JSONValue.Failure) -> JSONValue {
    let value = try value()
    skipSpace()
    if offset < bytes.count { throw failure("text after the end of the value") }
    return value
  }

  private func failure(_ problem: String) -> JSONValue.Failure { .init(problem: problem, offset: offset) }

  private var next: UInt8? { offset < bytes.count ? bytes[offset] : nil }

  private mutating func skipSpace() {
    while let byte = next, byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 { offset += 1 }
  }

  private mutating func take(_ byte: Character) throws(JSONValue.Failure) {
    skipSpace()
    guard next == byte.asciiValue else { throw failure("'\(byte)' expected") }
    offset += 1
  }

  private mutating func isNext(_ byte: Character) -> Bool {
    skipSpace()
    guard next == byte.asciiValue else { return false }
    offset += 1
    return true
  }

  private mutating func value() throws(JSONValue.Failure) -> JSONValue {
    skipSpace()
    switch next {
    case UInt8(ascii: "{"): return try nested { (parser) throws(JSONValue.Failure) in try parser.object() }
    case UInt8(ascii: "["): return try nested { (parser) throws(JSONValue.Failure) in try parser.array() }
    case UInt8(ascii: "\""): return .string(try string())
    case UInt8(ascii: "t"): return try word("true", .bool(true))
    case UInt8(ascii: "f"): return try word("false", .bool(false))
    case UInt8(ascii: "n"): return try word("null", .null)
    default: return try number()
    }
  }

  private mutating func nested(
    _ body: (inout JSONParser) throws(JSONValue.Failure) -> JSONValue
  ) throws(JSONValue.Failure) -> JSONValue {
    if depth >= 64 { throw failure("nested more than 64 deep") }
    depth += 1
    let value = try body(&self)
    depth -= 1
    return value
  }

  private mutating func object() throws(JSONValue.Failure) -> JSONValue {
    offset += 1
    var members: [String: JSONValue] = [:]
    if isNext("}") { return .object(members) }
    repeat {
      skipSpace()
      guard next == UInt8(ascii: "\"") else { throw failure("a key expected") }
      let key = try string()
      try take(":")
      let value = try value()
      if members.updateValue(value, forKey: key) != nil { throw failure("duplicate key \"\(key)\"") }
    } while isNext(",")
    try take("}")
    return .object(members)
  }

  private mutating func array() throws(JSONValue.Failure) -> JSONValue {
    offset += 1
    var values: [JSONValue] = []
    if isNext("]") { return .array(values) }
    repeat { values.append(try value()) } while isNext(",")
    try take("]")
    return .array(values)
  }

  private mutating func word(_ word: String, _ value: JSONValue) throws(JSONValue.Failure) -> JSONValue {
    guard bytes[offset...].starts(with: word.utf8) else { throw failure("a value expected") }
    offset += word.utf8.count
    return value
  }

  private mutating func number() throws(JSONValue.Failure) -> JSONValue {
    let start = offset
    var isInteger = true
    while let byte = next {
      switch byte {
      case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "+"): break
      case UInt8(ascii: "."), UInt8(ascii: "e"), UInt8(ascii: "E"): isInteger = false
      default:
        return try number(bytes[start..<offset], isInteger)
      }
      offset += 1
    }
    return try number(bytes[start..<offset], isInteger)
  }

  private func number(_ digits: ArraySlice<UInt8>, _ isInteger: Bool) throws(JSONValue.Failure) -> JSONValue {
    let text = String(decoding: digits, as: UTF8.self)
    if digits.first == UInt8(ascii: "+") || text.isEmpty { throw failure("a value expected") }
    if isInteger {
      guard let value = Int(text) else { throw failure("\(text) is not an integer of 64 bits") }
      return .integer(value)
    }
    guard let value = Double(text), value.isFinite else { throw failure("\(text) is not a number") }
    return .number(value)
  }

  private mutating func string() throws(JSONValue.Failure) -> String {
    offset += 1
    var text: [UInt8] = []
    while let byte = next {
      offset += 1
      switch byte {
      case UInt8(ascii: "\""):
        guard let string = String(validating: text, as: UTF8.self) else { throw failure("a string is not UTF-8") }
        return string
      case UInt8(ascii: "\\"): try escape(into: &text)
      case 0..<0x20: throw failure("a control character in a string")
      default: text.append(byte)
      }
    }
    throw failure("a string without end")
  }

  private mutating func escape(into text: inout [UInt8]) throws(JSONValue.Failure) {
    guard let byte = next else { throw failure("a string without end") }
    offset += 1
    switch byte {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): text.append(byte)
    case UInt8(ascii: "b"): text.append(8)
    case UInt8(ascii: "f"): text.append(12)
    case UInt8(ascii: "n"): text.append(10)
    case UInt8(ascii: "r"): text.append(13)
    case UInt8(ascii: "t"): text.append(9)
    case UInt8(ascii: "u"):
      var code = try fourHexDigits()
      if 0xD800..<0xDC00 ~= code {
        guard next == UInt8(ascii: "\\") else { throw failure("half a surrogate pair") }
        offset += 1
        guard next == UInt8(ascii: "u") else { throw failure("half a surrogate pair") }
        offset += 1
        let low = try fourHexDigits()
        guard 0xDC00..<0xE000 ~= low else { throw failure("half a surrogate pair") }
        code = 0x10000 + (code - 0xD800) << 10 + (low - 0xDC00)
      }
      guard let scalar = Unicode.Scalar(code) else { throw failure("half a surrogate pair") }
      text.append(contentsOf: String(scalar).utf8)
    default: throw failure("an unknown escape")
    }
  }

  private mutating func fourHexDigits() throws(JSONValue.Failure) -> UInt32 {
    var code: UInt32 = 0
    for _ in 0..<4 {
      guard let byte = next, let digit = Character(Unicode.Scalar(byte)).hexDigitValue, byte < 0x80 else {
        throw failure("four hexadecimal digits expected")
      }
      code = code << 4 | UInt32(digit)
      offset += 1
    }
    return code
  }
}
