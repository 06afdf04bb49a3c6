/// How a corpus file is written, by its name.
struct CorpusFormat: Equatable {
  enum Content: Equatable { case text, jsonLines, tokens }
  enum Compression: Equatable { case none, gzip, zstd }

  let content: Content
  let compression: Compression

  /// Throws `HarvestError.setting` for a name that says nothing known.
  init(path: String) throws {
    if path == "-" {
      (content, compression) = (.text, .none)
      return
    }
    var name = path.lowercased()[...]
    if name.hasSuffix(".gz") {
      compression = .gzip
      name = name.dropLast(3)
    } else if name.hasSuffix(".zst") {
      compression = .zstd
      name = name.dropLast(4)
    } else {
      compression = .none
    }
    if name.hasSuffix(".txt") {
      content = .text
    } else if name.hasSuffix(".jsonl") {
      content = .jsonLines
    } else if name.hasSuffix(".bin"), compression == .none {
      content = .tokens
    } else {
      throw HarvestError.setting(
        name: "corpus", value: path, allowed: "names ending in .txt, .jsonl (each also with .gz or .zst), .bin, or -")
    }
  }
}
