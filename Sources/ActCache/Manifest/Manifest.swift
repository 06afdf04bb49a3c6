import Foundation
import Memory

/// What a cache holds. Derived from the receipts alone, so it can be made anew at any time.
public struct Manifest: Codable, Equatable, Sendable {
  public static let format = "actcache.manifest"

  /// One stream of activations.
  public struct HookStream: Codable, Equatable, Sendable {
    public let width: Int
    public let dtype: String
    /// Digest that names the stream.
    public let streamKey: String
    public let statistics: HookStatistics
    /// Bytes on disk.
    public let bytes: Int

    /// Times this, a typical activation has ‖x‖² = width.
    public var scale: Double { statistics.scale }
  }

  /// Sequences `first..<end` and the files that hold them.
  public struct Shard: Codable, Equatable, Sendable {
    public let first: Int
    public let end: Int
    public let files: [FileRecord]
  }

  /// Where the text came from.
  public struct Corpus: Codable, Equatable, Sendable {
    public let names: [String]
    /// The token chain over all shards, hex: the same text under the same identity has the same value.
    public let chain: String
    public let counts: CorpusCounts
  }

  public let format: String
  public let version: Int
  public let generation: Int
  public let baseKey: String
  public let spec: CacheSpec
  public let hooks: [String: HookStream]
  public let nSequences: Int
  public let nTextTokens: Int
  /// False while harvesting goes on.
  public let isComplete: Bool
  public let corpus: Corpus
  /// Sequences that no training reader returns, ascending.
  public let heldOut: [Int]
  public let shards: [Shard]

  public var identity: CacheIdentity { spec.identity }
  /// Positions per sequence.
  public var context: Int { spec.identity.tokens.context }
  /// Positions in all sequences, padding included.
  public var nTokens: Int { nSequences * context }

  static let name = "manifest.json"
  static let remedy = "remove it; it is made anew from the receipts"

  /// Derives the manifest from `receipts`, sorted by range.
  /// - Throws: `ActCacheError.mismatch` if they are of different caches or overlap, `.missing` if there is a gap.
  init(receipts: [Receipt], path: String) throws {
    guard let head = receipts.first, let tail = receipts.last else {
      throw ActCacheError.missing(
        "\(path): no cache there (no receipts); run actcache harvest --out \(path), or check the path")
    }
    let spec = head.spec
    let key = try spec.identity.baseKey()
    var end = 0
    var chain = TokenChain(baseKey: key).hexValue
    for receipt in receipts {
      try receipt.spec.requireSame(as: spec, path: path)
      guard receipt.first == end else {
        throw ActCacheError.missing(
          "\(path): the receipts go from sequence \(end) to \(receipt.first); run the same harvest command "
            + "(or the missing workers) again")
      }
      guard
        receipt.end == receipt.first + spec.sequencesPerShard
          || (receipt == tail && receipt.end - receipt.first < spec.sequencesPerShard)
      else {
        throw ActCacheError.mismatch(
          "\(path): the range \(receipt.first)..<\(receipt.end) is not one of \(spec.sequencesPerShard) sequences; "
            + "remove the receipt \(Receipt.relativePath(receipt.first..<receipt.end)) and harvest again")
      }
      guard receipt.chainBefore == chain else {
        throw ActCacheError.mismatch(
          "\(path): the text of sequences \(receipt.first)..<\(receipt.end) does not continue that before it; "
            + "remove the receipt \(Receipt.relativePath(receipt.first..<receipt.end)) and harvest again")
      }
      end = receipt.end
      chain = receipt.chainAfter
    }
    format = Manifest.format
    version = ShardHeader.version
    generation = 1
    baseKey = key
    self.spec = spec
    nSequences = end
    nTextTokens = receipts.reduce(0) { $0 + $1.nTextTokens }
    isComplete = tail.isLast
    corpus = Corpus(
      names: head.corpora, chain: chain, counts: receipts.reduce(CorpusCounts()) { $0 + $1.counts })
    heldOut = spec.heldOut.sequences(of: end)
    shards = receipts.map { Shard(first: $0.first, end: $0.end, files: $0.files) }
    var hooks: [String: HookStream] = [:]
    for hook in spec.hooks {
      var statistics = StreamStatistics(width: hook.width)
      for receipt in receipts {
        if let partial = receipt.statistics[hook.name] { statistics.merge(partial) }
      }
      let bytes = receipts.reduce(0) { sum, receipt in
        sum + receipt.files.reduce(0) { $0 + ($1.path.hasPrefix("hooks/\(hook.name)/") ? $1.bytes : 0) }
      }
      hooks[hook.name] = HookStream(
        width: hook.width, dtype: hook.dtype, streamKey: hook.streamKey(baseKey: key),
        statistics: statistics.summary(), bytes: bytes)
    }
    self.hooks = hooks
  }

  /// Reads `manifest.json` of the cache at `path`; nil if there is none.
  static func open(cache: String) throws -> Manifest? {
    let path = cache + "/" + name
    guard FileManager.default.fileExists(atPath: path) else { return nil }
    let manifest = try SealedJSON.open(Manifest.self, name: "manifest", path: path, remedy: remedy)
    func damaged(_ what: String) -> ActCacheError { .damaged(file: path, what: what, remedy: remedy) }
    guard manifest.format == format, manifest.version == ShardHeader.version else {
      throw damaged("it is \"\(manifest.format)\" version \(manifest.version)")
    }
    try manifest.spec.validate()
    let perShard = manifest.spec.sequencesPerShard
    guard manifest.shards.last?.end == manifest.nSequences, manifest.nSequences > 0,
      manifest.shards.enumerated().allSatisfy({ i, shard in
        shard.first == i * perShard && shard.end == min(manifest.nSequences, (i + 1) * perShard)
      }),
      manifest.heldOut == manifest.heldOut.sorted(), manifest.heldOut.allSatisfy({ 0..<manifest.nSequences ~= $0 }),
      manifest.spec.hooks.allSatisfy({ manifest.hooks[$0.name] != nil })
    else { throw damaged("its parts do not agree with each other") }
    return manifest
  }

  func write(cache: String) throws {
    let bytes = try SealedJSON.seal(self, name: "manifest")
    try fileErrors { () throws(MemoryError) in try DurableFile.write(bytes, to: cache + "/" + Manifest.name) }
  }
}
