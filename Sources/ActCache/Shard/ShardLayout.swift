import Crypto
import Foundation
import Memory

/// Everything of a shard outside its data frames, checked: where the frames lie and what digests they have.
struct ShardLayout: Sendable {
  let header: ShardHeader
  /// Digests of the frames start counting here, see `frameDigestSeed`.
  let digestSeed: UInt64
  let digests: [UInt64]
  /// Byte offset of each data frame, and the end of the last.
  let offsets: [Int]
  /// Bytes that each data frame decodes to.
  let contents: [Int]

  /// - Parameters:
  ///   - size: of the file.
  ///   - read: gives bytes of the file; asked only for ranges inside.
  /// - Throws: `ShardFault` for what is wrong with it, and what `read` throws.
  init(size: Int, _ read: (Range<Int>) throws -> [UInt8]) throws {
    // Footer and seek table.
    let footer = size >= ShardFormat.footerBytes ? try read((size - ShardFormat.footerBytes)..<size) : []
    guard footer.u32(at: 5) == ShardFormat.seekableMagic, let count = footer.u32(at: 0) else {
      throw ShardFault("the file does not end as a seekable zstd file; it is cut short or not a shard")
    }
    guard footer[4] == 0x80 else { throw ShardFault("the seek table's descriptor is not 0x80") }
    let n = Int(count)
    let tableBytes = ShardFormat.frameHeadBytes + n * ShardFormat.seekEntryBytes + ShardFormat.footerBytes
    let tableStart = size - tableBytes
    guard n >= 3, n <= ShardLimits.maxFrames + 2, tableStart > 0 else {
      throw ShardFault("the seek table states \(n) frames, which do not fit into \(size) bytes")
    }
    let table = try read(tableStart..<size)
    guard table.isSkippableFrame(ShardFormat.seekTableMagic, bytes: tableBytes) else {
      throw ShardFault("no seek table of \(n) frames at byte \(tableStart)")
    }
    var places: [Range<Int>] = []
    places.reserveCapacity(n)
    var position = 0
    for i in 0..<n {
      let end = position + Int(table.u32(at: ShardFormat.frameHeadBytes + i * ShardFormat.seekEntryBytes) ?? 0)
      guard end <= tableStart else { throw ShardFault("the seek table's frames are longer than the file") }
      places.append(position..<end)
      position = end
    }
    guard position == tableStart else {
      throw ShardFault("the seek table accounts for \(position) of the \(tableStart) bytes before it")
    }

    // Header and index, and the digest over header, index and table.
    let headerBytes = places[0].count
    guard headerBytes >= 64, headerBytes <= ShardLimits.maxHeaderBytes else {
      throw ShardFault("there is no shard header at its start")
    }
    let headerFrame = try read(places[0])
    guard headerFrame.isSkippableFrame(ShardFormat.headerMagic, bytes: headerBytes) else {
      throw ShardFault("there is no shard header at its start")
    }
    let indexPlace = places[n - 1]
    let fixedBytes = ShardFormat.frameHeadBytes + ShardFormat.indexTag.count + 4 + 32
    guard indexPlace.count > fixedBytes, indexPlace.count <= fixedBytes + 8 * ShardLimits.maxFrames else {
      throw ShardFault("there is no index frame before its seek table")
    }
    let index = try read(indexPlace)
    guard index.isSkippableFrame(ShardFormat.indexMagic, bytes: index.count) else {
      throw ShardFault("there is no index frame before its seek table")
    }
    var sha = SHA256()
    sha.update(data: headerFrame)
    sha.update(data: index.dropLast(32))
    sha.update(data: table)
    guard Array(sha.finalize()) == Array(index.suffix(32)) else {
      throw ShardFault("header, index and seek table do not have the SHA-256 that the index states")
    }
    let nFrames = (index.count - fixedBytes) / 8
    let tagEnd = ShardFormat.frameHeadBytes + ShardFormat.indexTag.count
    guard Array(index[ShardFormat.frameHeadBytes..<tagEnd]) == ShardFormat.indexTag,
      index.u32(at: tagEnd) == UInt32(nFrames), index.count == fixedBytes + 8 * nFrames
    else { throw ShardFault("the index is not one of \(nFrames) frames") }
    digests = index.withRawSpan { bytes in (0..<nFrames).map { bytes.u64(at: tagEnd + 4 + 8 * $0) ?? 0 } }
    digestSeed = frameDigestSeed(headerFrame: headerFrame)

    do {
      header = try JSONDecoder().decode(ShardHeader.self, from: Data(headerFrame.dropFirst(ShardFormat.frameHeadBytes)))
    } catch { throw ShardFault("the header is not one of a shard: \(error)") }
    try header.validate()
    guard header.nFrames == nFrames else {
      throw ShardFault("the index has \(nFrames) frames, the header's sequences need \(header.nFrames)")
    }
    let pageOffset = (headerBytes + (header.isRaw ? ShardFormat.frameHeadBytes : 0)) % FrameSize.page
    guard pageOffset == 0 else { throw ShardFault("its data do not begin at a page") }
    if header.isRaw {
      offsets = try ShardLayout.rawOffsets(header, place: places[1], nEntries: n, read)
      contents = (0..<header.nFrames).map(header.contentBytes)
    } else {
      contents = try ShardLayout.zstdContents(header, nEntries: n, table: table)
      offsets = places.dropFirst().map(\.lowerBound)
    }
  }

  private static func zstdContents(
    _ header: ShardHeader, nEntries: Int, table: [UInt8]
  ) throws(ShardFault) -> [Int] {
    guard nEntries == header.nFrames + 2 else {
      throw ShardFault("the seek table has \(nEntries - 2) data frames, the index \(header.nFrames)")
    }
    var contents: [Int] = []
    contents.reserveCapacity(header.nFrames)
    for frame in 0..<header.nFrames {
      let entry = ShardFormat.frameHeadBytes + (frame + 1) * ShardFormat.seekEntryBytes
      let stated = Int(table.u32(at: entry + 4) ?? 0)
      guard header.allows(contentBytes: stated, ofFrame: frame) else {
        let expected = header.targetShape == nil ? "\(header.contentBytes(ofFrame: frame))" : "its policy's"
        throw ShardFault("frame \(frame) does not state a content of \(expected) bytes")
      }
      contents.append(stated)
    }
    return contents
  }

  private static func rawOffsets(
    _ header: ShardHeader, place: Range<Int>, nEntries: Int, _ read: (Range<Int>) throws -> [UInt8]
  ) throws -> [Int] {
    let head = ShardFormat.frameHeadBytes
    let bytes = header.nSequences * header.sequenceBytes
    guard nEntries == 3, place.count == head + bytes,
      try read(place.lowerBound..<(place.lowerBound + head)).isSkippableFrame(ShardFormat.rawMagic, bytes: place.count)
    else { throw ShardFault("there is no one frame of \(bytes) bytes with its values") }
    let start = place.lowerBound + head
    return (0...header.nFrames).map {
      start + min($0 * header.sequencesPerFrame, header.nSequences) * header.sequenceBytes
    }
  }
}

extension [UInt8] {
  /// The little-endian number at `offset`; nil past the end.
  fileprivate func u32(at offset: Int) -> UInt32? { withRawSpan { $0.u32(at: offset) } }

  /// Whether they begin as a skippable zstd frame of `bytes` bytes, its head included.
  fileprivate func isSkippableFrame(_ magic: UInt32, bytes: Int) -> Bool {
    u32(at: 0) == magic && u32(at: 4).map(Int.init) == bytes - ShardFormat.frameHeadBytes
  }
}
