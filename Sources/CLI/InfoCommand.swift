import ActCache
import ArgumentParser
import Report

struct InfoCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "info", abstract: "Say what a cache holds and where it came from.")

  @Argument(help: "The cache's folder.") var cache: String
  @Flag(help: "Print the manifest as one JSON object.") var json = false

  func run() throws {
    let manifest = try CacheReader(path: cache, allowIncomplete: true).manifest
    if json { return try printJSON(manifest) }
    print(
      """
      \(cache): \(manifest.isComplete ? "complete" : "incomplete; the same harvest command continues it")
      \(grouped(manifest.nSequences)) sequences of \(manifest.context) tokens (\(grouped(manifest.nTextTokens)) of text), \
      \(grouped(manifest.heldOut.count)) held out, \(manifest.shards.count) shards
      base key   \(manifest.baseKey.prefix(16))
      weights    \(manifest.identity.weights.prefix(16))
      tokenizer  \(manifest.identity.tokenizer.prefix(16))
      text       \(manifest.corpus.names.joined(separator: ", ")), chain \(manifest.corpus.chain.prefix(16))
                 \(manifest.corpus.counts.sentence)

      """)
    var table = TextTable([
      ("hook", .left), ("width", .right), ("dtype", .left), ("on disk", .right), ("median ‖x‖²", .right),
      ("max ‖x‖", .right), ("outliers", .right), ("scale", .right),
    ])
    for (name, stream) in manifest.hooks.sorted(by: { $0.key < $1.key }) {
      table.add([
        name, "\(stream.width)", stream.dtype, byteSize(stream.bytes), fixed(stream.statistics.medianSquaredNorm, 2),
        fixed(stream.statistics.maxNorm, 2), grouped(stream.statistics.nOutliers), fixed(stream.scale, 5),
      ])
    }
    print(table.text)
  }
}

extension CorpusCounts {
  /// What was read and what was left out.
  var sentence: String {
    "\(grouped(documents)) documents, \(byteSize(bytes)) of text; left out: \(grouped(emptyDocuments)) empty and "
      + "\(grouped(invalidDocuments)) invalid documents, \(grouped(invalidLines)) invalid lines, "
      + "\(grouped(droppedTokens)) tokens"
  }
}
