import ActCache
import Foundation
import LinearAlgebra
import Memory

/// Reads a hook's stream from a cold and a warm page cache, frames in order, frames shuffled, and as training does.
package struct ReadBenchmark {
  package enum Access: String, Codable, CaseIterable, Sendable {
    case inOrder = "frames in order"
    case shuffled = "frames shuffled"
    case batches = "shuffled batches"
  }

  package struct Row: Codable, Sendable {
    package var access: Access
    /// How files are read.
    package var io: CacheIO
    package var isCold: Bool
    /// Part of the stream's files that was in memory before a run, the largest of the repeats.
    package var residentBefore = 0.0
    /// That decode; batches are gathered on one more.
    package var threads: Int
    package var tokensPerSecond = Spread([0], seconds: 0)
    /// Of the file, per second.
    package var diskBytesPerSecond = 0.0
  }

  package struct Result: Codable, Sendable {
    package var cache, hook, dtype, codec: String
    package var width, frames, tokens: Int
    /// Of the stream on disk, and of what each run reads.
    package var streamBytes, bytes: Int
    package var batch: Int
    package var rows: [Row]
    /// Of the first batches as training reads them, with its own windows.
    package var mixing: MixingMetric?
  }

  private let path: String
  private let hook: String
  private let batch: Int
  private let maxValues: Int
  private let ways: [CacheIO]
  private let dropsAll: Bool

  /// - Parameters:
  ///   - maxValues: that a run reads at most, of a large cache.
  ///   - ways: how to read files.
  ///   - dropsAll: before cold runs, forget the contents of all files on the machine (root alone), not only of these.
  package init(
    cache: String, hook: String, batch: Int = 4096, maxValues: Int = 1 << 26,
    ways: [CacheIO] = CacheIO.allCases, dropsAll: Bool = false
  ) {
    path = cache
    self.hook = hook
    self.batch = batch
    self.maxValues = maxValues
    self.ways = ways
    self.dropsAll = dropsAll
  }

  /// Of a run that reads batches.
  private static let windows = 8

  /// 1, 2, 4 … and the machine's own number.
  package static func threadCounts(upTo most: Int) -> [Int] {
    var counts: [Int] = []
    var n = 1
    while n < most {
      counts.append(n)
      n *= 2
    }
    return counts + [max(1, most)]
  }

  /// - Parameter isInterrupted: asked before each row.
  package func run(isInterrupted: () -> Bool = { false }) throws -> Result {
    let cache = try CacheReader(path: path)
    let stream = try cache.hook(hook)
    let extent = try extent(of: cache)
    var result = Result(
      cache: path, hook: hook, dtype: stream.dtype, codec: stream.codec, width: stream.width, frames: extent.frames,
      tokens: extent.tokens, streamBytes: stream.bytes, bytes: extent.bytes, batch: batch, rows: [])
    for isCold in [true, false] {
      for access in Access.allCases {
        for io in ways {
          for threads in ReadBenchmark.threadCounts(upTo: Threads.count) {
            if isInterrupted() { throw MeasureError.interrupted }
            result.rows.append(try row(access, io: io, isCold: isCold, threads: threads))
          }
        }
      }
    }
    let reader = try TrainingReader(cache, hook: hook, batchSize: batch, seed: 0)
    result.mixing = reader.mixing(batches: 0..<min(8, reader.nBatchesPerEpoch))
    return result
  }

  /// What one run reads.
  private func extent(of cache: CacheReader) throws -> (frames: Int, tokens: Int, bytes: Int) {
    let stream = try cache.hook(hook)
    let scan = try FrameScan(cache, hook: hook)
    let perFrame = cache.manifest.spec.sequencesPerFrame * cache.manifest.context * stream.width
    let frames = min(scan.nFrames, max(1, maxValues / perFrame))
    let tokens = scan.tokens(in: Array(0..<frames))
    let bytes = Double(stream.bytes) * Double(tokens) / Double(max(1, cache.manifest.nTokens))
    return (frames, tokens, Int(bytes))
  }

  /// One way of reading, five times and more.
  package func row(_ access: Access, io: CacheIO, isCold: Bool, threads: Int) throws -> Row {
    let extent = try extent(of: CacheReader(path: path))
    var row = Row(access: access, io: io, isCold: isCold, threads: threads)
    var (values, total) = ([Double](), 0.0)
    // A run that is not counted fills the page cache; a cold one needs none.
    for repeats in (isCold ? 1 : 0)...Spread.leastRepeats {
      if isCold { try drop() }
      let before = try residentShare()
      let start = ContinuousClock.now
      let tokens = try read(row, nFrames: extent.frames)
      let seconds = (ContinuousClock.now - start) / .seconds(1)
      guard repeats > 0 else { continue }
      row.residentBefore = max(row.residentBefore, before)
      values.append(Double(tokens) / seconds)
      total += seconds
    }
    row.tokensPerSecond = Spread(values, seconds: total)
    row.diskBytesPerSecond = row.tokensPerSecond.median * Double(extent.bytes) / Double(max(1, extent.tokens))
    return row
  }

  /// Reads once, from opening the cache on: pages that are mapped could not be dropped. Returns the number of tokens.
  private func read(_ row: Row, nFrames: Int) throws -> Int {
    let cache = try CacheReader(path: path, io: row.io)
    if row.access == .batches { return try readBatches(cache, threads: row.threads, nFrames: nFrames) }
    let scan = try FrameScan(cache, hook: hook)
    let frames = row.access == .inOrder ? Array(0..<nFrames) : scan.shuffled(nFrames)
    try scan.run(frames, threads: row.threads)
    return scan.tokens(in: frames)
  }

  private func readBatches(_ cache: CacheReader, threads: Int, nFrames: Int) throws -> Int {
    // Several windows, so that the first, for which everybody waits, is not all there is.
    let reader = try TrainingReader(
      cache, hook: hook, batchSize: batch, seed: 0, windowFrames: max(1, nFrames / ReadBenchmark.windows),
      nThreads: min(64, threads))
    let perFrame = cache.manifest.spec.sequencesPerFrame * cache.manifest.context
    let n = max(1, min(reader.nBatchesPerEpoch, nFrames * perFrame / batch))
    var values = [Float](repeating: 0, count: batch * reader.width)
    for i in 0..<n {
      var span = values.mutableSpan
      try reader.read(batch: i, into: &span)
    }
    return n * batch
  }

  private var files: [String] { get throws { try ReadBenchmark.files(cache: path, hook: hook) } }

  private static func files(cache path: String, hook: String) throws -> [String] {
    let files = try CacheReader(path: path).manifest.shards.flatMap(\.files)
    return files.filter { $0.path.hasPrefix("hooks/\(hook)/") }.map { path + "/" + $0.path }
  }

  /// Tries again for a while: threads of the run before may still be reading ahead.
  private func drop() throws {
    for _ in 0..<100 {
      if dropsAll { try PageCache.dropAll() }
      for file in try files { try PageCache.drop(file) }
      if try residentShare() < 0.01 { return }
      Thread.sleep(forTimeInterval: 0.02)
    }
  }

  private func residentShare() throws -> Double { try ReadBenchmark.residentShare(cache: path, hook: hook) }

  /// Part of a stream's files that is in memory, 0 to 1.
  package static func residentShare(cache path: String, hook: String) throws -> Double {
    let files = try files(cache: path, hook: hook)
    return try files.reduce(0) { $0 + (try PageCache.residentShare($1)) } / Double(max(1, files.count))
  }
}
