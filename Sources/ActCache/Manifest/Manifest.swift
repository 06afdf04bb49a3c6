import Foundation
import Memory

/// What a cache holds at one generation. Derived from receipts and generations alone, so it can be made anew at any
/// time.
public struct Manifest: Codable, Equatable, Sendable {
  public static let format = "actcache.manifest"

  /// One stream of activations or teacher targets.
  public struct Stream: Codable, Equatable, Sendable {
    public let width: Int
    public let dtype: String
    public let codec: String
    /// Of `fix:<s>`: the step of each channel.
    public let steps: [Float]?
    /// Digest that names the stream.
    public let streamKey: String
    /// It is there for sequences `0..<nSequences`, which may be fewer than the tokens.
    public let nSequences: Int
    /// Bytes on disk.
    public let bytes: Int
    /// Values that f16 cannot hold and that were brought to ±65,504.
    public let nSaturated: Int
    /// Of activations.
    public let statistics: HookStatistics?
    /// Of logits: what they lose, measured on a sample.
    public let policyError: PolicyError?

    /// Times this, a typical activation has ‖x‖² = width.
    public var scale: Double { statistics?.scale ?? 1 }
  }

  /// Sequences `first..<end` and the files that hold them.
  public struct Shard: Codable, Equatable, Sendable {
    public let first: Int
    public let end: Int
    public let files: [FileRecord]
  }

  public let format: String
  public let version: Int
  public let baseKey: String
  public let spec: CacheSpec
  /// The number of this generation, from 1; 0 while the first harvest goes on.
  public let generation: Int
  /// All generations up to this one.
  public let generations: [Generation]
  /// By hook name.
  public let hooks: [String: Stream]
  /// By logit policy.
  public let logits: [String: Stream]
  public let nSequences: Int
  public let nTextTokens: Int
  /// Sequences that no training reader returns, ascending.
  public let heldOut: [Int]
  public let shards: [Shard]

  public var identity: CacheIdentity { spec.identity }
  /// Positions per sequence.
  public var context: Int { spec.identity.tokens.context }
  /// Positions in all sequences, padding included.
  public var nTokens: Int { nSequences * context }
  /// False while the first harvest goes on, or while a stream lacks part of a text. A stream may end with an earlier text
  /// than the tokens: `shortStreams`.
  public var isComplete: Bool {
    let ends = Set(generations.map(\.nSequences))
    return generation > 0 && (Array(hooks.values) + Array(logits.values)).allSatisfy { ends.contains($0.nSequences) }
  }

  /// Streams that are not there for all sequences, by name, and for how many they are.
  package var shortStreams: [(stream: StreamSpec, nSequences: Int)] {
    streams.sorted { $0.name < $1.name }.compactMap { stream in
      let entry = stream.hookName.flatMap { hooks[$0] } ?? stream.policyName.flatMap { logits[$0] }
      return entry.flatMap { $0.nSequences < nSequences ? (stream, $0.nSequences) : nil }
    }
  }

  static let name = "manifest.json"
  static let remedy = "run actcache index, or remove it; it is made anew from the receipts"

