import Foundation
import Memory

/// The steps of a fixed-point stream, chosen once: `<stream>/steps.json`, written before its first shard. Receipts and
/// shards repeat them (or their digest); whoever writes first decides for all workers.
package struct FixedPointSteps: Codable, Equatable, Sendable {
  let baseKey: String
  let dtype: String
  package let steps: [Float]

  static func relativePath(_ stream: String) -> String { "\(stream)/steps.json" }

  /// Steps of σ / 2^s for the channels of `statistics`. A channel that hardly moves takes 2^-10 of its size for σ, and
  /// one that is always 0 a millionth of the largest σ, so that 24 bits are enough for it too.
  package static func steps(_ statistics: StreamStatistics, s: Int) -> [Float] {
    let summary = statistics.summary()
    let largest = summary.channelVariance.map { $0.squareRoot() }.max() ?? 0
    return zip(summary.channelMean, summary.channelVariance).map { mean, variance in
      let size = (mean * mean + variance).squareRoot()
      let sigma = max(variance.squareRoot(), size / 1024, largest * 1e-6)
      return Float(max((sigma > 0 ? sigma : 1) / Double(1 << s), 1e-30))
    }
  }

  /// The steps that the cache has chosen for `stream`; nil if nobody has chosen yet.
  /// - Throws: `ActCacheError.mismatch` if they were chosen for another type or cache.
  package static func open(
    cache: String, stream: String, dtype: String, baseKey: String, files: any FileOperations
  ) throws -> [Float]? {
    let path = cache + "/" + relativePath(stream)
    let there: FixedPointSteps
    do {
      there = try SealedJSON.open(
        FixedPointSteps.self, name: "steps", path: path, remedy: "remove it and run the same harvest command again",
        files: files)
    } catch ActCacheError.file(.system(_, _, ENOENT)) { return nil }
    guard there.dtype == dtype, there.baseKey == baseKey else {
      throw ActCacheError.mismatch(
        "\(path): steps of \(there.dtype) for the cache \(there.baseKey.prefix(12)), the command asks for \(dtype) of "
          + "\(baseKey.prefix(12)); choose another --out, or repeat the command that made this stream")
    }
    return there.steps
  }

  /// Writes `steps` unless another process was faster; open them afterwards to see whose they are.
  package static func choose(
    _ steps: [Float], cache: String, stream: String, dtype: String, baseKey: String, files: any FileOperations
  ) throws {
    let bytes = try SealedJSON.seal(FixedPointSteps(baseKey: baseKey, dtype: dtype, steps: steps), name: "steps")
    try fileErrors { () throws(MemoryError) in
      try createFolder(cache + "/" + stream, files: files)
      _ = try DurableFile.writeIfAbsent(bytes, to: cache + "/" + relativePath(stream), files: files)
    }
  }
}
