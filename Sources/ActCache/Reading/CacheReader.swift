import Foundation
import Memory
import Synchronization

/// Opens a cache: what it holds, and that its files are there with their sizes. The data is reached through
/// `TrainingReader`, `SequenceReader` and `HeldOutReader`, of which only the last can return held-out sequences.
public final class CacheReader: Sendable {
  public let path: String
  public let manifest: Manifest
  let io: CacheIO
  private let open = Mutex<[String: ShardReader]>([:])

  /// - Parameters:
  ///   - allowIncomplete: open what there is of a cache that is still being harvested; its held-out part is not the
  ///     final one.
  ///   - io: how to read the shards.
  /// - Throws: `ActCacheError`: `.missing` if there is no cache or part of it, `.damaged` naming the file and the
  ///   remedy.
  public init(path: String, allowIncomplete: Bool = false, io: CacheIO = .mmap) throws {
    self.path = path
    self.io = io
    manifest =
      try Manifest.open(cache: path)
      ?? Manifest(receipts: ReceiptFolder.receipts(cache: path), path: path)
    guard manifest.isComplete || allowIncomplete else {
      throw ActCacheError.missing(
        "\(path): only sequences 0..<\(manifest.nSequences) are there, harvesting is not finished; "
          + "run the same harvest command again to finish it")
    }
    for shard in manifest.shards { try FileRecord.checkSizes(shard.files, cache: path) }
  }

  /// The hook's stream. Throws `ActCacheError.missing` with the hooks that there are.
  public func hook(_ name: String) throws -> Manifest.HookStream {
    guard let stream = manifest.hooks[name] else {
      throw ActCacheError.missing(
        "\(path): no hook \(name); the cache holds \(manifest.hooks.keys.sorted().joined(separator: ", "))")
    }
    return stream
  }

  /// How the activations at a hook are stored. Throws as `hook` does.
  func coding(ofHook name: String) throws -> ValueCoding {
    _ = try hook(name)
    guard let spec = manifest.spec.hooks.first(where: { $0.name == name }) else {
      throw ActCacheError.missing("\(path): no hook \(name)")
    }
    return try manifest.spec.coding(of: spec)
  }

  /// The shard of `stream` ("tokens", "hooks/<name>") with sequence number `index · sequencesPerShard`.
  func shard(_ index: Int, of stream: String) throws -> ShardReader {
    let shard = manifest.shards[index]
    let relativePath = stream + "/" + Receipt.rangeName(shard.first..<shard.end) + ".zst"
    if let reader = open.withLock({ $0[relativePath] }) { return reader }
    guard let record = shard.files.first(where: { $0.path == relativePath }) else {
      throw ActCacheError.missing("\(path): the manifest names no file \(relativePath)")
    }
    let reader = try ShardReader(path: path + "/" + relativePath, bytes: record.bytes, io: io)
    let key: String
    let (width, dtype, perFrame): (Int, String, Int)
    if stream == "tokens" {
      key = manifest.spec.tokenStreamKey(baseKey: manifest.baseKey)
      (width, dtype, perFrame) = (1, manifest.spec.tokenType, manifest.spec.tokenSequencesPerFrame)
    } else {
      let hook = try hook(String(stream.dropFirst("hooks/".count)))
      key = hook.streamKey
      (width, dtype, perFrame) = (hook.width, hook.dtype, manifest.spec.sequencesPerFrame)
    }
    let header = reader.header
    let spec = manifest.spec.hooks.first { "hooks/" + $0.name == stream }
    let steps = spec?.steps.map(FixedPoint.digest)
    guard header.stream == stream, header.streamKey == key, header.first == shard.first, header.end == shard.end,
      header.context == manifest.context, header.width == width, header.dtype == dtype, header.steps == steps,
      spec == nil || header.codec == manifest.spec.codec,
      header.sequencesPerFrame == perFrame, header.hasLengths == (stream == "tokens" && manifest.spec.hasLengths)
    else {
      throw reader.damaged(
        "it holds \(header.stream) \(header.first)..<\(header.end) of stream \(header.streamKey.prefix(12)), "
          + "not \(stream) \(shard.first)..<\(shard.end) of \(key.prefix(12))")
    }
    open.withLock { $0[relativePath] = reader }
    return reader
  }

  /// Where sequence `sequence` lies: its shard and its place therein.
  func place(ofSequence sequence: Int) -> (shard: Int, offset: Int) {
    let (shard, offset) = sequence.quotientAndRemainder(dividingBy: manifest.spec.sequencesPerShard)
    return (shard, offset)
  }

  /// The frame that sequence `sequence` lies in.
  func frame(ofSequence sequence: Int) -> Int { sequence / manifest.spec.sequencesPerFrame }

  /// Where frame `frame` of the cache lies: its shard and its number therein.
  func place(ofFrame frame: Int) -> (shard: Int, frame: Int) {
    let perShard = manifest.spec.sequencesPerShard / manifest.spec.sequencesPerFrame
    return (frame / perShard, frame % perShard)
  }

  /// Frames of `sequencesPerFrame` sequences in the cache.
  var nFrames: Int {
    (manifest.nSequences + manifest.spec.sequencesPerFrame - 1) / manifest.spec.sequencesPerFrame
  }

  /// Sequences of frame `frame`.
  func sequences(ofFrame frame: Int) -> Range<Int> {
    let first = frame * manifest.spec.sequencesPerFrame
    return first..<min(first + manifest.spec.sequencesPerFrame, manifest.nSequences)
  }
}
