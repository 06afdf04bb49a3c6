import Foundation
import Memory

/// Moves what is damaged in a cache aside, and makes those records anew that other files still tell in full: receipts of
/// whole token shards, generations that the manifest repeats, steps that receipts repeat, the manifest. Needs no model;
/// the result never says more than what is whole.
package struct Quarantine: Sendable {
  /// Paths of the files that now end in `.bad`.
  package private(set) var moved: [String] = []
  /// Paths of the records that were made anew.
  package private(set) var restored: [String] = []
  /// The cache as it is now.
  package private(set) var survey: CacheSurvey
  /// What the manifest said before.
  package let formerManifest: Manifest?

  /// - Parameter verification: of this cache, since which nobody has changed it: the caller holds its lock.
  /// - Throws: `ActCacheError.file`.
  package init(_ verification: Verification) throws {
    let folder = verification.survey.folder
    formerManifest = (try? Manifest.open(cache: folder.path)) ?? nil
    survey = verification.survey
    for file in verification.findings.flatMap(\.moves) where folder.contains(file) {
      let path = folder.path + "/" + file
      try fileErrors { () throws(MemoryError) in try moveFile(path, to: path + CacheFolder.quarantineSuffix) }
      moved.append(path)
    }
    try resurvey()
    try restoreTokenReceipts()
    try restoreGenerations()
    try restoreSteps()
    try resurvey()
    try writeManifest()
  }

  private mutating func resurvey() throws {
    // Where no whole receipt is left, those that were moved aside still said what cache it is.
    survey = try CacheSurvey(survey.folder.path, isLocked: true, spec: survey.spec)
  }

  private var cache: String { survey.folder.path }

  private mutating func write(_ bytes: [UInt8], to file: String) throws {
    let path = cache + "/" + file
    try fileErrors { () throws(MemoryError) in
      try createFolder(URL(fileURLWithPath: path).deletingLastPathComponent().path)
      try DurableFile.write(bytes, to: path)
    }
    restored.append(path)
  }

  /// A shard of tokens says all that its receipt does. It is believed if it continues the text before it, and a record
  /// that is whole says that it leads to the text after it.
  private mutating func restoreTokenReceipts() throws {
    guard let spec = survey.spec else { return }
    for file in survey.folder.files {
      guard case .shard(StreamSpec.tokens, let range) = CacheFolder.kind(of: file), !survey.cut.overlaps(range),
        let before = survey.chain(at: range.lowerBound), let after = survey.chain(at: range.upperBound),
        let receipt = try? Receipt(ofTokenShard: file, cache: cache, spec: spec, range: range, chain: (before, after))
      else { continue }
      try write(SealedJSON.seal(receipt, name: "receipt"), to: Receipt.relativePath(range, of: StreamSpec.tokens))
    }
  }

  private mutating func restoreGenerations() throws {
    guard let spec = survey.spec, let formerManifest, try formerManifest.baseKey == spec.identity.baseKey() else {
      return
    }
    for generation in formerManifest.generations {
      let file = Generation.relativePath(generation.nSequences)
      guard !survey.folder.contains(file),
        survey.chain(at: generation.nSequences) ?? generation.chain == generation.chain
      else { continue }
      try write(SealedJSON.seal(generation, name: "generation"), to: file)
    }
  }

  private mutating func restoreSteps() throws {
    for name in Set(survey.receipts.keys).union(marks.keys) {
      guard !survey.folder.contains(FixedPointSteps.relativePath(name)), let stream = stream(named: name),
        let steps = stream.steps, let spec = survey.spec
      else { continue }
      try FixedPointSteps.choose(
        steps, cache: cache, stream: name, dtype: stream.dtype, baseKey: spec.identity.baseKey(), files: RealFiles())
      restored.append(cache + "/" + FixedPointSteps.relativePath(name))
    }
  }

  private mutating func writeManifest() throws {
    do {
      if try CacheIndex.write(cache: cache).isNew { restored.append(cache + "/" + Manifest.name) }
    } catch let error as ActCacheError {
      switch error {
      case .missing, .incomplete:
        // Nothing can be derived; an old manifest names files that are no longer there.
        let path = cache + "/" + Manifest.name
        guard FileManager.default.fileExists(atPath: path) else { return }
        try fileErrors { () throws(MemoryError) in try moveFile(path, to: path + CacheFolder.quarantineSuffix) }
        moved.append(path)
      default: throw error
      }
    }
  }
}

