import Foundation
import Memory
import Synchronization

/// Opens a cache: what it holds, and that its files are there with their sizes. The data is reached through
/// `TrainingReader`, `SequenceReader` and `HeldOutReader`, of which only the last can return held-out sequences.
public final class CacheReader: Sendable {
  public let path: String
  public let manifest: Manifest
  /// Files that the manifest on disk names although their receipts are gone, so that `manifest` was derived without
  /// them.
  package let lost: [String]
  let io: CacheIO
  private let allowsIncomplete: Bool
  private let open = Mutex<[String: ShardReader]>([:])
  /// Number of the first frame of each shard, and of all frames. Every shard begins a frame.
  private let frameStarts: [Int]
  /// First sequence of each shard.
  private let shardStarts: [Int]

  /// - Parameters:
  ///   - generation: an earlier generation of a cache that has grown; by default the newest.
  ///   - allowIncomplete: open what there is of a cache that is still being harvested, and of streams that do not reach
  ///     to its end; its held-out part is not the final one.
  ///   - io: how to read the shards.
  /// - Throws: `ActCacheError`: `.missing` if there is no cache, `.incomplete` if part of it is missing, `.damaged`
  ///   naming the file and the remedy.
  public init(
    path: String, generation: Int? = nil, allowIncomplete: Bool = false, io: CacheIO = .mmap
  ) throws {
    self.path = path
    self.io = io
    allowsIncomplete = allowIncomplete
    (manifest, lost) = try CacheReader.manifest(path: path, generation: generation)
    guard manifest.generation > 0 || allowIncomplete else {
      throw ActCacheError.incomplete(
        "\(path): only sequences 0..<\(manifest.nSequences) are there, harvesting is not finished; "
          + "run the same harvest command again to finish it")
    }
    for shard in manifest.shards {
      for file in shard.files { try file.checkSize(cache: path) }
    }
    let perFrame = manifest.spec.sequencesPerFrame
    var starts = [0]
    for shard in manifest.shards {
      starts.append(starts[starts.count - 1] + (shard.end - shard.first + perFrame - 1) / perFrame)
    }
    frameStarts = starts
    shardStarts = manifest.shards.map(\.first)
  }

  /// The one on disk says what a reader wants to know only while each file that it names has its receipt.
  private static func manifest(path: String, generation: Int?) throws -> (Manifest, lost: [String]) {
    var lost: [String] = []
    if let manifest = try Manifest.open(cache: path) {
      lost = try manifest.filesWithoutReceipt(cache: path)
      if lost.isEmpty, generation ?? manifest.generation == manifest.generation { return (manifest, []) }
    }
    let contents = try CacheContents(cache: path)
    try contents.requireWhole()
    do { return (try Manifest(contents, generation: generation, path: path), lost) } catch let error as ActCacheError {
      switch error {
      case .missing where !lost.isEmpty, .incomplete where !lost.isEmpty:
        throw ActCacheError.incomplete("\(path): \(Manifest.lostReceipts(lost, path: path))")
      default: throw error
      }
    }
  }

  /// Sequences that are on disk behind this generation: of a longer text that is still being harvested, if it is the
  /// newest.
  package func sequencesOfUnfinishedText() throws(ActCacheError) -> Int {
    let names = try fileErrors { () throws(MemoryError) in try listFolder("\(path)/receipts/\(StreamSpec.tokens)") }
    let end = manifest.nSequences
    return names.reduce(0) { sum, name in
      guard case .receipt(_, let range) = CacheFolder.kind(of: "receipts/\(StreamSpec.tokens)/\(name)"),
        range.lowerBound >= end
      else { return sum }
      return sum + range.count
    }
  }

  /// The stream of activations at a hook. Throws `ActCacheError.missing` with the hooks that there are, or the most
  /// similar, `.incomplete` if it does not reach to the end of this generation.
  public func hook(_ name: String) throws -> Manifest.Stream {
    guard let stream = manifest.hooks[name] else {
      try requireReceipts(StreamSpec.hooksPrefix + name)
      throw ActCacheError.missing("\(path): no hook \(name); \(whatIsThere(insteadOf: name))")
    }
    try requireWhole(StreamSpec.hooksPrefix + name, name, stream)
    return stream
  }

  private func whatIsThere(insteadOf hook: String) -> String {
    let hooks = manifest.hooks.keys.sorted()
    guard hooks.count > 3, let nearest = nearest(to: hook, among: hooks) else {
      return hooks.isEmpty ? "the cache holds none" : "the cache holds \(hooks.joined(separator: ", "))"
    }
    return "did you mean \(nearest)? actcache info \(path) lists all \(hooks.count)"
  }

  /// The stream of teacher targets of a policy. Throws as `hook` does.
  public func logits(_ policy: String) throws -> Manifest.Stream {
    guard let stream = manifest.logits[policy] else {
      try requireReceipts(StreamSpec.logitsPrefix + policy)
      let there = manifest.logits.keys.sorted().joined(separator: ", ")
      throw ActCacheError.missing(
        "\(path): no logits \(policy); the cache holds \(there.isEmpty ? "none" : there); harvest again with --logits "
          + "\(policy) to add them")
    }
    try requireWhole(StreamSpec.logitsPrefix + policy, "logits \(policy)", stream)
    return stream
  }

