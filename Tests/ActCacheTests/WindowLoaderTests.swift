import Foundation
import Synchronization
import TestSupport
import Testing

@testable import ActCache

struct WindowLoaderTests {
  private static let hook = "blocks.0.hook_resid_post"

  private func cache(_ n: Int, _ folder: TemporaryFolder, codec: String = "zstd:1", io: CacheIO = .mmap) throws
    -> CacheReader
  {
    try SmallCache().coded(codec).write(n, to: folder.path, blockFrames: 2)
    return try CacheReader(path: folder.path, io: io)
  }

  private func source(
    _ cache: CacheReader, windowFrames: Int = 3, lookAhead: Int = 1, nThreads: Int = 2, memoryBytes: Int = 1 << 20
  ) throws -> TrainingSource {
    try TrainingSource(
      cache, hooks: [WindowLoaderTests.hook], seed: 5, windowFrames: windowFrames, memoryBytes: memoryBytes,
      lookAhead: lookAhead, nThreads: nThreads)
  }

  private func read(_ reader: TrainingReader, _ batch: Int) throws -> [Float] {
    var values = [Float](repeating: .nan, count: reader.batchSize * reader.width)
    var output = values.mutableSpan
    try reader.read(batch: batch, into: &output)
    return values
  }

  @Test(arguments: ["zstd:1", "none"], CacheIO.allCases)
  func theOrderDependsNeitherOnThreadsNorOnLookAheadNorOnWhereItBegins(codec: String, io: CacheIO) throws {
    let folder = try TemporaryFolder()
    let cache = try cache(45, folder, codec: codec, io: io)
    let plain = try TrainingReader(source(cache, lookAhead: 0, nThreads: 1), batchSize: 8)
    let all = try (0..<60).map { try read(plain, $0) }
    for nThreads in 1...8 {
      for lookAhead in [0, 1, 2, 5, 20] {
        let reader = try TrainingReader(source(cache, lookAhead: lookAhead, nThreads: nThreads), batchSize: 8)
        for start in [0, 1 + nThreads, 21, 59] {
          for batch in start..<60 { try #require(try read(reader, batch) == all[batch]) }
        }
      }
    }
    // To and fro, so that what was decoded ahead is thrown away half done.
    let reader = try TrainingReader(source(cache, windowFrames: 1, lookAhead: 4, nThreads: 3), batchSize: 8)
    let expected = try TrainingReader(source(cache, windowFrames: 1, lookAhead: 0, nThreads: 1), batchSize: 8)
    var generator = SeededGenerator(seed: 11)
    for _ in 0..<200 {
      let batch = Int.random(in: 0..<100, using: &generator)
      try #require(try read(reader, batch) == read(expected, batch))
    }
  }

  @Test func aWindowIsDecodedOnceForReadersThatKeepTogether() throws {
    let folder = try TemporaryFolder()
    let cache = try cache(45, folder)
    let source = try source(cache, lookAhead: 2)
    // Of different batch sizes; in step, they are at most one window apart.
    let readers = try [4, 8, 8, 16].map { try TrainingReader(source, batchSize: $0) }
    let alone = try readers.map { try TrainingReader(self.source(cache), batchSize: $0.batchSize) }
    for step in 0..<10 {
      for (reader, expected) in zip(readers, alone) {
        for batch in step * 16 / reader.batchSize..<(step + 1) * 16 / reader.batchSize {
          try #require(try read(reader, batch) == read(expected, batch))
        }
      }
    }
    // 160 tokens of an epoch of 168: all windows of the first, and those of the second that were decoded ahead.
    let nFrames = cache.nFrames
    #expect(nFrames == 23)
    #expect((nFrames...nFrames + 6).contains(source.nDecodedFrames), "\(source.nDecodedFrames) frames decoded")
    #expect(source.loader.nWindowsInMemory <= 3)
  }

  @Test func batchesAcrossTwoWindowsKeepBothForAllHooks() throws {
    let folder = try TemporaryFolder()
    let hooks = ["a", "b"].map { StreamSpec.hook($0, width: 5, dtype: "bf16") }
    try SmallCache(hooks: hooks).write(45, to: folder.path, blockFrames: 2)
    let source = try TrainingSource(CacheReader(path: folder.path), hooks: ["a", "b"], seed: 5, windowFrames: 3)
    let reader = try TrainingReader(source, batchSize: 5)
    var values = [Float](repeating: .nan, count: 25)
    for batch in 0..<reader.nBatchesPerEpoch {
      for hook in [0, 1, 0] {
        var output = values.mutableSpan
        try reader.read(batch: batch, hook: hook, into: &output)
      }
    }
    #expect((46...46 + 2 * 3).contains(source.nDecodedFrames), "\(source.nDecodedFrames) frames decoded")
    #expect(source.loader.nWindowsInMemory == 2)
  }

  @Test func readersFarApartReadRightAndCostMore() throws {
    let folder = try TemporaryFolder()
    let cache = try cache(45, folder)
    let source = try source(cache, windowFrames: 2, lookAhead: 1)
    let (first, second) = (try TrainingReader(source, batchSize: 8), try TrainingReader(source, batchSize: 8))
    let alone = try TrainingReader(self.source(cache, windowFrames: 2), batchSize: 8)
    for batch in 0..<40 {
      try #require(try read(first, batch) == read(alone, batch))
      try #require(try read(second, batch + 10) == read(alone, batch + 10))
    }
    #expect(source.nDecodedFrames > 2 * 23)
    #expect(source.loader.nWindowsInMemory <= 3)
  }

  @Test func memoryBoundsTheLookAheadAndIsUsedAgain() throws {
    let folder = try TemporaryFolder()
    let cache = try cache(45, folder)
    // Two sequences of 4 × 5 bf16 make a frame of 80 bytes.
    for (windows, lookAhead, expected) in [(10, 4, 5), (3, 4, 3), (1, 4, 1), (0, 4, 1), (10, 0, 1)] {
      let source = try source(cache, windowFrames: 3, lookAhead: lookAhead, memoryBytes: windows * 3 * 80)
      let reader = try TrainingReader(source, batchSize: 8)
      for batch in 0..<200 {
        _ = try read(reader, batch)
        #expect(source.loader.nWindowsInMemory <= expected)
      }
    }
    #expect(try TrainingSource(cache, hooks: [Self.hook], seed: 5, memoryBytes: 2 * 7 * 80).windowFrames == 7)
    #expect(try TrainingSource(cache, hooks: [Self.hook], seed: 5, memoryBytes: 0).windowFrames == 1)
  }

  @Test func readersOnManyThreadsShareASource() throws {
    let folder = try TemporaryFolder()
    let cache = try cache(45, folder)
    let alone = try TrainingReader(source(cache), batchSize: 8)
    let expected = try (0..<100).map { try read(alone, $0) }
    let source = try source(cache, lookAhead: 2, nThreads: 3)
    let nWrong = Atomic<Int>(0)
    DispatchQueue.concurrentPerform(iterations: 6) { i in
      do {
        let reader = try TrainingReader(source, batchSize: 8)
        for batch in (i * 3)..<100 where try read(reader, batch) != expected[batch] {
          nWrong.wrappingAdd(1, ordering: .relaxed)
        }
      } catch { nWrong.wrappingAdd(1, ordering: .relaxed) }
    }
    #expect(nWrong.load(ordering: .relaxed) == 0)
    #expect(source.loader.nWindowsInMemory <= 3 + 6)
  }

  @Test func aDamagedFrameIsAnErrorForEveryReaderEachTime() throws {
    let folder = try TemporaryFolder()
    let cache = try cache(45, folder)
    let path = folder.path + "/hooks/\(Self.hook)/000000006-000000012.zst"
    var bytes = try bytes(of: path)
    bytes[4096 + 40] ^= 4
    try overwrite(path, bytes)
    let source = try source(cache, windowFrames: 1, lookAhead: 2)
    let readers = try (0..<3).map { _ in try TrainingReader(source, batchSize: 4) }
    // Which batches need the frame: those with tokens of sequences 6 and 7.
    for batch in 0..<readers[0].nBatchesPerEpoch {
      let isDamaged = readers[0].places(batch: batch).contains { (6...7).contains($0.sequence) }
      for reader in readers + readers {
        if isDamaged {
          let error = #expect(throws: ActCacheError.self) { try read(reader, batch) }
          #expect(error?.description.hasPrefix("\(path): frame 0 (bytes 4096..<") == true)
        } else {
          #expect(throws: Never.self) { try read(reader, batch) }
        }
      }
    }
  }

  @Test func limitsAreNamed() throws {
    let folder = try TemporaryFolder()
    let cache = try cache(6, folder)
    #expect(
      throws: ActCacheError.unsupported(
        "window of 1 frames, 268435456 bytes of memory, look-ahead -1, 0 threads: allowed are at least 1, 0, 0 and 1...64"
      )
    ) { try TrainingSource(cache, hooks: [Self.hook], seed: 0, lookAhead: -1, nThreads: 0) }
    #expect(throws: ActCacheError.unsupported("batch size 0: allowed are at least 1")) {
      try TrainingReader(source(cache), batchSize: 0)
    }
  }
}
