import Foundation
import Memory

/// Moves what is damaged in a cache aside, and makes those records anew that other files still tell: receipts of shards
/// that are what the manifest says, of token shards that fit the text around them, generations that the manifest
/// repeats, steps that receipts repeat, the manifest. Needs no model; the result never says more than what is whole.
package struct Quarantine: Sendable {
  /// A file that now ends in `.bad`.
  package struct Moved: Encodable, Equatable, Sendable {
    /// Path that it had.
    package let file: String
    package let why: String
  }

  package private(set) var moved: [Moved] = []
  /// Paths of the records that were made anew.
  package private(set) var restored: [String] = []
  /// Of these, receipts whose statistics are of the values as stored, not of those before rounding.
  package var approximate: [String] = []
  /// The cache as it is now.
  package private(set) var survey: CacheSurvey

  /// - Parameters:
  ///   - verification: of this cache, since which nobody has changed it: the caller holds its lock.
  ///   - hasModel: what a receipt says can be had from the model, to the last bit, so it is not made from rounded values.
  /// - Throws: `ActCacheError.file`.
  package init(_ verification: Verification, hasModel: Bool = false) throws {
    let folder = verification.survey.folder
    survey = verification.survey
    for finding in verification.findings {
      for file in finding.moves where folder.contains(file) {
        let path = folder.path + "/" + file
        let why = path == finding.file ? finding.what : "it goes with \(finding.file)"
        try moveAside(path, why)
      }
    }
    try resurvey()
    try restoreTokenReceipts()
    try restoreGenerations()
    try resurvey()
    try restoreReceipts(hasModel: hasModel)
    try restoreSteps()
    try resurvey()
    try writeManifest()
  }

  private mutating func resurvey() throws {
    // Where no whole receipt is left, those that were moved aside still said what cache it is.
    survey = try CacheSurvey(survey.folder.path, isLocked: true, spec: survey.spec)
  }

  private mutating func moveAside(_ path: String, _ why: String) throws {
    try fileErrors { () throws(MemoryError) in try moveFile(path, to: path + CacheFolder.quarantineSuffix) }
    moved.append(Moved(file: path, why: why))
  }

  var cache: String { survey.folder.path }

  mutating func write(_ bytes: [UInt8], to file: String) throws {
    let path = cache + "/" + file
    try fileErrors { () throws(MemoryError) in
      try createFolder(URL(fileURLWithPath: path).deletingLastPathComponent().path)
      try DurableFile.write(bytes, to: path)
    }
    restored.append(path)
  }

  private mutating func restoreGenerations() throws {
    guard let spec = survey.spec, let manifest = survey.manifest, try manifest.baseKey == spec.identity.baseKey() else {
      return
    }
    for generation in manifest.generations {
      let file = Generation.relativePath(generation.nSequences)
      guard !survey.folder.contains(file),
        survey.chain(at: generation.nSequences) ?? generation.chain == generation.chain
      else { continue }
      try write(SealedJSON.seal(generation, name: "generation"), to: file)
    }
  }

  private mutating func restoreSteps() throws {
    for name in Set(survey.receipts.keys).union(marks.keys).sorted() {
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
        // Nothing can be derived. A manifest that is whole may be the only record of what there was.
        let path = cache + "/" + Manifest.name
        guard survey.manifest == nil, FileManager.default.fileExists(atPath: path) else { return }
        try moveAside(path, "it is damaged, and no receipts are there to make it from")
      default: throw error
      }
    }
  }
}

extension Quarantine {
  /// The ranges of each stream of which something was moved aside, by this run or one before it, or that the manifest
  /// names and nothing else does.
  var marks: [String: Set<Range<Int>>] {
    var marks = Dictionary(uniqueKeysWithValues: survey.promised.keys.map { ($0, Set(survey.lost($0))) })
    for file in survey.folder.files where file.hasSuffix(CacheFolder.quarantineSuffix) {
      switch CacheFolder.kind(of: String(file.dropLast(CacheFolder.quarantineSuffix.count))) {
      case .receipt(let stream, let range):
        // One that lay in another's folder says where it belongs.
        let own = ((try? whole(receipt: file)) ?? nil).map { ($0.stream.name, $0.range) } ?? (stream, range)
        marks[own.0, default: []].insert(own.1)
      case .shard(let stream, let range): marks[stream, default: []].insert(range)
      default: break
      }
    }
    return marks
  }

  /// The receipt in a file that was moved aside, if it is whole and of this cache.
  private func whole(receipt file: String) throws -> Receipt? {
    let receipt = try SealedJSON.open(
      Receipt.self, name: "receipt", path: survey.folder.path + "/" + file, remedy: "", files: RealFiles())
    return receipt.spec == survey.spec ? receipt : nil
  }

  /// How the values of a stream are kept, from whatever still says so; nil if nothing does.
  func stream(named name: String) -> StreamSpec? {
    if let stream = survey.receipts[name]?.first?.stream { return stream }
    // The receipt of a damaged shard is whole itself.
    for file in survey.folder.files where file.hasPrefix("receipts/") && file.hasSuffix(".json.bad") {
      if let receipt = (try? whole(receipt: file)) ?? nil, receipt.stream.name == name { return receipt.stream }
    }
    if let stream = survey.manifest?.streams.first(where: { $0.name == name }) { return stream }
    let path = survey.folder.path + "/"
    for file in survey.folder.files where file.hasPrefix(name + "/") && file.contains(".zst") {
      guard let header = (try? ShardReader(path: path + file, bytes: nil, io: .pread))?.header, header.stream == name,
        header.steps == nil
      else { continue }
      return StreamSpec(name: name, width: header.width, dtype: header.dtype, codec: header.codec)
    }
    return nil
  }
}