  private func requireReceipts(_ stream: String) throws(ActCacheError) {
    let files = lost.filter { $0.hasPrefix(stream + "/") }
    if !files.isEmpty { throw .incomplete("\(path): \(Manifest.lostReceipts(files, path: path))") }
  }

  private func requireWhole(_ folder: String, _ name: String, _ stream: Manifest.Stream) throws {
    guard stream.nSequences < manifest.nSequences, !allowsIncomplete else { return }
    try requireReceipts(folder)
    throw ActCacheError.incomplete(
      "\(path): \(name) is there for sequences 0..<\(stream.nSequences) of \(manifest.nSequences); "
        + "\(try spec(of: folder).harvestCommand(cache: path)) adds the rest; or use an earlier generation")
  }

  /// How the activations of a stream are stored. Throws as `hook` and `logits` do.
  func coding(ofStream name: String) throws -> ValueCoding {
    if name.hasPrefix(StreamSpec.logitsPrefix) {
      _ = try logits(String(name.dropFirst(StreamSpec.logitsPrefix.count)))
    } else {
      _ = try hook(String(name.dropFirst(StreamSpec.hooksPrefix.count)))
    }
    return try spec(of: name).coding
  }

  /// Shard `index` of `stream` ("tokens", "hooks/<name>", "logits/<policy>").
  func shard(_ index: Int, of stream: String) throws -> ShardReader {
    let shard = manifest.shards[index]
    let relativePath = Receipt.filePath(shard.first..<shard.end, of: stream)
    if let reader = open.withLock({ $0[relativePath] }) { return reader }
    guard let record = shard.files.first(where: { $0.path == relativePath }) else {
      throw ActCacheError.missing("\(path): the manifest names no file \(relativePath)")
    }
    let reader = try ShardReader(path: path + "/" + relativePath, bytes: record.bytes, io: io)
    let spec = try spec(of: stream)
    let key = spec.key(baseKey: manifest.baseKey)
    let header = reader.header
    guard header.stream == stream, header.streamKey == key, header.first == shard.first, header.end == shard.end,
      header.context == manifest.context, header.width == spec.width, header.dtype == spec.dtype,
      header.steps == spec.stepsDigest, header.codec == spec.codec,
      header.sequencesPerFrame == manifest.spec.sequencesPerFrame(of: spec),
      header.hasLengths == (stream == StreamSpec.tokens && manifest.spec.hasLengths)
    else {
      throw reader.damaged(
        "it holds \(header.stream) \(header.first)..<\(header.end) of stream \(header.streamKey.prefix(12)), "
          + "not \(stream) \(shard.first)..<\(shard.end) of \(key.prefix(12))")
    }
    // Of two threads that open it at once, both use the one that stays open: frames are lent from its mapping.
    return open.withLock { open in
      if let first = open[relativePath] { return first }
      open[relativePath] = reader
      return reader
    }
  }

  private func spec(of name: String) throws -> StreamSpec {
    if name == StreamSpec.tokens { return manifest.spec.tokenStream }
    guard let spec = manifest.streams.first(where: { $0.name == name }) else {
      throw ActCacheError.missing("\(path): no stream \(name)")
    }
    return spec
  }

  /// Where sequence `sequence` lies: its shard and its place therein.
  func place(ofSequence sequence: Int) -> (shard: Int, offset: Int) {
    let shard = last(of: shardStarts, upTo: sequence)
    return (shard, sequence - shardStarts[shard])
  }

  /// Where frame `frame` of the cache lies: its shard and its number therein.
  func place(ofFrame frame: Int) -> (shard: Int, frame: Int) {
    let shard = last(of: frameStarts, upTo: frame)
    return (shard, frame - frameStarts[shard])
  }

  /// The frame that sequence `sequence` lies in.
  func frame(ofSequence sequence: Int) -> Int {
    let place = place(ofSequence: sequence)
    return frameStarts[place.shard] + place.offset / manifest.spec.sequencesPerFrame
  }

  /// Frames of at most `sequencesPerFrame` sequences in the cache.
  var nFrames: Int { frameStarts[frameStarts.count - 1] }

  /// Sequences of frame `frame`.
  func sequences(ofFrame frame: Int) -> Range<Int> {
    let (shard, inShard) = place(ofFrame: frame)
    let first = shardStarts[shard] + inShard * manifest.spec.sequencesPerFrame
    return first..<min(first + manifest.spec.sequencesPerFrame, manifest.shards[shard].end)
  }

  /// Index of the last of the ascending `starts` that is at most `value`.
  private func last(of starts: [Int], upTo value: Int) -> Int {
    var (low, high) = (0, starts.count)
    while high - low > 1 {
      let middle = (low + high) / 2
      if starts[middle] <= value { low = middle } else { high = middle }
    }
    return low
  }
}
