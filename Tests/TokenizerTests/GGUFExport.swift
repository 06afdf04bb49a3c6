import Foundation
import Tokenizer

/// The vocabulary that a converter would put into a GGUF file for a small `tokenizer.json`.
struct GGUFExport {
  let vocabulary: GGUFVocabulary

  private struct File: Decodable {
    struct Added: Decodable {
      let id: Int
      let content: String
      let special: Bool
    }
    struct Model: Decodable {
      let vocab: [String: Int]
      let merges: [[String]]
    }
    let model: Model
    // The key of the file.
    // swift-format-ignore: AlwaysUseLowerCamelCase
    let added_tokens: [Added]
  }

  init(_ url: URL) throws {
    let file = try JSONDecoder().decode(File.self, from: Data(contentsOf: url))
    let count = max(file.model.vocab.count, (file.added_tokens.map(\.id).max() ?? 0) + 1)
    var tokens = [[UInt8]](repeating: [], count: count)
    var types = [Int32](repeating: 1, count: count)
    for (text, id) in file.model.vocab {
      tokens[id] = Array(text.utf8)
      if text.count == 6 && text.hasPrefix("<0x") { types[id] = 6 }
    }
    for token in file.added_tokens {
      tokens[token.id] = Array(token.content.utf8)
      types[token.id] = token.special ? 3 : 4
    }
    var result = GGUFVocabulary(source: url.lastPathComponent, model: "gpt2", tokens: tokens)
    result.tokenTypes = types
    result.merges = file.model.merges.map { Array(($0[0] + " " + $0[1]).utf8) }
    vocabulary = result
  }
}
