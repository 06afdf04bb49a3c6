import Memory

/// One shard of one stream. Its size, header, index and seek table are checked when it is opened, which touches nothing
/// else; each frame is checked whenever it is read.
final class ShardReader: Sendable {
  let path: String
  let header: ShardHeader
  /// Bytes of a sequence in the content of a frame.
  let sequenceBytes: Int
  private let isRaw: Bool
  /// Whether the content of frames can be used where it lies.
  let lendsFrames: Bool
  private let file: ShardFile
  private let layout: ShardLayout
  private static let remedy = "remove it and run the same harvest command again to write it anew"

  /// - Parameters:
  ///   - bytes: the size the receipt states.
  /// - Throws: `ActCacheError.damaged` naming the file and what to do, `.file` if the system refuses to read it.
  init(path: String, bytes expected: Int?, io: CacheIO = .mmap) throws {
    do {
      let file = try ShardFile.open(path: path, bytes: expected, io: io)
      do { layout = try ShardLayout(size: file.size()) { try file.bytes($0) } } catch let error as MemoryError {
        throw ActCacheError.file(error)
      }
      self.file = file
    } catch let fault as ShardFault {
      throw ActCacheError.damaged(file: path, what: fault.what, remedy: ShardReader.remedy)
    }
    self.path = path
    header = layout.header
    sequenceBytes = header.sequenceBytes
    isRaw = header.isRaw
    lendsFrames = isRaw && io == .mmap
  }

  /// Where data frame `frame` lies in the file.
  func byteRange(ofFrame frame: Int) -> Range<Int> { layout.offsets[frame]..<layout.offsets[frame + 1] }

  /// Bytes that frame `frame` decodes to.
  func contentBytes(ofFrame frame: Int) -> Int { layout.contents[frame] }

  func damaged(_ what: String) -> ActCacheError { .damaged(file: path, what: what, remedy: ShardReader.remedy) }

  /// Decodes data frame `frame` into exactly the `contentBytes(ofFrame: frame)` bytes of `output`.
  func decode(frame: Int, with decoder: FrameDecoder, into output: inout MutableRawSpan) throws {
    try withFrame(frame, decoder) { bytes in
      if isRaw { return output.copy(from: bytes) }
      do throws(ZstdError) {
        guard zstdContentSize(bytes) == output.byteCount else {
          throw ZstdError(call: "ZSTD_getFrameContentSize", reason: "not \(output.byteCount) bytes of content")
        }
        try decoder.zstd.decode(bytes, into: &output)
      } catch { throw damaged("frame \(frame): \(error)") }
    }
  }

  /// Puts the content of data frame `frame` into a slot: decoded, or lent where it lies uncompressed in a mapping.
  func read(frame: Int, with decoder: FrameDecoder, into slots: FrameSlots, slot: Int) throws {
    if lendsFrames { return try withFrame(frame, decoder) { slots.lend($0, to: slot) } }
    try slots.fill(slot, byteCount: contentBytes(ofFrame: frame)) { output in
      try decode(frame: frame, with: decoder, into: &output)
    }
  }

  /// Throws unless frame `frame` is, byte for byte, what the index says. Decodes nothing.
  func check(frame: Int, with decoder: FrameDecoder) throws { try withFrame(frame, decoder) { _ in } }

  /// Lends the content of a frame where it lies (`lendsFrames`). `check` must have been called for it.
  func withChecked<R>(frame: Int, _ body: (RawSpan) throws -> R) throws -> R {
    precondition(lendsFrames, "frames of \(path) are not lent")
    var none = FrameBuffer.none
    return try file.withBytes(layout.offsets[frame]..<layout.offsets[frame + 1], buffer: &none, body)
  }

  /// Lends the bytes of a frame as they are in the file, which have the digest of the index.
  private func withFrame<R>(_ frame: Int, _ decoder: FrameDecoder, _ body: (RawSpan) throws -> R) throws -> R {
    precondition(frame >= 0 && frame < header.nFrames, "frame \(frame) of \(header.nFrames)")
    let range = byteRange(ofFrame: frame)
    do {
      return try file.withBytes(range, buffer: &decoder.input) { bytes in
        guard XXH64.hash(bytes, seed: layout.digestSeed &+ UInt64(frame)) == layout.digests[frame] else {
          throw damaged(
            "frame \(frame) (bytes \(range.lowerBound)..<\(range.upperBound)) does not have the digest of the index")
        }
        return try body(bytes)
      }
    } catch let error as MemoryError { throw ActCacheError.file(error) }
  }
}

/// What one thread needs to read frames.
final class FrameDecoder {
  let zstd: ZstdDecoder
  /// Bytes of the file, where it is not mapped.
  fileprivate(set) var input = FrameBuffer.none

  /// - Parameter verifiesContent: also check zstd's checksums, which the digests of the index make superfluous.
  init(verifiesContent: Bool = false) throws(ZstdError) {
    zstd = try ZstdDecoder(verifiesContent: verifiesContent)
  }
}
