import Dispatch
import Synchronization

/// A frame that is left out because its bytes are damaged.
public struct SkippedFrame: Codable, Equatable, Sendable {
  /// Its number in the cache.
  public let frame: Int
  /// Its sequences, `first..<end`.
  public let first: Int
  public let end: Int
  /// Where the damage is: "tokens" or "hooks/<name>", and the file below the cache's folder. One place of several that
  /// this frame may be damaged in.
  public let stream: String
  public let file: String
  /// What is wrong with which file, and what mends it.
  public let reason: String
}

extension CacheReader {
  /// The frames of `hooks` whose bytes do not have the digest of their index, ascending; with `tokens` also those of
  /// whose tokens this is so. Reads every byte once, on all cores, and decodes nothing.
  /// - Throws: `ActCacheError` for anything but damage.
  func damagedFrames(hooks: [String], tokens: Bool) throws -> [SkippedFrame] {
    let streams = (tokens ? ["tokens"] : []) + hooks.map { "hooks/" + $0 }
    let nShards = manifest.shards.count
    let found = Mutex<(damage: [Int: Damage], failure: (any Error)?)>(([:], nil))
    // Many small pieces, so that the cores end together.
    let piece = 64
    let pieces = (0..<streams.count * nShards).flatMap { i in
      let shard = manifest.shards[i % nShards]
      let nSequences = shard.end - shard.first
      return stride(from: 0, to: nSequences, by: piece * manifest.spec.sequencesPerFrame).map { start in
        (
          stream: streams[i / nShards], shard: i % nShards,
          sequences: start..<min(start + piece * manifest.spec.sequencesPerFrame, nSequences)
        )
      }
    }
    DispatchQueue.concurrentPerform(iterations: pieces.count) { i in
      let (stream, shard, sequences) = pieces[i]
      do {
        let damaged = try damagedSequences(of: stream, shard: shard, sequences)
        found.withLock { found in
          for (range, reason) in damaged {
            let first = manifest.shards[shard].first
            let damage = Damage(stream: stream, shard: shard, reason: reason)
            for frame in frame(ofSequence: first + range.lowerBound)...frame(ofSequence: first + range.upperBound - 1)
            where found.damage[frame].map({ reason < $0.reason }) ?? true { found.damage[frame] = damage }
          }
        }
      } catch { found.withLock { $0.failure = $0.failure ?? error } }
    }
    return try found.withLock { found in
      if let failure = found.failure { throw failure }
      return found.damage.sorted { $0.key < $1.key }.map { frame, damage in
        let range = sequences(ofFrame: frame)
        let shard = manifest.shards[damage.shard]
        return SkippedFrame(
          frame: frame, first: range.lowerBound, end: range.upperBound, stream: damage.stream,
          file: Receipt.filePath(shard.first..<shard.end, of: damage.stream), reason: damage.reason)
      }
    }
  }

  private struct Damage {
    var stream: String
    var shard: Int
    var reason: String
  }

  /// Damaged ones among the frames of a shard that begin in `sequences`, each with its sequences (all counted from the
  /// shard's first).
  private func damagedSequences(
    of stream: String, shard index: Int, _ sequences: Range<Int>
  ) throws -> [(sequences: Range<Int>, reason: String)] {
    let shard: ShardReader
    do { shard = try self.shard(index, of: stream) } catch let error as ActCacheError {
      guard case .damaged = error else { throw error }
      return [(sequences, error.description)]
    }
    var damaged: [(Range<Int>, String)] = []
    let decoder = try FrameDecoder()
    let perFrame = shard.header.sequencesPerFrame
    let first = (sequences.lowerBound + perFrame - 1) / perFrame
    for frame in first..<max(first, (sequences.upperBound + perFrame - 1) / perFrame) {
      do { try shard.check(frame: frame, with: decoder) } catch let error as ActCacheError {
        guard case .damaged = error else { throw error }
        let start = frame * perFrame
        damaged.append((start..<min(start + perFrame, shard.header.nSequences), error.description))
      }
    }
    return damaged
  }
}
