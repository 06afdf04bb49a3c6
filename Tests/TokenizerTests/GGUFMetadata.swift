import Foundation
import Tokenizer

/// A reader of a GGUF file's metadata, just enough to hand a real vocabulary to the tokenizer.
/// (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md)
struct GGUFMetadata {
  enum Value {
    case number(Double)
    case bool(Bool)
    case text([UInt8])
    case array([Value])
  }

  private(set) var values: [String: Value] = [:]
  private let bytes: [UInt8]
  private var position = 8

  init(_ bytes: [UInt8]) {
    self.bytes = bytes
    precondition(bytes.starts(with: "GGUF".utf8))
    position += 8
    let count = integer(8)
    for _ in 0..<count {
      let key = String(decoding: text(), as: UTF8.self)
      values[key] = value(integer(4))
    }
  }

  private mutating func integer(_ size: Int) -> Int {
    var result: UInt64 = 0
    for offset in 0..<size { result |= UInt64(bytes[position + offset]) << (8 * UInt64(offset)) }
    position += size
    return Int(truncatingIfNeeded: result)
  }

  private mutating func text() -> [UInt8] {
    let count = integer(8)
    position += count
    return Array(bytes[position - count..<position])
  }

  private mutating func value(_ type: Int) -> Value {
    switch type {
    case 0, 1: .number(Double(integer(1)))
    case 2, 3: .number(Double(integer(2)))
    case 4, 5: .number(Double(integer(4)))
    case 6: .number(Double(Float(bitPattern: UInt32(integer(4)))))
    case 7: .bool(integer(1) != 0)
    case 8: .text(text())
    case 9: array()
    case 12: .number(Double(bitPattern: UInt64(integer(8))))
    default: .number(Double(integer(8)))
    }
  }

  private mutating func array() -> Value {
    let type = integer(4)
    let count = integer(8)
    var elements: [Value] = []
    for _ in 0..<count { elements.append(value(type)) }
    return .array(elements)
  }

  private func number(_ key: String) -> Double? { if case .number(let number) = values[key] { number } else { nil } }
  private func id(_ key: String) -> UInt32? { number(key).map { UInt32($0) } }
  private func flag(_ key: String) -> Bool? { if case .bool(let flag) = values[key] { flag } else { nil } }
  private func string(_ key: String) -> String? {
    if case .text(let text) = values[key] { String(decoding: text, as: UTF8.self) } else { nil }
  }
  private func array(_ key: String) -> [Value] { if case .array(let array) = values[key] { array } else { [] } }
  private func texts(_ key: String) -> [[UInt8]] {
    array(key).compactMap { if case .text(let text) = $0 { text } else { nil } }
  }
  private func numbers(_ key: String) -> [Double] {
    array(key).compactMap { if case .number(let number) = $0 { number } else { nil } }
  }

  func vocabulary(source: String) -> GGUFVocabulary {
    let prefix = "tokenizer.ggml."
    var result = GGUFVocabulary(
      source: source, model: string(prefix + "model") ?? "", tokens: texts(prefix + "tokens"))
    result.architecture = string("general.architecture")
    result.pre = string(prefix + "pre")
    result.tokenTypes = numbers(prefix + "token_type").map { Int32($0) }
    result.scores = numbers(prefix + "scores").map { Float($0) }
    result.merges = texts(prefix + "merges")
    result.bosTokenID = id(prefix + "bos_token_id")
    result.eosTokenID = id(prefix + "eos_token_id")
    result.unknownTokenID = id(prefix + "unknown_token_id")
    result.addsBOS = flag(prefix + "add_bos_token")
    result.addsEOS = flag(prefix + "add_eos_token")
    result.addsSpacePrefix = flag(prefix + "add_space_prefix")
    return result
  }
}
