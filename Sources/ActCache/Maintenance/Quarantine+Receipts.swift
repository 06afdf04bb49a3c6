import Memory

/// Receipts that are gone, made anew from shards that are whole.
extension Quarantine {
  /// A shard of tokens says all that its receipt does. It is believed if it continues the text before it, and a record
  /// that is whole says that it leads to the text after it, or that these are its bytes.
  mutating func restoreTokenReceipts() throws {
    guard let spec = survey.spec else { return }
    var chains: [Int: String] = [:]
    for file in survey.folder.files {
      guard case .shard(StreamSpec.tokens, let range) = CacheFolder.kind(of: file), !survey.cut.overlaps(range),
        let before = survey.chain(at: range.lowerBound) ?? chains[range.lowerBound],
        let receipt = try? Receipt(
          ofTokenShard: file, cache: cache, spec: spec, range: range,
          chain: (before, survey.chain(at: range.upperBound)), record: survey.promised[StreamSpec.tokens]?[range])
      else { continue }
      chains[range.upperBound] = receipt.chainAfter
      try write(SealedJSON.seal(receipt, name: "receipt"), to: Receipt.relativePath(range, of: StreamSpec.tokens))
    }
  }

  /// Receipts of other streams, where the manifest tells the digest of the file. Statistics and what was cut off on
  /// rounding are only in receipts and, summed up, in the manifest: they are exact of f32, else taken from the stored
  /// values, unless the model can tell.
  mutating func restoreReceipts(hasModel: Bool) throws {
    guard let manifest = survey.manifest else { return }
    for stream in manifest.streams.sorted(by: { $0.name < $1.name }) {
      let isExact = stream.type == .float(.f32)
      guard isExact || !hasModel, let entry = manifest.entry(stream) else { continue }
      let there = survey.receipts[stream.name] ?? []
      let candidates = survey.lost(stream.name).compactMap { range -> (FileRecord, Receipt)? in
        guard let record = survey.promised[stream.name]?[range], survey.folder.contains(record.path),
          let tokens = survey.cut.pieces.first(where: { $0.range == range })?.receipt,
          (try? record.checkSize(cache: cache)) != nil, (try? ShardCheck.checkDigest(cache: cache, record)) != nil
        else { return nil }
        return (record, tokens)
      }
      // Sums over the stream that no shard tells: all of what is left of them goes to the first range.
      var nSaturated = entry.nSaturated - there.reduce(0) { $0 + $1.nSaturated }
      var policyError = there.allSatisfy { $0.policyError == nil } ? entry.policyError : nil
      let hasRest = nSaturated != 0 || policyError != nil
      guard nSaturated >= 0, !hasRest || candidates.count == survey.lost(stream.name).count else { continue }
      for (record, tokens) in candidates {
        let draft = Receipt(stream, record, tokens, nSaturated: nSaturated, policyError: policyError, nil)
        guard let check = try? ShardCheck(cache: cache, receipt: draft),
          let statistics = try? check.statistics(
            lengths: lengths(of: tokens), isExact: entry.statistics?.fvu == 0)
        else { continue }
        let receipt = Receipt(
          stream, record, tokens, nSaturated: nSaturated, policyError: policyError,
          stream.type == nil ? nil : statistics)
        (nSaturated, policyError) = (0, nil)
        let file = Receipt.relativePath(receipt.range, of: stream.name)
        try write(SealedJSON.seal(receipt, name: "receipt"), to: file)
        if !isExact, stream.type != nil { approximate.append(cache + "/" + file) }
      }
    }
  }

  /// How many positions of each sequence of a range are text.
  private func lengths(of tokens: Receipt) throws -> [UInt32] {
    try ShardCheck(cache: cache, receipt: tokens).tokens(nVocabulary: nil).lengths
  }
}

extension Manifest {
  fileprivate func entry(_ stream: StreamSpec) -> Stream? {
    stream.hookName.flatMap { hooks[$0] } ?? stream.policyName.flatMap { logits[$0] }
  }
}

extension Receipt {
  /// The receipt of a file of `stream` whose record is known.
  /// - Parameter tokens: that of the tokens of its range.
  fileprivate init(
    _ stream: StreamSpec, _ record: FileRecord, _ tokens: Receipt, nSaturated: Int, policyError: PolicyError?,
    _ statistics: StreamStatistics?
  ) {
    self.init(
      format: Receipt.format, version: ShardHeader.version, spec: tokens.spec, stream: stream, first: tokens.first,
      end: tokens.end, file: record, chainBefore: tokens.chainBefore, chainAfter: tokens.chainAfter,
      nTextTokens: tokens.nTextTokens, nSaturated: nSaturated, statistics: statistics, policyError: policyError)
  }

  /// The receipt of a shard of tokens that has none.
  /// - Parameters:
  ///   - chain: of the text before it and, if a record says so, after it.
  ///   - record: what the manifest says of the file.
  /// - Throws: if the shard is not whole, of another cache or of another text, or if nothing tells.
  fileprivate init(
    ofTokenShard file: String, cache: String, spec: CacheSpec, range: Range<Int>,
    chain: (before: String, after: String?), record: FileRecord?
  ) throws {
    let path = cache + "/" + file
    let bytes = try fileErrors { () throws(MemoryError) in try FileDescriptor(readingFrom: path).size() }
    let digest = try fileErrors { () throws(MemoryError) in try sha256(ofFile: path) }
    func receipt(nTextTokens: Int, contentBytes: Int, chainAfter: String) throws -> Receipt {
      Receipt(
        format: Receipt.format, version: ShardHeader.version, spec: spec, stream: spec.tokenStream,
        first: range.lowerBound, end: range.upperBound,
        file: FileRecord(path: file, bytes: bytes, sha256: digest, contentBytes: contentBytes),
        chainBefore: chain.before, chainAfter: chainAfter, nTextTokens: nTextTokens, nSaturated: 0, statistics: nil,
        policyError: nil)
    }
    let check = try ShardCheck(
      cache: cache, receipt: receipt(nTextTokens: 0, contentBytes: 0, chainAfter: chain.after ?? ""))
    guard chain.after != nil || record?.bytes == bytes && record?.sha256 == digest else {
      throw check.shard.damaged("no record tells which text it is of")
    }
    let tokens = try check.tokens(
      nVocabulary: spec.identity.nVocabulary, comparesCounts: false, comparesChain: chain.after != nil)
    let header = check.shard.header
    self = try receipt(
      nTextTokens: tokens.lengths.reduce(0) { $0 + Int($1) },
      contentBytes: (0..<header.nFrames).reduce(0) { $0 + check.shard.contentBytes(ofFrame: $1) },
      chainAfter: tokens.chainAfter.hexValue)
  }
}