extension Quarantine {
  /// The ranges of each stream of which something was moved aside, by this run or one before it.
  var marks: [String: Set<Range<Int>>] {
    var marks: [String: Set<Range<Int>>] = [:]
    for file in survey.folder.files where file.hasSuffix(CacheFolder.quarantineSuffix) {
      switch CacheFolder.kind(of: String(file.dropLast(CacheFolder.quarantineSuffix.count))) {
      case .receipt(let stream, let range), .shard(let stream, let range): marks[stream, default: []].insert(range)
      default: break
      }
    }
    return marks
  }

  /// How the values of a stream are kept, from whatever still says so; nil if nothing does.
  func stream(named name: String) -> StreamSpec? {
    if let stream = survey.receipts[name]?.first?.stream { return stream }
    // The receipt of a damaged shard is whole itself.
    let path = survey.folder.path + "/"
    for file in survey.folder.files where file.hasPrefix("receipts/\(name)/") && file.hasSuffix(".json.bad") {
      let receipt = try? SealedJSON.open(
        Receipt.self, name: "receipt", path: path + file, remedy: "", files: RealFiles())
      if let receipt, receipt.spec == survey.spec, receipt.stream.name == name { return receipt.stream }
    }
    if let stream = formerManifest?.streams.first(where: { $0.name == name }) { return stream }
    for file in survey.folder.files where file.hasPrefix(name + "/") && file.contains(".zst") {
      guard let header = (try? ShardReader(path: path + file, bytes: nil, io: .pread))?.header, header.stream == name,
        header.steps == nil
      else { continue }
      return StreamSpec(name: name, width: header.width, dtype: header.dtype, codec: header.codec)
    }
    return nil
  }
}

extension Receipt {
  /// The receipt of a shard of tokens that has none.
  /// - Parameter chain: of the text before and after it.
  /// - Throws: if the shard is not whole, of another cache or of another text.
  fileprivate init(
    ofTokenShard file: String, cache: String, spec: CacheSpec, range: Range<Int>, chain: (before: String, after: String)
  ) throws {
    let path = cache + "/" + file
    func receipt(nTextTokens: Int, contentBytes: Int) throws -> Receipt {
      let bytes = try fileErrors { () throws(MemoryError) in try FileDescriptor(readingFrom: path).size() }
      let digest = try fileErrors { () throws(MemoryError) in try ShardCheck.sha256(ofFile: path) }
      return Receipt(
        format: Receipt.format, version: ShardHeader.version, spec: spec, stream: spec.tokenStream,
        first: range.lowerBound, end: range.upperBound,
        file: FileRecord(path: file, bytes: bytes, sha256: digest, contentBytes: contentBytes),
        chainBefore: chain.before, chainAfter: chain.after, nTextTokens: nTextTokens, nSaturated: 0, statistics: nil,
        policyError: nil)
    }
    let draft = try receipt(nTextTokens: 0, contentBytes: 0)
    let check = try ShardCheck(cache: cache, receipt: draft)
    let tokens = try check.tokens(nVocabulary: spec.identity.nVocabulary, comparesCounts: false)
    let header = check.shard.header
    self = try receipt(
      nTextTokens: tokens.lengths.reduce(0) { $0 + Int($1) },
      contentBytes: (0..<header.nFrames).reduce(0) { $0 + check.shard.contentBytes(ofFrame: $1) })
  }
}