  /// Derives the manifest of generation `number`, by default the newest one that is whole.
  ///
  /// - Throws: `ActCacheError.mismatch` if the receipts do not go together, `.missing` if there is no such generation
  ///   or nothing at all, `.incomplete` if there is no receipt from sequence 0 on.
  package init(_ contents: CacheContents, generation number: Int? = nil, path: String) throws {
    guard let spec = contents.spec else {
      throw ActCacheError.missing(
        "\(path): no cache there (no receipts); run actcache harvest --out \(path), or check the path")
    }
    var ranges = try contents.tokenRanges(path: path)
    guard !ranges.isEmpty else {
      throw ActCacheError.incomplete(
        "\(path): sequences from 0 on are missing; run the same harvest command (or the missing workers) again")
    }
    let key = try spec.identity.baseKey()
    let whole = contents.generations.filter { generation in
      generation.baseKey == key
        && ranges.contains { $0.end == generation.nSequences && $0.chainAfter == generation.chain }
    }
    if let number, !(1...max(1, whole.count)).contains(number) || whole.isEmpty {
      throw ActCacheError.missing("\(path): no generation \(number); the cache has \(whole.count)")
    }
    generations = Array(whole.prefix(number ?? whole.count))
    if let end = generations.last?.nSequences { ranges = ranges.filter { $0.end <= end } }

    format = Manifest.format
    version = ShardHeader.version
    generation = generations.count
    baseKey = key
    self.spec = spec
    let nSequences = ranges.reduce(0) { max($0, $1.end) }
    self.nSequences = nSequences
    nTextTokens = ranges.reduce(0) { $0 + $1.nTextTokens }
    heldOut = spec.heldOut.sequences(
      ofGenerations: generations.isEmpty ? [nSequences] : generations.map(\.nSequences))

    var files = ranges.map { [$0.file] }
    var hooks: [String: Stream] = [:]
    var logits: [String: Stream] = [:]
    for (name, list) in contents.receipts.sorted(by: { $0.key < $1.key }) where name != StreamSpec.tokens {
      guard let stream = list.first?.stream else { continue }
      var statistics: StreamStatistics?
      var policyError: PolicyError?
      var end = 0
      var (bytes, nSaturated) = (0, 0)
      for (i, tokens) in ranges.enumerated() {
        guard let receipt = contents.receipt(of: name, matching: tokens) else { break }
        files[i].append(receipt.file)
        bytes += receipt.file.bytes
        nSaturated += receipt.nSaturated
        end = receipt.end
        if let part = receipt.policyError {
          if policyError == nil { policyError = part } else { policyError?.merge(part) }
        }
        if let part = receipt.statistics {
          if statistics == nil { statistics = part } else { statistics?.merge(part) }
        }
      }
      guard end > 0 else { continue }
      let entry = Stream(
        width: stream.width, dtype: stream.dtype, codec: stream.codec, steps: stream.steps,
        streamKey: stream.key(baseKey: key), nSequences: end, bytes: bytes, nSaturated: nSaturated,
        statistics: statistics?.summary(), policyError: policyError)
      if let hook = stream.hookName {
        hooks[hook] = entry
      } else if let policy = stream.policyName {
        logits[policy] = entry
      }
    }
    self.hooks = hooks
    self.logits = logits
    shards = zip(ranges, files).map { Shard(first: $0.first, end: $0.end, files: $1) }
  }

  /// Reads `manifest.json` of the cache at `path`; nil if there is none.
  static func open(cache: String) throws -> Manifest? {
    let path = cache + "/" + name
    do {
      return try Manifest(
        sealed: SealedJSON.read(path, remedy: remedy, files: RealFiles()), path: path)
    } catch ActCacheError.file(.system("open", _, ENOENT)) {
      return nil
    } catch ActCacheError.file(.system("open", _, ENOTDIR)) {
      throw ActCacheError.missing("\(cache): a file, not the folder of a cache; check the path")
    }
  }

  /// Reads the bytes of the manifest at `path`.
  /// - Throws: `ActCacheError.damaged` if they are not what was written.
  init(sealed bytes: [UInt8], path: String) throws {
    let remedy = Manifest.remedy
    let manifest = try SealedJSON.open(Manifest.self, name: "manifest", bytes: bytes, path: path, remedy: remedy)
    func damaged(_ what: String) -> ActCacheError { .damaged(file: path, what: what, remedy: remedy) }
    guard manifest.format == Manifest.format, manifest.version == ShardHeader.version else {
      throw damaged("it is \"\(manifest.format)\" version \(manifest.version)")
    }
    do {
      try manifest.spec.validate()
      try manifest.spec.validate(manifest.streams)
    } catch { throw damaged("\(error)") }
    var end = 0
    for shard in manifest.shards {
      guard shard.first == end, shard.end > end, shard.files.allSatisfy({ $0.isInside && $0.bytes >= 0 }) else {
        throw damaged("its parts do not agree with each other")
      }
      end = shard.end
    }
    guard end == manifest.nSequences, end <= ShardLimits.maxSequences, end > 0,
      manifest.generation == manifest.generations.count,
      zip(manifest.heldOut, manifest.heldOut.dropFirst()).allSatisfy({ $0 < $1 }),
      manifest.heldOut.first ?? 0 >= 0, manifest.heldOut.last ?? 0 < end,
      try manifest.baseKey == manifest.identity.baseKey()
    else { throw damaged("its parts do not agree with each other") }
    self = manifest
  }

  /// The streams beside the tokens.
  package var streams: [StreamSpec] {
    func spec(_ name: String, _ stream: Stream) -> StreamSpec {
      StreamSpec(
        name: name, width: stream.width, dtype: stream.dtype, codec: stream.codec, steps: stream.steps)
    }
    return hooks.map { spec(StreamSpec.hooksPrefix + $0.key, $0.value) }
      + logits.map { spec(StreamSpec.logitsPrefix + $0.key, $0.value) }
  }

  var sealed: [UInt8] { get throws { try SealedJSON.seal(self, name: "manifest") } }
}

extension FileRecord {
  /// The path stays inside the cache.
  var isInside: Bool { !path.hasPrefix("/") && !path.split(separator: "/").contains("..") }
}
