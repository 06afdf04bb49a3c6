import ActCache
import ArgumentParser
import Report

struct InfoCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "info", abstract: "Say what a cache holds and where it came from.")

  @Argument(help: "The cache's folder.") var cache: String
  @Option(help: "Generation of a cache that has grown; by default the newest.") var generation: Int?
  @Flag(help: "Print the manifest as one JSON object.") var json = false

  func run() throws {
    let reader: CacheReader
    do {
      reader = try CacheReader(path: CacheFolder(cache).path, generation: generation, allowIncomplete: true)
    } catch ActCacheError.incomplete(let what) {
      // Nothing from sequence 0 on: then at least what there is.
      if !json { try showRanges() }
      throw ActCacheError.incomplete(what)
    }
    let manifest = reader.manifest
    if json { return try printJSON(manifest) }
    let state = try state(reader)
    let (spec, tokens) = (manifest.spec, manifest.identity.tokens)
    let files = manifest.shards.flatMap(\.files)
    let first = tokens.bos.map { "each begins with token \($0)" } ?? "without BOS"
    print(
      """
      \(cache): \(state)
      \(grouped(manifest.nSequences)) sequences of \(manifest.context) tokens (\(grouped(manifest.nTextTokens)) of text), \
      \(grouped(manifest.heldOut.count)) held out, \(manifest.shards.count) shards, \
      \(byteSize(files.reduce(0) { $0 + $1.bytes })) on disk
      base key   \(manifest.baseKey.prefix(16))
      weights    \(manifest.identity.weights.prefix(16)), \(manifest.identity.numerics)
      tokenizer  \(manifest.identity.tokenizer.prefix(16))
      sequences  \(tokens.pack == "none" ? "one document each, padded" : "documents follow each other"), \(first)
      held out   \(fixed(100 * spec.heldOut.fraction, 2)) %, at least \(spec.heldOut.minimum), seed \(spec.heldOut.seed)
      layout     \(spec.sequencesPerShard) sequences per shard, \(spec.sequencesPerFrame) per frame
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
      ("on disk", .right), ("of plain", .right), ("median ‖x‖²", .right), ("max ‖x‖", .right), ("outliers", .right),
      ("scale", .right),
    ])
    let streams = [("hooks", manifest.hooks), ("logits", manifest.logits)].flatMap { kind, streams in
      streams.sorted { $0.key < $1.key }.map { (folder: "\(kind)/\($0.key)/", name: $0.key, stream: $0.value) }
    }
    for (folder, name, stream) in streams {
      let plain = files.filter { $0.path.hasPrefix(folder) }.reduce(0) { $0 + $1.contentBytes }
      let numbers =
        stream.statistics.map {
          [fixed($0.medianSquaredNorm, 2), fixed($0.maxNorm, 2), grouped($0.nOutliers), fixed($0.scale, 5)]
        } ?? ["", "", "", ""]
      table.add(
        [
          name, "\(stream.width)", stream.dtype, stream.codec, grouped(stream.nSequences), byteSize(stream.bytes),
          plain > 0 ? "\(fixed(100 * Double(stream.bytes) / Double(plain), 1)) %" : "",
        ] + numbers)
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

  private func showRanges() throws {
    print("\(cache): incomplete; there are")
    for (stream, ranges) in try CacheSurvey(cache).ranges {
      print("\(stream): sequences \(ranges.map { "\($0.lowerBound)..<\($0.upperBound)" }.joined(separator: ", "))")
    }
  }

  private func state(_ cache: CacheReader) throws -> String {
    let manifest = cache.manifest
    if !cache.lost.isEmpty { return "incomplete; \(Manifest.lostReceipts(cache.lost, path: cache.path))" }
    if manifest.generation == 0 { return "incomplete; the same harvest command continues it" }
    var clauses = [manifest.isComplete ? "complete" : "incomplete"]
    if manifest.generations.count > 1 { clauses[0] += ", generation \(manifest.generation)" }
    clauses += manifest.shortStreams.map { stream, n in
      "\(stream.name) has \(grouped(n)) of \(grouped(manifest.nSequences)) sequences, "
        + "\(stream.harvestCommand(cache: cache.path)) adds the rest"
    }
    let nMore = generation == nil ? try cache.sequencesOfUnfinishedText() : 0
    if nMore > 0 {
      clauses.append(
        "of a longer text \(grouped(nMore)) more sequences are there, the same harvest command continues it")
    }
    return clauses.joined(separator: "; ")
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
