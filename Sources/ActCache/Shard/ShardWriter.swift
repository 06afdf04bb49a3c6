import Crypto
import Memory

/// One frame, ready for the file.
struct EncodedFrame: Sendable {
  let bytes: [UInt8]
  let contentBytes: Int
}

/// A finished file of a shard set, as the receipt records it.
public struct FileRecord: Codable, Equatable, Sendable {
  /// Relative to the cache.
  public let path: String
  public let bytes: Int
  /// SHA-256 of the whole file, hex.
  public let sha256: String
  /// Bytes of the frames' contents.
  public let contentBytes: Int
}

/// Writes one shard of one stream.
///
///     [header, skippable, 4096·k bytes] [data frame 0] … [data frame n−1] [index, skippable] [seek table, skippable]
///
/// With codec none the data frames lie one after the other in one skippable frame, whose content begins a page.
///
/// Nothing is under its name until `commit`; a writer that ends earlier leaves nothing.
final class ShardWriter {
  private let header: ShardHeader
  private let relativePath: String
  private let headerFrame: [UInt8]
  private let digestSeed: UInt64
  private var file: DurableFile
  private var sha = SHA256()
  private var frameDigests: [UInt64] = []
  /// (compressed bytes, content bytes, checksum) of each frame so far, the header's first.
  private var seekEntries: [(UInt32, UInt32, UInt32)] = []
  private var contentBytes = 0

  private init(
    header: ShardHeader, relativePath: String, headerFrame: [UInt8], file: consuming DurableFile
  ) {
    self.header = header
    self.relativePath = relativePath
    self.headerFrame = headerFrame
    self.file = file
    digestSeed = frameDigestSeed(headerFrame: headerFrame)
    seekEntries.append((UInt32(headerFrame.count), 0, 0))
  }

  /// Starts a shard at `relativePath` of the cache in `folder`, whose folders exist.
  static func start(
    folder: String, relativePath: String, header: ShardHeader, files: any FileOperations = RealFiles()
  ) throws -> ShardWriter {
    do { try header.validate() } catch { throw ActCacheError.limit("\(relativePath): \(error.what)") }
    let headerFrame = try header.frame()
    let file = try fileErrors { () throws(MemoryError) in
      try DurableFile(path: folder + "/" + relativePath, files: files)
    }
    let writer = ShardWriter(header: header, relativePath: relativePath, headerFrame: headerFrame, file: file)
    try writer.append(headerFrame)
    if header.isRaw { try writer.beginRawFrame() }
    return writer
  }

  private func beginRawFrame() throws(ActCacheError) {
    let count = header.nSequences * header.sequenceBytes
    var head: [UInt8] = []
    head.append(u32: ShardFormat.rawMagic)
    head.append(u32: UInt32(count))
    try append(head)
    seekEntries.append((UInt32(head.count + count), 0, 0))
  }

  private func append(_ bytes: [UInt8]) throws(ActCacheError) {
    sha.update(data: bytes)
    do { try file.write(bytes) } catch { throw .file(error) }
  }

  /// Appends the next data frame.
  func append(_ frame: EncodedFrame) throws(ActCacheError) {
    let ordinal = frameDigests.count
    precondition(ordinal < header.nFrames, "frame \(ordinal) of \(header.nFrames)")
    precondition(
      header.allows(contentBytes: frame.contentBytes, ofFrame: ordinal),
      "frame \(ordinal) has \(frame.contentBytes) bytes, not \(header.contentBytes(ofFrame: ordinal))")
    frameDigests.append(frame.bytes.withRawSpan { XXH64.hash($0, seed: digestSeed &+ UInt64(ordinal)) })
    if !header.isRaw {
      // The low half of XXH64 of the content, which the seek table wants too, ends every frame that carries a checksum.
      let checksum = frame.bytes.withRawSpan { $0.u32(at: $0.byteCount - 4) ?? 0 }
      seekEntries.append((UInt32(frame.bytes.count), UInt32(frame.contentBytes), checksum))
    }
    contentBytes += frame.contentBytes
    try append(frame.bytes)
    guard file.count <= ShardLimits.maxShardBytes else {
      throw .limit("\(relativePath) grows past 8 GiB; choose fewer --shard-tokens")
    }
  }

  /// Writes index and seek table and makes the file durable under its name.
  func commit() throws -> FileRecord {
    precondition(frameDigests.count == header.nFrames, "\(frameDigests.count) of \(header.nFrames) frames written")
    let indexContentBytes = ShardFormat.indexTag.count + 4 + 8 * frameDigests.count + 32
    var index: [UInt8] = []
    index.append(u32: ShardFormat.indexMagic)
    index.append(u32: UInt32(indexContentBytes))
    index += ShardFormat.indexTag
    index.append(u32: UInt32(frameDigests.count))
    for digest in frameDigests { index.append(u64: digest) }
    seekEntries.append((UInt32(8 + indexContentBytes), 0, 0))

    var table: [UInt8] = []
    table.append(u32: ShardFormat.seekTableMagic)
    table.append(u32: UInt32(seekEntries.count * ShardFormat.seekEntryBytes + ShardFormat.footerBytes))
    for (compressed, content, checksum) in seekEntries {
      table.append(u32: compressed)
      table.append(u32: content)
      table.append(u32: checksum)
    }
    table.append(u32: UInt32(seekEntries.count))
    table.append(0x80)
    table.append(u32: ShardFormat.seekableMagic)

    var all = SHA256()
    all.update(data: headerFrame)
    all.update(data: index)
    all.update(data: table)
    index += all.finalize()

    try append(index)
    try append(table)
    let record = FileRecord(
      path: relativePath, bytes: file.count, sha256: hex(sha.finalize()), contentBytes: contentBytes)
    try file.commit()
    return record
  }
}

/// Where the digests of a shard's frames start counting: the first 8 bytes of SHA-256 of the header frame, as a
/// little-endian number. Frame i is hashed with this plus i, which binds it to its shard and its place.
func frameDigestSeed(headerFrame: [UInt8]) -> UInt64 {
  var seed: UInt64 = 0
  for (i, byte) in SHA256.hash(data: headerFrame).prefix(8).enumerated() { seed |= UInt64(byte) << (8 * i) }
  return seed
}
