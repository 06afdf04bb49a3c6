import Crypto
import Foundation

/// JSON with exactly one spelling, so that a digest of it means something: members sorted by the code points of their
/// names, no space between tokens, integers without fraction, other numbers in the shortest form that reads back to
/// the same double, only `"`, `\` and control characters escaped.
public enum CanonicalJSON: Equatable, Sendable {
  case null
  case bool(Bool)
  case integer(Int)
  case number(Double)
  case string(String)
  case array([CanonicalJSON])
  case object([String: CanonicalJSON])

  /// The canonical bytes of `value`.
  package static func encode(_ value: some Encodable) throws -> [UInt8] {
    // JSONEncoder decides about order and spelling differently on different systems: only its tree is used.
    try CanonicalJSON(parsing: [UInt8](JSONEncoder().encode(value))).bytes
  }

  /// The canonical bytes of this value.
  package var bytes: [UInt8] {
    var output: [UInt8] = []
    write(to: &output)
    return output
  }

  /// SHA-256 of the canonical bytes, as 64 hex digits.
  package var digest: String { CanonicalJSON.hexDigest(of: bytes) }

  /// SHA-256 of any bytes, as 64 hex digits.
  package static func hexDigest(of bytes: [UInt8]) -> String { hex(SHA256.hash(data: bytes)) }

  private func write(to output: inout [UInt8]) {
    switch self {
    case .null: output += "null".utf8
    case .bool(let value): output += (value ? "true" : "false").utf8
    case .integer(let value): output += "\(value)".utf8
    case .number(let value):
      if let integer = Int(exactly: value), abs(integer) < 1 << 53 {
        output += "\(integer)".utf8
      } else {
        output += "\(value)".utf8
      }
    case .string(let value): CanonicalJSON.write(value, to: &output)
    case .array(let values):
      output.append(UInt8(ascii: "["))
      for (i, value) in values.enumerated() {
        if i > 0 { output.append(UInt8(ascii: ",")) }
        value.write(to: &output)
      }
      output.append(UInt8(ascii: "]"))
    case .object(let members):
      output.append(UInt8(ascii: "{"))
      let sorted = members.sorted { $0.key.unicodeScalars.lexicographicallyPrecedes($1.key.unicodeScalars) }
      for (i, (name, value)) in sorted.enumerated() {
        if i > 0 { output.append(UInt8(ascii: ",")) }
        CanonicalJSON.write(name, to: &output)
        output.append(UInt8(ascii: ":"))
        value.write(to: &output)
      }
      output.append(UInt8(ascii: "}"))
    }
  }

  private static func write(_ string: String, to output: inout [UInt8]) {
    output.append(UInt8(ascii: "\""))
    for byte in string.utf8 {
      switch byte {
      case UInt8(ascii: "\""), UInt8(ascii: "\\"): output += [UInt8(ascii: "\\"), byte]
      case 0..<0x20:
        let hex = String(byte, radix: 16)
        output += "\\u00\(hex.count == 1 ? "0" : "")\(hex)".utf8
      default: output.append(byte)
      }
    }
    output.append(UInt8(ascii: "\""))
  }
}

func hex(_ bytes: some Sequence<UInt8>) -> String {
  let digits = Array("0123456789abcdef".utf8)
  var text: [UInt8] = []
  for byte in bytes { text += [digits[Int(byte >> 4)], digits[Int(byte & 15)]] }
  return String(decoding: text, as: UTF8.self)
}
