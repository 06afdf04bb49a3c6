import ActCache
import Foundation
import LinearAlgebra
import SAE
import TestSupport
import Testing
import Train

/// A cache of 200 sequences of 8 positions in frames of 512 bytes (4 sequences), whose values name their place. No
/// position 0 holds anything but BOS; with `isPadded`, text ends after 2 to 8 positions.
private struct PlacesCache {
  static let hook = "blocks.0.hook_resid_post"
  /// Twice as wide, with values ten times as large; only with `hasTarget`.
  static let target = "blocks.1.hook_mlp_out"
  static let (nSequences, context, width, frameBytes) = (200, 8, 4, 512)
  let folder: TemporaryFolder
  var path: String { folder.path + "/cache" }

  static func length(_ sequence: Int, _ isPadded: Bool) -> Int { isPadded ? 2 + sequence % 7 : context }

  init(bos: Int? = 1, isPadded: Bool = false, hasTarget: Bool = false) throws {
    folder = try TemporaryFolder()
    let hook = StreamSpec.hook(Self.hook, width: Self.width, dtype: "f32", codec: "zstd:1")
    let target = StreamSpec.hook(Self.target, width: 2 * Self.width, dtype: "f32", codec: "zstd:1")
    let streams = hasTarget ? [hook, target] : [hook]
    let tokens = TokenSpec(
      context: Self.context, pack: isPadded ? "none" : "concatenate", bos: bos, separator: nil, padding: 0,
      documentSeparator: "", textField: "text")
    let spec = try CacheSpec(
      identity: CacheIdentity(
        weights: "w", modelConfiguration: "c", tokenizer: "t", tokens: tokens, numerics: "f32 test"),
      streams: streams, nVocabulary: 100, tokensPerShard: 64 * Self.context,
      heldOut: HeldOutRule(fraction: 0.02, minimum: 6), minFrameBytes: Self.frameBytes)
    let writer = try CacheWriter(path: folder.path + "/cache", spec: spec, streams: streams)
    var chain = TokenChain(baseKey: try spec.identity.baseKey())
    for first in stride(from: 0, to: Self.nSequences, by: 64) {
      let range = first..<min(first + 64, Self.nSequences)
      let lengths = range.map { UInt32(Self.length($0, isPadded)) }
      let block = SequenceBlock(
        first: first, tokens: range.flatMap { s in (0..<Self.context).map { $0 == 0 ? 1 : UInt32(2 + (s + $0) % 90) } },
        lengths: lengths,
        activations: streams.map { stream in
          range.flatMap { s in
            (0..<Self.context).flatMap { p in
              let value = p < Self.length(s, isPadded) ? Float(s * Self.context + p + 1) : 0
              return [Float](repeating: stream.width == Self.width ? value : 10 * value, count: stream.width)
            }
          }
        })
      let before = chain
      chain.append(tokens: block.tokens, lengths: isPadded ? lengths : [])
      let shard = try writer.begin(range)
      try shard.append(block)
      _ = try shard.commit(chain: (before, chain))
    }
    try writer.writeGeneration(nSequences: Self.nSequences, chain: chain, corpora: ["t"], counts: CorpusCounts())
    try writer.writeManifest()
  }

  /// Flips a bit in the first frame of the shard of sequences `range`, or back.
  func flipFirstFrame(of range: String) throws {
    let url = URL(fileURLWithPath: "\(path)/hooks/\(Self.hook)/\(range).zst")
    var bytes = try Data(contentsOf: url)
    bytes[4096 + 30] ^= 1
    try bytes.write(to: url)
  }
}

