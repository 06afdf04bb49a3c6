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
    let state = manifest.isComplete ? "complete" : "incomplete; the same harvest command continues it"
    print(
      """
      \(cache): \(state)
      \(grouped(manifest.nSequences)) sequences of \(manifest.context) tokens (\(grouped(manifest.nTextTokens)) of text), \
      \(grouped(manifest.heldOut.count)) held out, \(manifest.shards.count) shards
      base key   \(manifest.baseKey.prefix(16))
      weights    \(manifest.identity.weights.prefix(16))
      tokenizer  \(manifest.identity.tokenizer.prefix(16))
      """)
    for (number, text) in zip(1..., manifest.generations) {
      print(
        """
        text \(number)     \(text.corpora.joined(separator: ", ")), \(grouped(text.nSequences)) sequences, chain \(text.chain.prefix(16))
                   \(text.counts.sentence)
        """)
    }
    print()
    var table = TextTable([
      ("stream", .left), ("width", .right), ("dtype", .left), ("codec", .left), ("sequences", .right),
      ("on disk", .right), ("median ‖x‖²", .right), ("max ‖x‖", .right), ("outliers", .right), ("scale", .right),
    ])
    let streams = manifest.hooks.sorted { $0.key < $1.key } + manifest.logits.sorted { $0.key < $1.key }
    for (name, stream) in streams {
      let numbers =
        stream.statistics.map {
          [fixed($0.medianSquaredNorm, 2), fixed($0.maxNorm, 2), grouped($0.nOutliers), fixed($0.scale, 5)]
        } ?? ["", "", "", ""]
      table.add(
        [name, "\(stream.width)", stream.dtype, stream.codec, grouped(stream.nSequences), byteSize(stream.bytes)]
          + numbers)
    }
    print(table.text)
    for (policy, stream) in manifest.logits.sorted(by: { $0.key < $1.key }) {
      guard let error = stream.policyError, error.nTokens + error.nRounded > 0 else { continue }
      let tail =
        error.nTokens > 0
        ? "tail mass \(fixed(error.meanTailMass, 5)) (most \(fixed(error.tailMassMax, 5))), gradient off by "
          + "\(fixed(error.meanGradientBound, 5)) (\(fixed(error.maxGradientBound, 5))) in L1 at most, entropy "
          + "\(fixed(error.meanEntropy, 3)), " : ""
      print(
        "logits \(policy): \(tail)KL of the rounding \(scientific(error.meanRounding)) (most "
          + "\(scientific(error.roundingMax))); measured on a sample of \(grouped(max(error.nTokens, error.nRounded))) tokens"
      )
    }
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
