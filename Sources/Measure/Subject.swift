import ActCache
import Foundation
import Harvest
import Tokenizer
import Transformer

/// What is measured: a cache, a model, or both, and text.
package final class Subject {
  package let cachePath: String?
  package let cache: CacheReader?
  package let modelPath: String?
  package let source: ModelSource?
  package let tokenizer: ModelTokenizer?
  /// Positions per sequence.
  package let context: Int
  private let corpora: [String]
  private let scratchParent: String

  /// The embedded stories, where the program is run in the folder of its package.
  package static let demoText = "data/stories.jsonl.zst"
  package static let demoModel = "data/model"

  /// - Parameters:
  ///   - context: nil for that of the cache, or 128.
  ///   - scratch: an existing folder for what is written only to be measured; nil for the one that the cache lies in,
  ///     or the current.
  /// - Throws: what opening a cache or a model throws; `MeasureError.invalid` if there is neither.
  package init(
    cache path: String?, model: String?, tokenizer: String? = nil, corpora: [String] = [], context: Int? = nil,
    scratch: String? = nil
  ) throws {
    cachePath = path
    modelPath = model
    cache = try path.map { try CacheReader(path: $0) }
    source = try model.map { ModelSource(try TransformerModel.load(path: $0)) }
    self.tokenizer = try model.map { try ModelTokenizer.load(model: tokenizer ?? $0) }
    self.context = context ?? cache?.manifest.context ?? 128
    self.corpora = corpora
    scratchParent = scratch ?? path.map(Subject.nearestFolder) ?? "."
    guard cache != nil || source != nil else {
      throw MeasureError.invalid("nothing to measure: give --cache, --model, or both")
    }
    if let cache, let source { try cache.manifest.identity.require(source, path: cache.path) }
  }

  /// The folder in which `path` lies or will lie; the nearest above it that exists.
  package static func nearestFolder(beside path: String) -> String {
    var url = URL(fileURLWithPath: path).deletingLastPathComponent()
    while url.path != "/", !FileManager.default.fileExists(atPath: url.path) { url.deleteLastPathComponent() }
    return url.path
  }

  package func scratch() throws -> ScratchFolder { try ScratchFolder(in: scratchParent) }

  /// The hook to measure where none is named: the cache's first, or the residual stream in the middle of the model.
  package func hook(_ name: String?) throws -> String {
    if let name { return name }
    if let first = cache?.manifest.hooks.keys.sorted().first { return first }
    guard let source else { throw MeasureError.invalid("the cache holds no hook; name one with --hook") }
    return HookPoint.block(source.model.configuration.nLayers / 2, .residPre).name
  }

  /// Text to harvest: the files given, or what the cache's tokens say, or the embedded stories.
  /// - Parameter nTokens: about so many are needed.
  func text(nTokens: Int, in scratch: ScratchFolder) throws -> [String] {
    if !corpora.isEmpty { return corpora }
    if let cache, let tokenizer {
      let path = scratch.path + "/text.txt"
      try Subject.write(cache, tokenizer: tokenizer.tokenizer, nTokens: nTokens, to: path)
      return [path]
    }
    guard FileManager.default.fileExists(atPath: Subject.demoText) else {
      throw MeasureError.invalid("no text to put through the model; add --corpus FILE")
    }
    return [Subject.demoText]
  }

  /// Writes the first sequences of a cache as text, each a document.
  private static func write(_ cache: CacheReader, tokenizer: BPETokenizer, nTokens: Int, to path: String) throws {
    let tokens = try TokenStream(cache)
    let separator = Array("<|endoftext|>".utf8)
    var text: [UInt8] = []
    // A quarter more, as a text need not give the same tokens again.
    let wanted = min(cache.manifest.nSequences, (nTokens / cache.manifest.context + 1) * 5 / 4 + 1)
    for i in 0..<wanted {
      let (ids, length) = try tokens.sequence(i)
      text += tokenizer.decodeBytes(Array(ids.prefix(length))) + separator
    }
    try Data(text).write(to: URL(fileURLWithPath: path))
  }
}