@Suite struct CacheBatchesTests {
  /// A token's activations at both hooks, in whatever window; the second hook is wider, its values are ten times as large.
  @Test func aTargetHookIsReadAtTheSameTokens() throws {
    let cache = try PlacesCache(hasTarget: true)
    let source = try CacheBatches(
      CacheReader(path: cache.path), hook: PlacesCache.hook, targetHook: PlacesCache.target, batchSize: 16, seed: 3,
      reading: {
        var options = ReadingOptions(); options.windowBytes = 7 * 3 * PlacesCache.frameBytes; return options
      }())
    #expect(source.target?.width == 8 && source.width == 4 && source.provenance.targetHook == PlacesCache.target)
    #expect(source.identity.target != nil && source.identity.target != source.identity.stream)
    // A frame of both takes three times as much as one of the narrow one: the window has 7 of them.
    #expect(source.identity.windowFrames == 7)
    var x = Matrix(16, 4)
    var y = Matrix(16, 8)
    for index in 0..<200 {
      try source.read(batch: index, into: &x, target: &y)
      for row in 0..<16 { for column in 0..<8 { #expect(y[row, column] == 10 * x[row, 0]) } }
    }
  }

  @Test func aMissingTargetHookComesWithTheCommandThatAddsIt() throws {
    let cache = try PlacesCache()
    let target = "blocks.0.hook_mlp_out"
    #expect(
      throws: ActCacheError.missing(
        "\(cache.path): no hook \(target); the cache holds \(PlacesCache.hook); to add it: actcache harvest --model MODEL "
          + "--hook \(target) --out \(cache.path) --dtype f32")
    ) {
      _ = try CacheBatches(
        CacheReader(path: cache.path), hook: PlacesCache.hook, targetHook: target, batchSize: 16, seed: 3)
    }
  }

  private func batches(
    _ cache: PlacesCache, io: CacheIO = .mmap, batch: Int = 16, _ change: (inout ReadingOptions) -> Void = { _ in }
  ) throws -> CacheBatches {
    var options = ReadingOptions()
    change(&options)
    return try CacheBatches(
      CacheReader(path: cache.path, io: io), hook: PlacesCache.hook, batchSize: batch, seed: 3, reading: options)
  }

  /// Places (sequence · context + position) of the first `count` batches.
  private func places(_ source: CacheBatches, _ count: Int, batch: Int = 16) throws -> [Int] {
    var rows = Matrix(batch, source.width)
    return try (0..<count).flatMap { index in
      try source.read(batch: index, into: &rows)
      return (0..<batch).map { Int(rows[$0, 0]) - 1 }
    }
  }

  @Test(arguments: [false, true]) func filtersLeaveOutTheirTokensAndAreCounted(isPadded: Bool) throws {
    let cache = try PlacesCache(isPadded: isPadded)
    let heldOut = Set(try CacheReader(path: cache.path).manifest.heldOut)
    for (skipsBOS, skipped) in [(false, 0), (true, 0), (false, 3), (true, 1), (true, 2)] {
      let source = try batches(cache) {
        $0.filter = TokenFilter(skipsBOS: skipsBOS, positions: skipped > 0 ? skipped..<Int.max : nil)
      }
      let from = max(skipped, skipsBOS ? 1 : 0)
      let expected = Set(
        (0..<PlacesCache.nSequences).filter { !heldOut.contains($0) }.flatMap { sequence in
          (0..<PlacesCache.length(sequence, isPadded)).filter { $0 >= from }
            .map { sequence * PlacesCache.context + $0 }
        })
      #expect(source.tokensPerEpoch == expected.count, "BOS \(skipsBOS), from \(skipped)")
      let read = try places(source, source.tokensPerEpoch / 16)
      #expect(Set(read).count == read.count && Set(read).isSubset(of: expected))
    }
  }

  @Test(arguments: [false, true]) func tokensOfOutlyingNormsAreLeftOutAndCounted(isPadded: Bool) throws {
    let cache = try PlacesCache(isPadded: isPadded)
    let reader = try CacheReader(path: cache.path)
    let heldOut = Set(reader.manifest.heldOut)
    // A token's norm is twice the number of its place: those above the limit are the last ones.
    let median = try #require(reader.manifest.hooks[PlacesCache.hook]?.statistics?.medianSquaredNorm).squareRoot()
    let limit = 1.5 * median
    for first in [0, 2] {
      let source = try batches(cache) {
        $0.filter = TokenFilter(positions: first..<Int.max, maxNormRatio: 1.5)
      }
      let all = (0..<PlacesCache.nSequences).filter { !heldOut.contains($0) }.flatMap { sequence in
        (0..<PlacesCache.length(sequence, isPadded)).filter { $0 >= first }.map { sequence * PlacesCache.context + $0 }
      }
      let expected = Set(all.filter { Double(2 * ($0 + 1)) <= limit })
      #expect(expected.count < all.count && source.tokensPerEpoch == expected.count)
      #expect(
        source.identity.outliers
          == DataIdentity.Outliers(maxNorm: limit, tokens: all.count - expected.count) && source.outliers != nil)
      let read = try places(source, source.tokensPerEpoch / 16)
      #expect(Set(read).count == read.count && Set(read).isSubset(of: expected))
    }
    let whole = try batches(cache)
    #expect(whole.outliers == nil && whole.farTokens.count == 0 && abs(whole.farTokens.largest - 2) < 0.1)
  }

