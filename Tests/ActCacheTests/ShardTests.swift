import Dispatch
import Synchronization
import Foundation
import Memory
import TestSupport
import Testing

@testable import ActCache

struct ShardTests {
  /// Opens the shard and decodes every frame.
  private func readAll(_ path: String, bytes: Int? = nil, io: CacheIO = .mmap) throws -> [UInt8] {
    let reader = try ShardReader(path: path, bytes: bytes, io: io)
    let decoder = try FrameDecoder()
    var all: [UInt8] = []
    for frame in 0..<reader.header.nFrames {
      var content = [UInt8](repeating: 0, count: reader.header.contentBytes(ofFrame: frame))
      var elements = content.mutableSpan
      var output = elements.mutableBytes
      try reader.decode(frame: frame, with: decoder, into: &output)
      all += content
    }
    return all
  }

  private func shard(_ folder: String, type: String = "bf16", codec: String = "zstd:1") throws -> String {
    let steps = type.hasPrefix("fix") ? [Float](repeating: 0.5, count: 5) : nil
    let cache = SmallCache(hooks: [StreamSpec.hook("h", width: 5, dtype: type, steps: steps)]).coded(codec)
    try cache.write(6, to: folder)
    return folder + "/hooks/h/000000000-000000006.zst"
  }

  /// All offsets; in a debug build few of the spaces that fill the header, which take seconds.
  private func offsets(_ n: Int) -> [Int] {
    #if DEBUG
      (0..<n).filter { !(1024..<4000).contains($0) || $0 % 97 == 0 }
    #else
      Array(0..<n)
    #endif
  }

  @Test(arguments: [("zstd:1", CacheIO.mmap), ("none", .pread)])
  func everyTruncationIsDetected(codec: String, io: CacheIO) throws {
    let folder = try TemporaryFolder()
    let path = try shard(folder.path, codec: codec)
    let whole = try bytes(of: path)
    for count in offsets(whole.count) {
      try overwrite(path, Array(whole.prefix(count)))
      #expect(throws: ActCacheError.self, "\(count) of \(whole.count) bytes") { try readAll(path, io: io) }
    }
    try overwrite(path, whole + [0])
    #expect(throws: ActCacheError.self) { try readAll(path, io: io) }
  }

  @Test(arguments: [("zstd:1", CacheIO.mmap), ("none", .pread)])
  func everyFlippedByteIsDetected(codec: String, io: CacheIO) throws {
    let folder = try TemporaryFolder()
    let path = try shard(folder.path, codec: codec)
    let whole = try bytes(of: path)
    for i in offsets(whole.count) {
      var flipped = whole
      flipped[i] ^= 1 << UInt8(i % 8)
      try overwrite(path, flipped)
      #expect(throws: ActCacheError.self, "byte \(i) of \(whole.count)") { try readAll(path, io: io) }
    }
  }

  @Test func valuesWithoutCompressionAreOneMatrixThatBeginsAPage() throws {
    let folder = try TemporaryFolder()
    let path = try shard(folder.path, type: "f32", codec: "none")
    let whole = try bytes(of: path)
    let small = SmallCache()
    let values = (0..<6).flatMap { s in (0..<4).flatMap { p in (0..<5).map { small.value(s, p, $0, hook: 0) } } }
    let expected = values.flatMap { value in (0..<4).map { UInt8(truncatingIfNeeded: value.bitPattern >> (8 * $0)) } }
    let start = 4096
    try #require(whole.count > start + expected.count)
    #expect(Array(whole[start..<(start + expected.count)]) == expected)
    #expect(Array(whole[(start - 8)..<start]) == [0x52, 0x2A, 0x4D, 0x18, 0xE0, 0x01, 0, 0])
    for io in CacheIO.allCases { #expect(try readAll(path, io: io) == expected) }
  }

  @Test func onlyTheFramesThatAreReadAreTouched() throws {
    let folder = try TemporaryFolder()
    let path = try shard(folder.path)
    var whole = try bytes(of: path)
    whole[4096] ^= 1
    try overwrite(path, whole)
    let reader = try ShardReader(path: path, bytes: whole.count)
    let decoder = try FrameDecoder()
    #expect(throws: ActCacheError.self) { try reader.check(frame: 0, with: decoder) }
    try reader.check(frame: 1, with: decoder)
  }

  @Test func swappedFramesAreDetected() throws {
    let folder = try TemporaryFolder()
    // Constant activations: all frames have the same size and nothing but their place differs.
    let cache = SmallCache()
    let spec = try cache.spec
    let writer = try CacheWriter(path: folder.path, spec: spec, streams: cache.hooks).begin(0..<6)
    for first in [0, 2, 4] {
      let block = SequenceBlock(
        first: first, tokens: [UInt32](repeating: 2, count: 8), lengths: [4, 4],
        activations: [[Float](repeating: Float(first + 1), count: 2 * 4 * 5)])
      try writer.append(block)
    }
    let chain = TokenChain(baseKey: "k")
    _ = try writer.commit(chain: (chain, chain))
    let path = folder.path + "/hooks/blocks.0.hook_resid_post/000000000-000000006.zst"
    var all = try bytes(of: path)
    let sizes = try #require(
      all.withRawSpan { bytes -> [Int]? in
        let table = bytes.byteCount - 9 - 5 * 12
        return (0..<5).compactMap { bytes.u32(at: table + 12 * $0).map(Int.init) }
      })
    try #require(sizes[1] == sizes[2])
    let (a, b) = (sizes[0], sizes[0] + sizes[1])
    for i in 0..<sizes[1] { all.swapAt(a + i, b + i) }
    // The checksums in the seek table go along, as a careful forger's would.
    let table = all.count - 9 - 5 * 12
    for i in 0..<12 { all.swapAt(table + 12 + i, table + 24 + i) }
    try overwrite(path, all)
    #expect(throws: ActCacheError.self) { try readAll(path) }
  }

