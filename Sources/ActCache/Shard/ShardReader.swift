import Crypto
import Foundation
import Memory
import Synchronization

/// One shard of one stream, mapped; its header, index and seek table are checked when it is opened, each frame
/// whenever it is decoded.
final class ShardReader: Sendable {
  let path: String
  let header: ShardHeader
  private let file: MappedFile
  private let digestSeed: UInt64
  private let digests: [UInt64]
  /// Byte offset of each data frame, and the end of the last.
  private let offsets: [Int]
  private let remedy: String

  /// - Parameters:
  ///   - bytes: the size the receipt states.
  /// - Throws: `ActCacheError.damaged` naming the file and what to do.
  init(path: String, bytes expected: Int?) throws {
    let remedy = "remove it and run the same harvest command again to write it anew"
    func damaged(_ what: String) -> ActCacheError { .damaged(file: path, what: what, remedy: remedy) }

    let file: MappedFile
    do { file = try MappedFile(path: path) } catch .system("open", _, ENOENT) {
      throw damaged("the file is gone")
    } catch { throw ActCacheError.file(error) }
    if let expected, file.count != expected {
      throw damaged("the file has \(file.count) bytes, its receipt says \(expected)")
    }
    let parsed: Layout
    do { parsed = try file.withBytes { (bytes: RawSpan) throws(ShardFault) in try Layout(bytes) } } catch {
      throw damaged(error.what)
    }
    self.path = path
    self.remedy = remedy
    self.file = file
    header = parsed.header
    digestSeed = parsed.digestSeed
    digests = parsed.digests
    offsets = parsed.offsets
  }

  func damaged(_ what: String) -> ActCacheError { .damaged(file: path, what: what, remedy: remedy) }

  /// Decodes data frame `frame` into the `header.contentBytes(ofFrame: frame)` bytes of `output` from `offset` on.
  func decode(frame: Int, with decoder: ZstdDecoder, into output: inout [UInt8], at offset: Int = 0) throws {
    precondition(frame >= 0 && frame < header.nFrames, "frame \(frame) of \(header.nFrames)")
    let range = offsets[frame]..<offsets[frame + 1]
    try file.withBytes(at: range.lowerBound, count: range.count) { bytes in
      guard XXH64.hash(bytes, seed: digestSeed &+ UInt64(frame)) == digests[frame] else {
        throw damaged(
          "frame \(frame) (bytes \(range.lowerBound)..<\(range.upperBound)) does not have the digest of the index")
      }
      do throws(ZstdError) {
        try decoder.decode(bytes, into: &output, at: offset, count: header.contentBytes(ofFrame: frame))
      } catch { throw damaged("frame \(frame): \(error)") }
    }
  }

  /// Everything outside the data frames, checked.
  private struct Layout {
    let header: ShardHeader
    let digestSeed: UInt64
    let digests: [UInt64]
    let offsets: [Int]

    init(_ bytes: RawSpan) throws(ShardFault) {
      let size = bytes.byteCount
      // Footer and seek table.
      guard size >= ShardFormat.footerBytes, bytes.u32(at: size - 4) == ShardFormat.seekableMagic else {
        throw ShardFault("the file does not end as a seekable zstd file; it is cut short or not a shard")
      }
      guard bytes.u8(at: size - 5) == 0x80, let count = bytes.u32(at: size - 9) else {
        throw ShardFault("the seek table's descriptor is not 0x80")
      }
      let n = Int(count)
      let tableBytes = 8 + n * ShardFormat.seekEntryBytes + ShardFormat.footerBytes
      let tableStart = size - tableBytes
      guard n >= 3, n <= ShardLimits.maxFrames + 2, tableStart > 0 else {
        throw ShardFault("the seek table states \(n) frames, which do not fit into \(size) bytes")
      }
      guard bytes.u32(at: tableStart) == ShardFormat.seekTableMagic,
        bytes.u32(at: tableStart + 4) == UInt32(tableBytes - 8)
      else { throw ShardFault("no seek table of \(n) frames at byte \(tableStart)") }

      var position = 0
      var offsets: [Int] = []
      var contents: [Int] = []
      for i in 0..<n {
        let entry = tableStart + 8 + i * ShardFormat.seekEntryBytes
        guard let compressed = bytes.u32(at: entry), let content = bytes.u32(at: entry + 4) else {
          throw ShardFault("the seek table is cut short")
        }
        offsets.append(position)
        contents.append(Int(content))
        position += Int(compressed)
        guard position <= tableStart else { throw ShardFault("the seek table's frames are longer than the file") }
      }
      guard position == tableStart else {
        throw ShardFault("the seek table accounts for \(position) of the \(tableStart) bytes before it")
      }

      // Header.
      let headerBytes = offsets[1]
      guard headerBytes >= 4096, headerBytes <= ShardLimits.maxHeaderBytes, headerBytes % 4096 == 0,
        bytes.u32(at: 0) == ShardFormat.headerMagic, bytes.u32(at: 4) == UInt32(headerBytes - 8)
      else { throw ShardFault("there is no shard header at its start") }
      let headerFrame = bytes.extracting(0..<headerBytes).bytes()

      // Index, and the digest over header, index and table.
      let indexStart = offsets[n - 1]
      let nFrames = n - 2
      let indexBytes = 8 + ShardFormat.indexTag.count + 4 + 8 * nFrames + 32
      guard tableStart - indexStart == indexBytes, bytes.u32(at: indexStart) == ShardFormat.indexMagic,
        bytes.u32(at: indexStart + 4) == UInt32(indexBytes - 8)
      else { throw ShardFault("there is no index frame before its seek table") }
      let index = bytes.extracting(indexStart..<tableStart).bytes()
      var sha = SHA256()
      sha.update(data: headerFrame)
      sha.update(data: index.dropLast(32))
      sha.update(data: bytes.extracting(tableStart..<size).bytes())
      guard Array(sha.finalize()) == Array(index.suffix(32)) else {
        throw ShardFault("header, index and seek table do not have the SHA-256 that the index states")
      }
      let tagStart = indexStart + 8
      guard Array(index[8..<16]) == ShardFormat.indexTag,
        bytes.u32(at: tagStart + 8) == UInt32(nFrames)
      else { throw ShardFault("the index is not one of \(nFrames) frames") }
      digests = (0..<nFrames).map { bytes.u64(at: tagStart + 12 + 8 * $0) ?? 0 }

      do {
        header = try JSONDecoder().decode(ShardHeader.self, from: Data(headerFrame.dropFirst(8)))
      } catch { throw ShardFault("the header is not one of a shard: \(error)") }
      try header.validate()
      guard header.nFrames == nFrames else {
        throw ShardFault("\(nFrames) data frames, the header's sequences need \(header.nFrames)")
      }
      for frame in 0..<nFrames {
        let expected = header.contentBytes(ofFrame: frame)
        let start = offsets[frame + 1]
        let end = offsets[frame + 2]
        guard contents[frame + 1] == expected, zstdContentSize(bytes.extracting(start..<end)) == expected else {
          throw ShardFault("frame \(frame) does not state a content of \(expected) bytes")
        }
      }
      digestSeed = frameDigestSeed(headerFrame: headerFrame)
      self.offsets = Array(offsets[1...(nFrames + 1)])
    }
  }
}
