import Memory
import TestSupport
import Testing

@testable import ActCache

struct OrderTests {
  private func cache(_ n: Int, _ folder: TemporaryFolder, _ small: SmallCache = SmallCache()) throws -> CacheReader {
    try small.write(n, to: folder.path, blockFrames: 2)
    return try CacheReader(path: folder.path)
  }

  private func read(_ reader: TrainingReader, _ batches: Range<Int>) throws -> [[Float]] {
    try batches.map { batch in
      var values = [Float](repeating: .nan, count: reader.batchSize * reader.width)
      var output = values.mutableSpan
      try reader.read(batch: batch, into: &output)
      return values
    }
  }

  @Test(arguments: [0, 1, 2, 3, 4, 5, 16, 17, 1000, 1025])
  func aKeyedPermutationReachesEachIndexOnce(count: Int) {
    for key in [0, 1, 0xDEAD_BEEF] as [UInt64] {
      let permutation = KeyedPermutation(count: count, key: key)
      #expect((0..<count).map { permutation[$0] }.sorted() == Array(0..<count))
    }
  }

  @Test func eachEpochShowsEachTrainingTokenAtMostOnceAndNoHeldOutOne() throws {
    let folder = try TemporaryFolder()
    let cache = try cache(45, folder)
    let heldOut = Set(cache.manifest.heldOut)
    let reader = try TrainingReader(
      cache, hook: "blocks.0.hook_resid_post", batchSize: 7, seed: 1, windowFrames: 4)
    let nTokens = (45 - heldOut.count) * 4
    #expect(reader.nTokensPerEpoch == nTokens && reader.nBatchesPerEpoch == nTokens / 7)
    for epoch in 0..<2 {
      var seen: Set<Int> = []
      for batch in 0..<reader.nBatchesPerEpoch {
        for place in reader.places(batch: epoch * reader.nBatchesPerEpoch + batch) {
          #expect(!heldOut.contains(place.sequence))
          #expect(seen.insert(place.sequence * 4 + place.position).inserted)
        }
      }
      #expect(seen.count == nTokens / 7 * 7)
    }
    #expect(reader.places(batch: 0) != reader.places(batch: reader.nBatchesPerEpoch))
  }

  @Test(arguments: ["zstd:1", "none"], CacheIO.allCases)
  func aBatchHoldsTheActivationsOfItsPlaces(codec: String, io: CacheIO) throws {
    let folder = try TemporaryFolder()
    var small = SmallCache(
      hooks: [StreamSpec.hook("a", width: 5, dtype: "bf16"), StreamSpec.hook("b", width: 18, dtype: "f32")]).coded(
        codec)
    if codec != "none" {
      small.hooks.append(StreamSpec.hook("c", width: 17, dtype: "fix:2", steps: [Float](repeating: 0.25, count: 17)))
    }
    try small.write(45, to: folder.path, blockFrames: 2)
    let cache = try CacheReader(path: folder.path, io: io)
    let reader = try TrainingReader(
      cache, hooks: small.hooks.compactMap(\.hookName), batchSize: 9, seed: 3, windowFrames: 3)
    for batch in [0, 1, 2, 17, 18, 40, 3] {
      for (hook, width) in reader.widths.enumerated() {
        var values = [Float](repeating: .nan, count: 9 * width)
        var output = values.mutableSpan
        try reader.read(batch: batch, hook: hook, into: &output)
        for (row, place) in reader.places(batch: batch).enumerated() {
          for c in 0..<width {
            #expect(values[row * width + c] == small.value(place.sequence, place.position, c, hook: hook))
          }
        }
      }
    }
  }

