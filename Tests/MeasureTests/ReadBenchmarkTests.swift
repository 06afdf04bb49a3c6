import ActCache
import Foundation
import Harvest
import LinearAlgebra
import Measure
import TestSupport
import Testing

@Suite(.serialized) struct ReadBenchmarkTests {
  @Test func threadsDoubleUpToTheMachines() {
    #expect(ReadBenchmark.threadCounts(upTo: 1) == [1])
    #expect(ReadBenchmark.threadCounts(upTo: 2) == [1, 2])
    #expect(ReadBenchmark.threadCounts(upTo: 6) == [1, 2, 4, 6])
    #expect(ReadBenchmark.threadCounts(upTo: 8) == [1, 2, 4, 8])
  }

  @Test func everyWayOfReadingIsMeasuredColdAndWarm() throws {
    let harvest = try SmallHarvest()
    let benchmark = ReadBenchmark(cache: harvest.path, hook: "h", batch: 64)
    let result = try benchmark.run()
    let threads = ReadBenchmark.threadCounts(upTo: Threads.count).count
    #expect(result.rows.count == 2 * CacheIO.allCases.count * 3 * threads)
    #expect(result.tokens == harvest.summary.nTokens && result.bytes == result.streamBytes)
    let mixing = try #require(result.mixing)
    #expect(mixing.batchSize == 64 && mixing.measured > 1 && mixing.measured <= 64)
    for row in result.rows {
      #expect(row.tokensPerSecond.repeats == Spread.leastRepeats && row.tokensPerSecond.median > 0)
      #expect(row.state == "warm" || row.isCold)
    }
    #expect(throws: MeasureError.interrupted) { try benchmark.run(isInterrupted: { true }) }
    withExtendedLifetime(harvest) {}
  }

  @Test func ofALargeCacheAPartIsRead() throws {
    let harvest = try SmallHarvest()
    let result = try ReadBenchmark(
      cache: harvest.path, hook: "h", batch: 64, maxValues: 2048 * EchoModel.width, ways: [.pread]
    ).run()
    #expect(result.tokens < harvest.summary.nTokens && result.bytes < result.streamBytes)
  }

  @Test func scanningCoversEveryFrameOnceInEitherOrder() throws {
    try SmallHarvest().withCache { cache in
      let scan = try FrameScan(cache, hook: "h")
      let all = scan.shuffled(.max)
      #expect(all.sorted() == Array(0..<scan.nFrames) && all != Array(0..<scan.nFrames) && scan.nFrames > 8)
      #expect(scan.shuffled(3) == Array(all.prefix(3)))
      #expect(scan.tokens(in: all) == cache.manifest.nTokens)
      for threads in 1...3 { try scan.run(all, threads: threads) }
      try scan.run([], threads: 2)
    }
  }

  @Test func aDamagedFrameStopsTheScan() throws {
    let harvest = try SmallHarvest()
    let cache = try CacheReader(path: harvest.path)
    let file = try #require(cache.manifest.shards.first?.files.first { $0.path.hasPrefix("hooks/") })
    let path = harvest.path + "/" + file.path
    var bytes = try Data(contentsOf: URL(fileURLWithPath: path))
    bytes[5000] ^= 1
    try bytes.write(to: URL(fileURLWithPath: path))
    let scan = try FrameScan(CacheReader(path: cache.path), hook: "h")
    #expect(throws: ActCacheError.self) { try scan.run(Array(0..<scan.nFrames), threads: 2) }
    withExtendedLifetime(harvest) {}
  }
}
