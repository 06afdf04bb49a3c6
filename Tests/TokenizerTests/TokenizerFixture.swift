import Foundation
import Tokenizer

/// What scripts/fixtures/tokenizer.py wrote: texts, and what Hugging Face `tokenizers` makes of them.
struct TokenizerFixture: Decodable {
  struct Pools: Decodable {
    let ranges: [[[UInt32]]]
    let snippets: [String]
  }

  struct Expectation: Decodable {
    let ids: [UInt32]
    /// How many ids special tokens add.
    let special: Int
    let decoded: String
  }

  struct Case: Decodable {
    let text: String
    let tokenizers: [String: Expectation]
  }

  struct Digests: Decodable {
    let fuzz: [String]
    let decode: [String]
    let scalars: [String]
    let long: [String]
  }

  let pools: Pools
  let fuzzTexts: Int
  let longCount: Int
  let long: [String]
  let cases: [Case]
  let digests: [String: Digests]
  /// Digests of a corpus, whole and split, by "tokenizer corpus" below ../shared.
  let corpora: [String: [String]]

  static let names = [
    "gpt-neox-like", "llama3-like", "smollm-like", "added-flags", "sentencepiece-like", "metaspace-unknown",
  ]

  static let packageRoot = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent()
  static let folder = packageRoot.appendingPathComponent("Tests/TokenizerTests/Fixtures")
  /// Large real inputs, if this machine has them.
  static let shared = packageRoot.deletingLastPathComponent().appendingPathComponent("shared")
  static let hasShared = FileManager.default.fileExists(atPath: shared.appendingPathComponent("tokenizers").path)

  static func load() throws -> TokenizerFixture {
    try JSONDecoder().decode(
      TokenizerFixture.self, from: Data(contentsOf: folder.appendingPathComponent("expectations.json")))
  }

  static func tokenizer(_ name: String) throws -> BPETokenizer {
    try BPETokenizer.load(folder.appendingPathComponent(name + ".json").path)
  }

  static func bytes(_ url: URL) throws -> [UInt8] { [UInt8](try Data(contentsOf: url)) }

  /// The script's `fuzz_text`.
  func fuzzText(_ random: inout SplitMix64) -> [UInt8] {
    var text = String.UnicodeScalarView()
    for _ in 0..<random.below(48) {
      let pool = random.below(pools.ranges.count + 16)
      if pool >= pools.ranges.count {
        text.append(contentsOf: pools.snippets[random.below(pools.snippets.count)].unicodeScalars)
      } else {
        let range = pools.ranges[pool][random.below(pools.ranges[pool].count)]
        let codePoint = range[0] + UInt32(random.below(Int(range[1] - range[0]) + 1))
        if let scalar = Unicode.Scalar(codePoint) { text.append(scalar) }
      }
    }
    return Array(String(text).utf8)
  }

  /// The script's `scalar_block`.
  static func scalarBlock(_ block: Int) -> [UInt8] {
    var text: [UInt8] = []
    for codePoint in block * 1024..<block * 1024 + 1024 {
      guard let scalar = Unicode.Scalar(UInt32(codePoint)) else { continue }
      let x = Array(String(Character(scalar)).utf8)
      let pieces = ["a", "b", "", " ", "1", "2 '", "e'r", " .", "\n", "  ", "e\u{301}", "\u{301}"]
      for piece in pieces.dropLast() { text += Array(piece.utf8) + x }
      text += Array("\u{301}".utf8)
    }
    return text
  }

  /// The script's `long_text`.
  func longText(_ kind: String) -> [UInt8] {
    var random = SplitMix64(state: 99)
    switch kind {
    case "spaces": return [UInt8](repeating: 0x20, count: longCount) + Array("x".utf8)
    case "newlines": return [UInt8](repeating: 0x0A, count: longCount) + Array("x".utf8)
    case "ones": return [UInt8](repeating: 0x31, count: longCount)
    default: break
    }
    let pool: [String: (UInt32, Int)] = [
      "letters": (0x61, 26), "mixed": (0x21, 0x5E), "ideographs": (0x4E00, 2000), "marks": (0x300, 0x46),
    ]
    let (low, count) = pool[kind] ?? (0x61, 1)
    var text = String.UnicodeScalarView()
    for _ in 0..<longCount {
      if let scalar = Unicode.Scalar(low + UInt32(random.below(count))) { text.append(scalar) }
    }
    return Array(String(text).utf8)
  }
}

/// Steele, Lea & Flood 2014; the same in scripts/fixtures/tokenizer.py.
struct SplitMix64 {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ z >> 30) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ z >> 27) &* 0x94D0_49BB_1331_11EB
    return z ^ z >> 31
  }

  mutating func below(_ limit: Int) -> Int { Int(next() % UInt64(limit)) }
}

/// The script's `digest`: order-sensitive, with a mark after each list.
struct IDDigest {
  private var value: UInt64 = 0

  mutating func add(_ ids: some Sequence<UInt32>) {
    for id in ids { value = value &* 0x100_0000_01B3 &+ UInt64(id) &+ 1 }
    value = value &* 0x100_0000_01B3 &+ 0xFFFF_FFFF &+ 1
  }

  mutating func add(_ text: String) { add(text.utf8.map { UInt32($0) }) }

  var text: String {
    let digits = String(value, radix: 16)
    return String(repeating: "0", count: 16 - digits.count) + digits
  }
}