  @Test func theOrderDependsNeitherOnLookAheadNorOnWhereItBegins() throws {
    let folder = try TemporaryFolder()
    let cache = try cache(45, folder)
    func reader(_ lookAhead: Int) throws -> TrainingReader {
      try TrainingReader(
        cache, hook: "blocks.0.hook_resid_post", batchSize: 8, seed: 5, windowFrames: 3, lookAhead: lookAhead)
    }
    let all = try read(reader(1), 0..<60)
    for lookAhead in [0, 2, 5] { #expect(try read(reader(lookAhead), 0..<60) == all) }
    for start in [1, 7, 20, 21, 41, 59] { #expect(try read(reader(1), start..<60) == Array(all[start...])) }
    #expect(
      try read(
        TrainingReader(
          cache, hook: "blocks.0.hook_resid_post", batchSize: 8, seed: 6, windowFrames: 3), 0..<60) != all)
  }

  @Test func filtersAreAppliedBeforeTheShuffle() throws {
    for pack in ["concatenate", "none"] {
      let folder = try TemporaryFolder()
      let small = SmallCache(pack: pack)
      let cache = try cache(30, folder, small)
      let heldOut = Set(cache.manifest.heldOut)
      func places(_ filter: TokenFilter) throws -> [TokenPlace] {
        let reader = try TrainingReader(
          cache, hook: "blocks.0.hook_resid_post", batchSize: 1, seed: 5, filter: filter, windowFrames: 3)
        return (0..<reader.nBatchesPerEpoch).flatMap { reader.places(batch: $0) }
      }
      func expected(_ isWanted: (Int, Int) -> Bool) -> Set<[Int]> {
        Set(
          (0..<30).filter { !heldOut.contains($0) }.flatMap { s in
            (0..<small.length(s)).filter { isWanted(s, $0) }.map { [s, $0] }
          })
      }
      func set(_ places: [TokenPlace]) -> Set<[Int]> { Set(places.map { [$0.sequence, $0.position] }) }
      #expect(try set(places(TokenFilter())) == expected { _, _ in true })
      #expect(try set(places(TokenFilter(skipsBOS: true))) == expected { _, p in p != 0 })
      #expect(try set(places(TokenFilter(positions: 1..<3))) == expected { _, p in p == 1 || p == 2 })
      #expect(try set(places(TokenFilter(skipsBOS: true, positions: 0..<2))) == expected { _, p in p == 1 })
    }
  }

  @Test func theOrderIsFrozen() throws {
    let folder = try TemporaryFolder()
    let cache = try cache(45, folder)
    let permutation = KeyedPermutation(count: 1000, key: 42)
    #expect((0..<100).map { permutation[$0] } == goldenPermutation)
    #expect(cache.manifest.heldOut == [7, 11, 29])
    let reader = try TrainingReader(
      cache, hook: "blocks.0.hook_resid_post", batchSize: 5, seed: 1, windowFrames: 4)
    let places = (0..<20).flatMap { reader.places(batch: $0) }.map { $0.sequence * 4 + $0.position }
    #expect(places == goldenPlaces)
    let later = (1_000_000..<1_000_002).flatMap { reader.places(batch: $0) }.map { $0.sequence * 4 + $0.position }
    #expect(later == goldenLaterPlaces)
    let sequences = try SequenceReader(cache, seed: 1)
    let numbers = try (0..<20).map { try sequences.sequence($0).number }
    #expect(numbers == goldenSequences)
  }

  /// Digests over long stretches: a cache or a run of today must mean the same to every later version.
  @Test func theDigestsOfTheOrderAreFrozen() throws {
    func digest(_ numbers: some Sequence<Int>) -> String {
      var bytes: [UInt8] = []
      for number in numbers { bytes.append(u32: UInt32(number)) }
      return String(CanonicalJSON.hexDigest(of: bytes).prefix(16))
    }
    let folder = try TemporaryFolder()
    let cache = try cache(200, folder, SmallCache(pack: "none", perShard: 100))
    #expect(digest(cache.manifest.heldOut) == "ce839efc8476a875")
    #expect(digest(HeldOutRule().sequences(of: 100_000)) == "0a096f4fd9798d99")
    for (filter, expected) in [
      (TokenFilter(), "0a6a9b7630427223"), (TokenFilter(skipsBOS: true, positions: 1..<3), "2456700871d3e6d1"),
    ] {
      let reader = try TrainingReader(
        cache, hook: "blocks.0.hook_resid_post", batchSize: 7, seed: 12, filter: filter, windowFrames: 16)
      let places = (0..<3 * reader.nBatchesPerEpoch).flatMap { reader.places(batch: $0) }
      #expect(digest(places.map { $0.sequence * 4 + $0.position }) == expected)
    }
    let sequences = try SequenceReader(cache, seed: 12)
    let numbers = try (0..<3 * sequences.count).map { try sequences.sequence($0).number }
    #expect(digest(numbers) == "859a96ca806fd065")
  }

  @Test func tooLargeABatchIsRefused() throws {
    let folder = try TemporaryFolder()
    let cache = try cache(6, folder)
    #expect(
      throws: ActCacheError.unsupported(
        "a batch of 4096 tokens, but the cache has only 12 to train on; choose a smaller --batch or harvest more "
          + "--tokens")
    ) { try TrainingReader(cache, hook: "blocks.0.hook_resid_post", batchSize: 4096, seed: 0) }
    #expect(
      throws: ActCacheError.missing("\(folder.path): no hook x; the cache holds blocks.0.hook_resid_post")
    ) { try TrainingReader(cache, hook: "x", batchSize: 1, seed: 0) }
  }

  @Test(arguments: ["concatenate", "none"], ["zstd:1", "none"])
  func heldOutAndTrainingSequencesPartTheCache(pack: String, codec: String) throws {
    let folder = try TemporaryFolder()
    let small = SmallCache(pack: pack).coded(codec)
    let cache = try cache(33, folder, small)
    let heldOut = try HeldOutReader(cache)
    let training = try SequenceReader(cache, seed: 9)
    #expect(heldOut.count == 3 && training.count == 30)
    #expect((0..<33).filter { cache.split.training($0) == nil } == cache.manifest.heldOut)
    var numbers: [Int] = []
    func check(_ sequence: CachedSequence, _ read: (inout MutableSpan<Float>) throws -> Void) throws {
      let s = sequence.number
      numbers.append(s)
      #expect(sequence.tokens == (0..<4).map { small.token(s, $0) } && sequence.length == small.length(s))
      var values = [Float](repeating: .nan, count: 20)
      var output = values.mutableSpan
      try read(&output)
      #expect(values == (0..<4).flatMap { p in (0..<5).map { small.value(s, p, $0, hook: 0) } })
    }
    for i in 0..<3 {
      try check(heldOut.sequence(i)) { try heldOut.read(i, hook: "blocks.0.hook_resid_post", into: &$0) }
    }
    #expect(numbers == cache.manifest.heldOut)
    for i in 0..<30 {
      try check(training.sequence(i)) { try training.read(i, hook: "blocks.0.hook_resid_post", into: &$0) }
    }
    #expect(numbers.sorted() == Array(0..<33))
  }

  @Test(arguments: ["bf16", "f32"], ["zstd:1", "none"])
  func activationsOfASequenceAreLent(dtype: String, codec: String) throws {
    let folder = try TemporaryFolder()
    let small = SmallCache(hooks: [StreamSpec.hook("h", width: 5, dtype: dtype)]).coded(codec)
    try small.write(12, to: folder.path)
    for io in CacheIO.allCases {
      let cache = try CacheReader(path: folder.path, io: io)
      let reader = try SequenceReader(cache, seed: 2)
      var starts: [[UInt]] = []
      for _ in 0..<2 {
        starts.append(
          try (0..<reader.count).map { i in
            let s = try reader.sequence(i).number
            return try reader.withActivations(i, hook: "h") { values in
              #expect(values.count == 20)
              for j in values.indices { #expect(values[j] == small.value(s, j / 5, j % 5, hook: 0)) }
              // Where in the pages of the file: values begin a page, a sequence has 80 bytes.
              return values.withUnsafeBufferPointer { UInt(bitPattern: $0.baseAddress) } &- UInt(s % 6 * 80)
            }
          })
      }
      if dtype == "f32", codec == "none", io == .mmap {
        #expect(starts[0] == starts[1] && starts[0].allSatisfy { $0 % 4096 == 0 } && Set(starts[0]).count == 2)
      }
      let heldOut = try HeldOutReader(cache)
      let first = try heldOut.sequence(0).number
      try heldOut.withActivations(0, hook: "h") { #expect($0[7] == small.value(first, 1, 2, hook: 0)) }
    }
  }

  @Test func aBadFrameStopsTrainingAndNamesTheFile() throws {
    let folder = try TemporaryFolder()
    let cache = try cache(12, folder)
    let path = folder.path + "/hooks/blocks.0.hook_resid_post/000000006-000000012.zst"
    var all = try bytes(of: path)
    all[4096 + 40] ^= 4
    try overwrite(path, all)
    let reader = try TrainingReader(cache, hook: "blocks.0.hook_resid_post", batchSize: 2, seed: 0, windowFrames: 1)
    let error = #expect(throws: ActCacheError.self) { _ = try read(reader, 0..<reader.nBatchesPerEpoch) }
    #expect(error?.description.hasPrefix("\(path): frame 0 (bytes 4096..<") == true)
  }
}

private let goldenPermutation: [Int] = [
  38, 460, 729, 632, 631, 484, 308, 383, 316, 831, 127, 815, 279, 909, 752, 191, 56, 673, 605, 138, 357, 319, 544,
  637, 33, 112, 52, 441, 820, 603, 737, 233, 69, 977, 232, 325, 677, 764, 581, 492, 261, 626, 110, 765, 267, 381,
  469, 433, 263, 76, 639, 489, 344, 994, 770, 458, 4, 858, 216, 485, 96, 148, 726, 599, 887, 260, 37, 455, 313, 303,
  760, 294, 904, 156, 32, 304, 877, 23, 229, 54, 668, 2, 954, 248, 230, 794, 911, 800, 447, 651, 691, 336, 115, 583,
  111, 214, 243, 405, 488, 412,
]
private let goldenPlaces: [Int] = [
  97, 98, 99, 179, 41, 39, 42, 37, 38, 36, 35, 100, 96, 32, 43, 102, 176, 178, 40, 34, 103, 33, 101, 177, 128, 18,
  78, 5, 77, 74, 79, 7, 22, 20, 17, 23, 16, 3, 0, 73, 135, 130, 1, 6, 2, 72, 19, 129, 131, 21, 134, 76, 75, 132, 4,
  133, 170, 87, 82, 84, 127, 168, 125, 169, 27, 120, 175, 85, 173, 80, 86, 81, 25, 126, 24, 171, 121, 26, 172, 83,
  122, 124, 123, 174, 140, 48, 115, 54, 113, 137, 69, 138, 67, 50, 55, 49, 51, 142, 53, 65,
]
private let goldenLaterPlaces: [Int] = [
  41, 9, 146, 151, 14, 138, 42, 148, 15, 147,
]
private let goldenSequences: [Int] = [
  17, 26, 3, 0, 15, 28, 23, 4, 44, 8, 24, 42, 40, 27, 32, 21, 12, 37, 13, 19,
]