  @Test func theOrderDependsOnTheWindowAndNotOnMemoryOrHowFilesAreRead() throws {
    let cache = try PlacesCache()
    func places(_ io: CacheIO = .mmap, window: Int, memory: Int) throws -> [Int] {
      try self.places(batches(cache, io: io) { ($0.windowBytes, $0.memoryBytes) = (window, memory) }, 30)
    }
    let window = 5 * PlacesCache.frameBytes
    let all = try places(window: window, memory: window)
    for io in CacheIO.allCases {
      for memory in [window, 3 * window, 1 << 28] { #expect(try places(io, window: window, memory: memory) == all) }
    }
    #expect(try places(window: 2 * window, memory: 1 << 28) != all)
    let source = try batches(cache) { $0.windowBytes = window + 511 }
    #expect(source.identity.windowFrames == 5)
  }

  @Test func optionsThatLeaveNothingAreNamed() throws {
    let cache = try PlacesCache(bos: nil)
    func message(_ change: (inout ReadingOptions) -> Void) -> String {
      do { _ = try batches(cache, change) } catch { return "\(error)" }
      return "accepted"
    }
    #expect(
      message { ($0.windowBytes, $0.memoryBytes) = (2560, 2559) }
        == "memory is 2559 bytes, but a window of this run takes 2560 (5 frames of 512); give --memory 2560 or more, or "
        + "a smaller --window, which changes the order of the tokens")
    // More than the cache has is no reason to refuse.
    #expect(message { ($0.windowBytes, $0.memoryBytes) = (1 << 30, 1 << 20) } == "accepted")
    #expect(message { ($0.windowBytes, $0.memoryBytes) = (1, 512) } == "accepted")
    #expect(
      message { $0.filter.positions = 8..<Int.max }
        == "skip-positions is 8, but the sequences of \(cache.path) have 8; choose less")
    #expect(message { $0.filter.skipsBOS = true }.contains("harvested without BOS, there is none to skip"))
  }

  @Test func damagedFramesStopOrAreLeftOut() throws {
    let cache = try PlacesCache()
    let whole = try batches(cache)
    try cache.flipFirstFrame(of: "000000064-000000128")
    let error = #expect(throws: ActCacheError.self) { try places(batches(cache, io: .pread), 90) }
    #expect("\(try #require(error))".contains("000000064-000000128.zst: frame 0"))
    let source = try batches(cache) { $0.onCorrupt = .skip }
    let skipped = try #require(source.identity.skipped)
    #expect(skipped == source.skipped && skipped.map { [$0.frame, $0.first, $0.end] } == [[16, 64, 68]])
    #expect(
      skipped[0].stream == "hooks/\(PlacesCache.hook)"
        && skipped[0].file == "hooks/\(PlacesCache.hook)/000000064-000000128.zst")
    let read = try places(source, source.tokensPerEpoch / 16)
    #expect(Set(read.map { $0 / 8 }).isDisjoint(with: 64..<68))
    let heldOut = try CacheReader(path: cache.path).manifest.heldOut
    #expect(whole.tokensPerEpoch - source.tokensPerEpoch == 8 * Set(64..<68).subtracting(heldOut).count)
  }

  private func configuration(_ cache: PlacesCache) -> TrainConfiguration {
    var configuration = TrainConfiguration(cache: cache.path, hook: PlacesCache.hook, out: cache.folder.path + "/run")
    configuration.latents = "2x"
    configuration.k = 2
    configuration.batch = 16
    configuration.tokens = 16 * 12
    configuration.logSteps = 3
    configuration.checkpointSteps = 5
    configuration.normalization = "factor:0.001"
    return configuration
  }

  private func run(_ configuration: TrainConfiguration, stop: Int = .max) throws -> TrainRun.Outcome {
    var reading = try configuration.readingOptions()
    reading.leavingOut = RunFolder(configuration.out).skippedFrames
    let source = try CacheBatches(
      CacheReader(path: configuration.cache, io: configuration.io), hook: configuration.hook,
      batchSize: configuration.batch, seed: configuration.seed, reading: reading)
    var steps = 0
    return try TrainRun(configuration, source: source).run(
      resuming: true,
      isInterrupted: {
        steps += 1
        return steps > stop
      })
  }

  private func metrics(_ configuration: TrainConfiguration) throws -> [StepMetrics] {
    try #require(FileManager.default.contents(atPath: configuration.out + "/metrics.jsonl"))
      .split(separator: 0x0A).map { try JSONDecoder().decode(StepMetrics.self, from: $0) }
  }

  @Test func aRunGoesOnWithOtherMemoryButNotWithOtherTokens() throws {
    let cache = try PlacesCache()
    var whole = configuration(cache)
    whole.out += "-whole"
    #expect(try run(whole) == .finished)
    var parts = configuration(cache)
    #expect(try run(parts, stop: 4) == .interrupted(step: 4))

    var other = parts
    other.skipPositions = 1
    #expect(
      throws: TrainError.invalid(
        "\(parts.out): holds a run with other settings (skip-positions: 0; skip-positions: 1); choose another --out, or "
          + "remove that folder")
    ) { try run(other) }
    other = parts
    other.onCorrupt = .skip
    #expect(throws: TrainError.self) { try run(other) }
    other = parts
    other.window = "1KiB"
    #expect(throws: TrainError.self) { try run(other) }

    parts.io = .pread
    parts.memory = "130MiB"
    #expect(try run(parts) == .finished)
    let weights = "/sae/sae_weights.safetensors"
    #expect(
      FileManager.default.contents(atPath: parts.out + weights)
        == FileManager.default.contents(atPath: whole.out + weights))
    let (a, b) = (try metrics(parts), try metrics(whole))
    #expect(a.map(\.sequences) == b.map(\.sequences) && a.map(\.sequencesExpected) == b.map(\.sequencesExpected))
    for line in a {
      let (measured, expected) = (try #require(line.sequences), try #require(line.sequencesExpected))
      // 16 of some 1,550 tokens of 194 sequences: 15.4 on average.
      #expect((12...16).contains(measured) && abs(expected - 15.4) < 0.1, "\(measured), \(expected)")
    }
  }

  @Test func aRunWithoutOutliersGoesOnWithTheSameTokens() throws {
    let cache = try PlacesCache()
    var whole = configuration(cache)
    whole.skipOutliers = 1.5
    whole.out += "-whole"
    #expect(try run(whole) == .finished)
    var parts = whole
    parts.out = cache.folder.path + "/run"
    #expect(try run(parts, stop: 4) == .interrupted(step: 4))
    var other = parts
    other.skipOutliers = 1.6
    #expect(
      throws: TrainError.invalid(
        "\(parts.out): holds a run with other settings (skip-outliers: 1.5e+0; skip-outliers: 1.6e+0); choose another "
          + "--out, or remove that folder")
    ) { try run(other) }
    #expect(try run(parts) == .finished)
    for file in ["sae/sae_weights.safetensors", "data.json"] {
      #expect(
        FileManager.default.contents(atPath: "\(parts.out)/\(file)")
          == FileManager.default.contents(atPath: "\(whole.out)/\(file)"))
    }
  }

  @Test func aRunGoesOnOnlyWithoutTheSameFrames() throws {
    let cache = try PlacesCache()
    var configuration = configuration(cache)
    configuration.onCorrupt = .skip
    try cache.flipFirstFrame(of: "000000064-000000128")
    #expect(try run(configuration, stop: 4) == .interrupted(step: 4))
    let data = try #require(FileManager.default.contents(atPath: configuration.out + "/data.json"))
    let identity = try JSONDecoder().decode(DataIdentity.self, from: data)
    #expect(identity.skipped?.map { [$0.frame, $0.first, $0.end] } == [[16, 64, 68]])

    try cache.flipFirstFrame(of: "000000128-000000192")
    #expect(
      throws: TrainError.mismatch(
        "\(configuration.out): was begun with frame 16 left out as damaged, now it would be frames 16, 32, which changes "
          + "the order of the tokens; repair the cache (`actcache repair`), or choose another --out")
    ) { try run(configuration) }
    // Mended, both: what was left out stays left out.
    try cache.flipFirstFrame(of: "000000128-000000192")
    try cache.flipFirstFrame(of: "000000064-000000128")
    #expect(try run(configuration) == .finished)
    #expect(FileManager.default.contents(atPath: configuration.out + "/data.json") == data)
    try cache.flipFirstFrame(of: "000000064-000000128")
    var whole = configuration
    whole.out += "-whole"
    #expect(try run(whole) == .finished)
    let weights = "/sae/sae_weights.safetensors"
    #expect(
      FileManager.default.contents(atPath: configuration.out + weights)
        == FileManager.default.contents(atPath: whole.out + weights))
  }
}
