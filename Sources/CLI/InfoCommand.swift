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
      ("on disk", .right), ("bytes/value", .right), ("FVU", .right), ("median ‖x‖²", .right), ("max ‖x‖", .right),
      ("outliers", .right),
      ("scale", .right),
    ])
    let streams = [manifest.hooks, manifest.logits].flatMap { streams in
      streams.sorted { $0.key < $1.key }.map { (name: $0.key, stream: $0.value) }
    }
    for (name, stream) in streams {
      let nPositions = stream.nSequences * manifest.context
      // Of teacher targets, which are no values, the lines below give bytes per token.
      let perValue = stream.statistics == nil ? "" : fixed(Double(stream.bytes) / Double(nPositions * stream.width), 3)
      let numbers =
        stream.statistics.map {
          [
            $0.fvu.map { $0 == 0 ? "0" : scientific($0) } ?? "–", fixed($0.medianSquaredNorm, 2), fixed($0.maxNorm, 2),
            grouped($0.nOutliers), fixed($0.scale, 5),
          ]
        } ?? ["", "", "", "", ""]
      table.add(
        [
          name, "\(stream.width)", stream.dtype, stream.codec, grouped(stream.nSequences), byteSize(stream.bytes),
          perValue,
        ] + numbers)
    }
    print(table.text)
    if streams.contains(where: { $0.stream.statistics?.fvu != nil }) {
      print("FVU: part of the variance that rounding to dtype loses")
    }
    for (policy, stream) in manifest.logits.sorted(by: { $0.key < $1.key }) {
      let perToken = Double(stream.bytes) / Double(max(1, stream.nSequences * manifest.context))
      print(
        "\nlogits \(policy): \(fixed(perToken, 1)) bytes per token\n  \((stream.policyError ?? PolicyError()).lines.joined(separator: "\n  "))"
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

extension PolicyError {
  /// What a policy loses, in nats, means and maxima; what was not measured is left out.
  fileprivate var lines: [String] {
    func pair(_ mean: Double, _ most: Double) -> String { "\(scientific(mean)) (most \(scientific(most)))" }
    var lines: [String] = []
    if let entropy = meanEntropy, let tail = meanTailMass, let loss = meanUniformLoss, let gradient = meanGradientBound
    {
      let tails = tailMassMax > 0 ? "tail mass r \(pair(tail, tailMassMax))" : "no tail: nothing is left out"
      lines.append("\(tails); teacher's entropy \(fixed(entropy, 3))")
      if tailMassMax > 0 {
        lines += [
          "KL: too small by r·KL(teacher ‖ student) inside the tail, never too large; "
            + "\(pair(loss, uniformLossMax)) for a student that is uniform there, other students differ",
          "gradient by the logits: off by 2r in L1 at most, for every student: \(pair(gradient, 2 * tailMassMax))",
        ]
      }
      lines.append("measured on \(grouped(nTokens)) tokens, the rounding on \(grouped(nRounded))")
    }
    if let rounding = meanRounding {
      let line = "rounding: KL \(pair(rounding, roundingMax)) between the teacher and what is read"
      lines.insert(line + (nTokens > 0 ? "" : ", on \(grouped(nRounded)) tokens"), at: max(0, lines.count - 1))
    }
    if lines.isEmpty { lines = ["nothing was measured: none of its sequences is in the sample"] }
    return lines
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
