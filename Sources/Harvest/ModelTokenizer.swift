import ActCache
import Tokenizer
import Transformer

/// A model's tokenizer as harvesting uses it.
package struct ModelTokenizer: TextTokenizer {
  package let tokenizer: BPETokenizer
  package let digest: String

  package init(_ tokenizer: BPETokenizer) {
    self.tokenizer = tokenizer
    digest = CanonicalJSON.hexDigest(of: tokenizer.canonicalDescription)
  }

  /// The tokenizer of a model: the files in its folder, or the vocabulary inside its GGUF file.
  package static func load(model path: String) throws -> ModelTokenizer {
    guard path.hasSuffix(".gguf") else { return ModelTokenizer(try BPETokenizer.load(path)) }
    return ModelTokenizer(try GGUFVocabulary(GGUFFile(path: path)).makeTokenizer())
  }

  package var bosID: UInt32? { tokenizer.bosTokenID }
  /// GPT-2's own files do not name it.
  package var eosID: UInt32? { tokenizer.eosTokenID ?? tokenizer.tokenID("<|endoftext|>") }
  package var addsBOS: Bool { tokenizer.prependsBOS }

  package func makeEncoder() -> (_ text: ArraySlice<UInt8>, _ ids: inout [UInt32]) -> Void {
    let encoder = BPEEncoder(tokenizer)
    return { text, ids in encoder.encode(text, into: &ids) }
  }
}

extension GGUFVocabulary {
  /// Reads the `tokenizer.ggml.*` keys of a file.
  init(_ file: GGUFFile) throws {
    func required<T>(_ value: T?, _ key: String) throws -> T {
      guard let value else {
        throw HarvestError.mismatch("\(file.path): no \(key) in it; get a GGUF file that holds its tokenizer")
      }
      return value
    }
    let prefix = "tokenizer.ggml."
    self.init(
      source: file.path, model: try required(file.string(prefix + "model"), prefix + "model"),
      tokens: try required(file.strings(prefix + "tokens"), prefix + "tokens").map { Array($0.utf8) })
    architecture = try file.string("general.architecture")
    pre = try file.string(prefix + "pre")
    tokenTypes = try (file.integers(prefix + "token_type") ?? []).map { Int32(truncatingIfNeeded: $0) }
    scores = try (file.floats(prefix + "scores") ?? []).map { Float($0) }
    merges = try (file.strings(prefix + "merges") ?? []).map { Array($0.utf8) }
    func id(_ name: String) throws -> UInt32? { try file.integer(prefix + name).flatMap { UInt32(exactly: $0) } }
    bosTokenID = try id("bos_token_id")
    eosTokenID = try id("eos_token_id")
    unknownTokenID = try id("unknown_token_id")
    addsBOS = try file.bool(prefix + "add_bos_token")
    addsEOS = try file.bool(prefix + "add_eos_token")
    addsSpacePrefix = try file.bool(prefix + "add_space_prefix")
  }
}
