import Foundation
import TestSupport
import Testing

@testable import ActCache

struct CorruptionTests {
  private static let hook = "blocks.0.hook_resid_post"

  private func flip(_ path: String, at offset: Int) throws {
    var all = try bytes(of: path)
    all[offset] ^= 4
    try overwrite(path, all)
  }

  /// Where the data of frame `frame` of a shard begin.
  private func offset(ofFrame frame: Int, _ path: String) throws -> Int {
    let all = try bytes(of: path)
    return all.withRawSpan { bytes in
      let n = Int(bytes.u32(at: all.count - 9) ?? 0)
      let table = all.count - 9 - 12 * n
      return (0...frame).reduce(0) { $0 + Int(bytes.u32(at: table + 12 * $1) ?? 0) }
    }
  }

  private func source(
    _ cache: CacheReader, hooks: [String] = [hook], filter: TokenFilter = TokenFilter(), _ policy: CorruptionPolicy
  ) throws -> TrainingSource {
    try TrainingSource(
      cache, hooks: hooks, seed: 4, filter: filter, windowFrames: 3, nThreads: 2, onCorrupt: policy)
  }

  private func places(_ source: TrainingSource) throws -> [TokenPlace] {
    let reader = try TrainingReader(source, batchSize: 1)
    var values = [Float](repeating: .nan, count: 5)
    return try (0..<reader.nBatchesPerEpoch).flatMap { batch in
      var output = values.mutableSpan
      try reader.read(batch: batch, into: &output)
      let places = reader.places(batch: batch)
      #expect(values == (0..<5).map { SmallCache().value(places[0].sequence, places[0].position, $0, hook: 0) })
      return places
    }
  }

  @Test(arguments: CacheIO.allCases) func skippingLeavesOutDamagedFramesAndNothingElse(io: CacheIO) throws {
    let folder = try TemporaryFolder()
    try SmallCache().write(45, to: folder.path)
    let whole = try places(source(CacheReader(path: folder.path, io: io), .stop))
    #expect(try places(source(CacheReader(path: folder.path, io: io), .skip)) == whole)

    // Frame 1 of the shard of sequences 12..<18, the last frame of all, and everything of 24..<30.
    let files = folder.path + "/hooks/\(Self.hook)/"
    let path = files + "000000012-000000018.zst"
    let start = try offset(ofFrame: 1, path)
    try flip(path, at: start + 9)
    try flip(files + "000000042-000000045.zst", at: try offset(ofFrame: 1, files + "000000042-000000045.zst"))
    try flip(files + "000000024-000000030.zst", at: 100)

    let cache = try CacheReader(path: folder.path, io: io)
    let skipping = try source(cache, .skip)
    #expect(skipping.skipped.map(\.frame) == [7, 12, 13, 14, 22])
    #expect(skipping.skipped.map { [$0.first, $0.end] } == [[14, 16], [24, 26], [26, 28], [28, 30], [44, 45]])
    let remedy = "remove it and run the same harvest command again to write it anew"
    let end = try offset(ofFrame: 2, path)
    #expect(
      skipping.skipped[0].reason
        == "\(path): frame 1 (bytes \(start)..<\(end)) does not have the digest of the index; \(remedy)")
    #expect(skipping.skipped.allSatisfy { $0.stream == "hooks/\(Self.hook)" })
    #expect(skipping.skipped.map { "\(folder.path)/\($0.file)" }[0...1] == [path, files + "000000024-000000030.zst"])
    #expect(skipping.skipped[1].reason.hasPrefix(files + "000000024-000000030.zst: header, index and seek table"))

    let damaged = [14, 15, 24, 25, 26, 27, 28, 29, 44]
    let read = try places(skipping)
    func set(_ places: [TokenPlace]) -> Set<[Int]> { Set(places.map { [$0.sequence, $0.position] }) }
    #expect(set(read) == set(whole.filter { !damaged.contains($0.sequence) }) && read.count == set(read).count)
    // The order is a function of which frames are bad: a second reader has the same.
    #expect(try places(source(CacheReader(path: folder.path, io: io), .skip)) == read)

    #expect(throws: ActCacheError.self) { try places(source(cache, .stop)) }
    // Damage after the check.
    try flip(files + "000000000-000000006.zst", at: 4100)
    if io == .pread { #expect(throws: ActCacheError.self) { try places(skipping) } }
  }

  @Test func tokensAndOtherHooksCountWhereTheyAreRead() throws {
    let folder = try TemporaryFolder()
    let small = SmallCache(hooks: ["a", "b"].map { StreamSpec.hook($0, width: 5, dtype: "bf16") })
    try small.write(12, to: folder.path)
    // Frames of the tokens have three sequences, here 3..<6; the hooks' have two.
    let tokens = folder.path + "/tokens/000000000-000000006.zst"
    try flip(tokens, at: try offset(ofFrame: 1, tokens) + 6)
    let b = folder.path + "/hooks/b/000000006-000000012.zst"
    try flip(b, at: try offset(ofFrame: 2, b) + 6)
    let cache = try CacheReader(path: folder.path)
    func skipped(_ hooks: [String], _ filter: TokenFilter = TokenFilter()) throws -> [Int] {
      try source(cache, hooks: hooks, filter: filter, .skip).skipped.map(\.frame)
    }
    #expect(try skipped(["a"]) == [])
    #expect(try skipped(["b", "a"]) == [5])
    #expect(try skipped(["a", "b"], TokenFilter(skipsBOS: true)) == [1, 2, 5])
    let both = try source(cache, hooks: ["b"], filter: TokenFilter(skipsBOS: true), .skip).skipped
    #expect(both.map(\.stream) == ["tokens", "tokens", "hooks/b"])
    let shards = ["tokens/000000000-000000006.zst", "hooks/b/000000006-000000012.zst"]
    #expect(both.map(\.file) == [shards[0], shards[0], shards[1]])
    let sequences = try SequenceReader(cache, seed: 0, hooks: ["b"], onCorrupt: .skip)
    #expect(sequences.skipped.map(\.frame) == [1, 2, 5])
    let numbers = try (0..<sequences.count).map { try sequences.sequence($0).number }
    #expect(
      Set(numbers) == Set([0, 1, 6, 7, 8, 9]).subtracting(cache.manifest.heldOut) && numbers.count == sequences.count)
  }
}
