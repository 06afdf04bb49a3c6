/// Why bytes are not JSON, and where.
package struct JSONSyntaxError: Error, Equatable, CustomStringConvertible {
  package let offset: Int
  package let expected: String
  package var description: String { "not JSON: \(expected) expected at byte \(offset)" }
}

extension CanonicalJSON {
  /// Nesting deeper than this is refused, so that no input can exhaust the stack.
  private static let maxDepth = 64

  /// Parses JSON (RFC 8259); a name that occurs twice in one object is an error.
  package init(parsing bytes: [UInt8]) throws(JSONSyntaxError) {
    var parser = Parser(bytes: bytes)
    self = try parser.value(depth: 0)
    parser.skipSpace()
    if parser.position != bytes.count { throw parser.failure("the end") }
  }

  private struct Parser {
    let bytes: [UInt8]
    var position = 0

    init(bytes: [UInt8]) { self.bytes = bytes }

    var next: UInt8? { position < bytes.count ? bytes[position] : nil }

    func failure(_ expected: String) -> JSONSyntaxError { JSONSyntaxError(offset: position, expected: expected) }

    mutating func skipSpace() {
      while let byte = next, byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 { position += 1 }
    }

    mutating func accept(_ byte: UInt8) -> Bool {
      guard next == byte else { return false }
      position += 1
      return true
    }

    mutating func word(_ word: String, _ value: CanonicalJSON) throws(JSONSyntaxError) -> CanonicalJSON {
      for byte in word.utf8 where !accept(byte) { throw failure(word) }
      return value
    }

    mutating func value(depth: Int) throws(JSONSyntaxError) -> CanonicalJSON {
      if depth > maxDepth { throw failure("at most \(maxDepth) levels of nesting") }
      skipSpace()
      switch next {
      case UInt8(ascii: "{"): return try object(depth: depth)
      case UInt8(ascii: "["): return try array(depth: depth)
      case UInt8(ascii: "\""): return .string(try string())
      case UInt8(ascii: "t"): return try word("true", .bool(true))
      case UInt8(ascii: "f"): return try word("false", .bool(false))
      case UInt8(ascii: "n"): return try word("null", .null)
      default: return try number()
      }
    }

    mutating func object(depth: Int) throws(JSONSyntaxError) -> CanonicalJSON {
      position += 1
      var members: [String: CanonicalJSON] = [:]
      skipSpace()
      if accept(UInt8(ascii: "}")) { return .object(members) }
      while true {
        skipSpace()
        guard next == UInt8(ascii: "\"") else { throw failure("a name") }
        let name = try string()
        skipSpace()
        guard accept(UInt8(ascii: ":")) else { throw failure("':'") }
        if members.updateValue(try value(depth: depth + 1), forKey: name) != nil {
          throw failure("no second member \(name)")
        }
        skipSpace()
        if accept(UInt8(ascii: "}")) { return .object(members) }
        guard accept(UInt8(ascii: ",")) else { throw failure("',' or '}'") }
      }
    }

    mutating func array(depth: Int) throws(JSONSyntaxError) -> CanonicalJSON {
      position += 1
      var values: [CanonicalJSON] = []
      skipSpace()
      if accept(UInt8(ascii: "]")) { return .array(values) }
      while true {
        values.append(try value(depth: depth + 1))
        skipSpace()
        if accept(UInt8(ascii: "]")) { return .array(values) }
        guard accept(UInt8(ascii: ",")) else { throw failure("',' or ']'") }
      }
    }

    mutating func string() throws(JSONSyntaxError) -> String {
      position += 1
      var text: [UInt8] = []
      while let byte = next {
        position += 1
        switch byte {
        case UInt8(ascii: "\""):
          guard let string = String(validating: text, as: UTF8.self) else { throw failure("UTF-8") }
          return string
        case UInt8(ascii: "\\"): text += try escape()
        case 0..<0x20: throw failure("no control character in a string")
        default: text.append(byte)
        }
      }
      throw failure("'\"'")
    }

    mutating func escape() throws(JSONSyntaxError) -> [UInt8] {
      guard let byte = next else { throw failure("an escape") }
      position += 1
      switch byte {
      case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return [byte]
      case UInt8(ascii: "b"): return [0x08]
      case UInt8(ascii: "f"): return [0x0C]
      case UInt8(ascii: "n"): return [0x0A]
      case UInt8(ascii: "r"): return [0x0D]
      case UInt8(ascii: "t"): return [0x09]
      case UInt8(ascii: "u"):
        var code = try hexWord()
        if code >= 0xD800 && code < 0xDC00 {
          guard accept(UInt8(ascii: "\\")), accept(UInt8(ascii: "u")) else { throw failure("a low surrogate") }
          let low = try hexWord()
          guard low >= 0xDC00 && low < 0xE000 else { throw failure("a low surrogate") }
          code = 0x10000 + (code - 0xD800) << 10 + (low - 0xDC00)
        }
        guard let scalar = Unicode.Scalar(code) else { throw failure("a code point") }
        return Array(String(Character(scalar)).utf8)
      default: throw failure("an escape")
      }
    }

    mutating func hexWord() throws(JSONSyntaxError) -> UInt32 {
      var code: UInt32 = 0
      for _ in 0..<4 {
        guard let byte = next, let digit = Character(Unicode.Scalar(byte)).hexDigitValue else {
          throw failure("a hex digit")
        }
        code = code << 4 | UInt32(digit)
        position += 1
      }
      return code
    }

    mutating func number() throws(JSONSyntaxError) -> CanonicalJSON {
      let start = position
      var isInteger = true
      while let byte = next {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"): break
        case UInt8(ascii: "+"), UInt8(ascii: "."), UInt8(ascii: "e"), UInt8(ascii: "E"): isInteger = false
        default:
          return try number(from: start, isInteger: isInteger)
        }
        position += 1
      }
      return try number(from: start, isInteger: isInteger)
    }

    func number(from start: Int, isInteger: Bool) throws(JSONSyntaxError) -> CanonicalJSON {
      let text = String(decoding: bytes[start..<position], as: UTF8.self)
      if isInteger, let value = Int(text) { return .integer(value) }
      guard let value = Double(text), value.isFinite else {
        throw JSONSyntaxError(offset: start, expected: "a value")
      }
      return .number(value)
    }
  }
}