  @Test func messagesNameTheFileTheFaultAndTheRemedy() throws {
    let folder = try TemporaryFolder()
    let path = try shard(folder.path)
    let whole = try bytes(of: path)
    let remedy = "remove it and run the same harvest command again to write it anew"
    func message(_ bytes: [UInt8], size: Int? = nil) throws -> String {
      try overwrite(path, bytes)
      let messages = CacheIO.allCases.map { io in
        do { _ = try readAll(path, bytes: size, io: io) } catch { return "\(error)" }
        return ""
      }
      #expect(messages[0] == messages[1])
      return messages[0]
    }
    #expect(
      try message(Array(whole.dropLast()), size: whole.count)
        == "\(path): the file has \(whole.count - 1) bytes, its receipt says \(whole.count); \(remedy)")
    #expect(
      try message(Array(whole.dropLast()))
        == "\(path): the file does not end as a seekable zstd file; it is cut short or not a shard; \(remedy)")
    var flipped = whole
    flipped[100] ^= 1
    #expect(
      try message(flipped)
        == "\(path): header, index and seek table do not have the SHA-256 that the index states; \(remedy)")
    flipped = whole
    flipped[4096] ^= 1
    #expect(try message(flipped).hasPrefix("\(path): frame 0 (bytes 4096..<"))
    flipped = whole
    flipped[4110] ^= 1
    #expect(try message(flipped).hasPrefix("\(path): frame 0 (bytes 4096..<"))
    try FileManager.default.removeItem(atPath: path)
    #expect(throws: ActCacheError.damaged(file: path, what: "the file is gone", remedy: remedy)) { try readAll(path) }
  }

  @Test(
    .enabled(if: FileManager.default.isExecutableFile(atPath: "/usr/bin/zstd")),
    arguments: ["bf16", "f16", "f32", "fix:7", "none"])
  func theZstdToolTestsAndDecodesShards(type: String) throws {
    let folder = try TemporaryFolder()
    let isRaw = type == "none"
    let path = try shard(folder.path, type: isRaw ? "f32" : type, codec: isRaw ? "none" : "zstd:1")
    // It passes over values that are not compressed.
    let content = isRaw ? [] : try readAll(path)
    for (arguments, expected) in [(["-q", "-t", path], [UInt8]()), (["-q", "-dc", path], content)] {
      let process = Process()
      let output = Pipe()
      process.executableURL = URL(fileURLWithPath: "/usr/bin/zstd")
      process.arguments = arguments
      process.standardOutput = output
      try process.run()
      let decoded = [UInt8](output.fileHandleForReading.readDataToEndOfFile())
      process.waitUntilExit()
      #expect(process.terminationStatus == 0)
      #expect(decoded == expected)
    }
  }

  @Test func aWriterThatIsGivenUpLeavesNothing() throws {
    let folder = try TemporaryFolder()
    let cache = SmallCache()
    var writer: ShardSetWriter? = try CacheWriter(path: folder.path, spec: cache.spec, streams: cache.hooks).begin(
      0..<6)
    try writer?.append(try cache.block(0..<2))
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path + "/tokens").count == 1)
    writer = nil
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path + "/tokens") == [])
  }

  /// Frames are lent from its mapping: a second reader of the same file would take it away under them.
  @Test func threadsThatOpenAShardAtOnceShareIt() throws {
    let folder = try TemporaryFolder()
    try SmallCache().write(6, to: folder.path)
    for _ in 0..<300 {
      let cache = try CacheReader(path: folder.path)
      let readers = Mutex<[ShardReader]>([])
      DispatchQueue.concurrentPerform(iterations: 16) { _ in
        guard let reader = try? cache.shard(0, of: "tokens") else { return }
        readers.withLock { $0.append(reader) }
      }
      #expect(readers.withLock { Set($0.map(ObjectIdentifier.init)).count } == 1)
    }
  }
}
