import Foundation
import Memory
import TestSupport
import Testing

@testable import ActCache

struct ManifestTests {
  @Test func theManifestIsTheSameWhenItIsMadeAnewFromTheReceipts() throws {
    let folder = try TemporaryFolder()
    try SmallCache().write(20, to: folder.path)
    let written = try CacheReader(path: folder.path).manifest
    let file = try bytes(of: folder.path + "/manifest.json")
    try FileManager.default.removeItem(atPath: folder.path + "/manifest.json")
    #expect(try CacheReader(path: folder.path).manifest == written)
    #expect(try SealedJSON.seal(written, name: "manifest") == file)
    #expect(written.nSequences == 20 && written.isComplete && written.shards.count == 4)
    #expect(written.heldOut.count == 3 && written.context == 4 && written.nTextTokens == 80)
  }

  @Test func everyFlippedBitAndTruncationOfSealedFilesIsDetected() throws {
    let folder = try TemporaryFolder()
    try SmallCache(hooks: [StreamSpec.hook("h", width: 1, dtype: "f32")]).write(6, to: folder.path)
    for (name, path) in [
      ("manifest", "/manifest.json"), ("receipt", "/receipts/hooks/h/000000000-000000006.json"),
      ("receipt", "/receipts/tokens/000000000-000000006.json"), ("generation", "/generations/6.json"),
    ] {
      let whole = try bytes(of: folder.path + path)
      func open(_ bytes: [UInt8]) throws {
        _ = try SealedJSON.open(CanonicalJSONProbe.self, name: name, bytes: bytes, path: path, remedy: "")
      }
      try open(whole)
      for i in whole.indices {
        #if DEBUG
          let bits = [i % 8]
        #else
          let bits = Array(0..<8)
        #endif
        for bit in bits {
          var flipped = whole
          flipped[i] ^= 1 << UInt8(bit)
          #expect(throws: ActCacheError.self, "\(name) byte \(i), bit \(bit)") { try open(flipped) }
        }
        #expect(throws: ActCacheError.self, "\(name) cut at \(i)") { try open(Array(whole.prefix(i))) }
      }
    }
  }

  /// Decodes from anything: only the seal is tested.
  private struct CanonicalJSONProbe: Decodable {}

  @Test func aDamagedManifestNamesItsRemedy() throws {
    let folder = try TemporaryFolder()
    try SmallCache().write(6, to: folder.path)
    let path = folder.path + "/manifest.json"
    try overwrite(path, Array(try bytes(of: path).dropLast(5)))
    let error = #expect(throws: ActCacheError.self) { try CacheReader(path: folder.path) }
    #expect(
      error?.description.hasSuffix("; run actcache index, or remove it; it is made anew from the receipts") == true
        && error?.description.hasPrefix("\(path): the file is cut short or is no manifest of a cache (") == true)
    #expect(error?.exitCode == 65)
  }

  @Test func statisticsAreThoseOfAllTextTokens() throws {
    for pack in ["concatenate", "none"] {
      let folder = try TemporaryFolder()
      let cache = SmallCache(pack: pack, perShard: 4)
      try cache.write(11, to: folder.path)
      let hook = try CacheReader(path: folder.path).hook("blocks.0.hook_resid_post")
      var rows: [[Double]] = []
      for s in 0..<11 {
        for p in 0..<cache.length(s) { rows.append((0..<5).map { Double(cache.value(s, p, $0, hook: 0)) }) }
      }
      let n = Double(rows.count)
      let values = rows.flatMap { $0 }
      let mean = values.reduce(0, +) / (n * 5)
      let norms = rows.map { $0.map { $0 * $0 }.reduce(0, +) }.sorted()
      let statistics = try #require(hook.statistics)
      #expect(statistics.nTokens == rows.count && statistics.nNonFinite == 0)
      #expect(abs(statistics.mean - mean) < 1e-9)
      #expect(abs(statistics.meanNorm - norms.map { $0.squareRoot() }.reduce(0, +) / n) < 1e-9)
      #expect(abs(statistics.maxNorm - norms[norms.count - 1].squareRoot()) < 1e-9)
      #expect(statistics.maxAbs == values.map { abs($0) }.max())
      for c in 0..<5 {
        let m = rows.map { $0[c] }.reduce(0, +) / n
        let v = rows.map { ($0[c] - m) * ($0[c] - m) }.reduce(0, +) / n
        #expect(abs(statistics.channelMean[c] - m) < 1e-9 && abs(statistics.channelVariance[c] - v) < 1e-6)
      }
      // The histogram's bins are 0.8 % wide; between the two middle tokens anything is a median.
      let low = norms[(norms.count - 1) / 2 - 1] * 0.99
      let high = norms[norms.count / 2 + 1] * 1.01
      #expect((low...high).contains(statistics.medianSquaredNorm))
      #expect(abs(hook.scale * hook.scale * statistics.medianSquaredNorm - 5) < 1e-9)
    }
  }

  @Test func aFewHugeTokensDoNotDecideTheScale() {
    var statistics = StreamStatistics(width: 4)
    let typical = [Float](repeating: 2, count: 4 * 99)
    _ = statistics.add(typical.span, from: 0, nRows: 99)
    _ = statistics.add(([5000, 0, 0, 0] as [Float]).span, from: 0, nRows: 1)
    let summary = statistics.summary()
    #expect(abs(summary.scale - 0.5) < 0.005)
    #expect(summary.nOutliers == 1 && summary.maxNorm == 5000)
  }

  @Test func anotherModelIsRefusedWithBothIdentities() throws {
    let folder = try TemporaryFolder()
    let cache = SmallCache()
    try cache.write(6, to: folder.path)
    var other = cache
    other.weights = String(repeating: "b", count: 64)
    let error = #expect(throws: ActCacheError.self) {
      try CacheWriter(path: folder.path, spec: other.spec, streams: other.hooks)
    }
    let keys = try [cache, other].map { try $0.spec.identity.baseKey().prefix(12) }
    #expect(
      error?.description
        == "\(folder.path): this cache was made by \(keys[0]), the command asks for \(keys[1]); it has weights: "
        + "aaaaaaaaaaaa, not bbbbbbbbbbbb. Choose another --out, or repeat the command that made this cache")
    #expect(error?.exitCode == 78)
  }

  @Test func aSettingOutsideTheBaseKeyIsNamedWithoutTheKey() throws {
    let folder = try TemporaryFolder()
    let cache = SmallCache()
    try cache.write(6, to: folder.path)
    var other = cache
    other.perShard = 4
    var error = #expect(throws: ActCacheError.self) {
      try CacheWriter(path: folder.path, spec: other.spec, streams: other.hooks)
    }
    #expect(
      error?.description
        == "\(folder.path): this cache has another setting than the command asks for; it has sequences per shard: 6, not "
        + "4. Choose another --out, or repeat the command that made this cache")
    other = cache
    other.hooks = [StreamSpec.hook("blocks.0.hook_resid_post", width: 5, dtype: "f16", codec: "zstd:2")]
    error = #expect(throws: ActCacheError.self) {
      try CacheWriter(path: folder.path, spec: other.spec, streams: other.hooks)
    }
    #expect(
      error?.description
        == "\(folder.path): hooks/blocks.0.hook_resid_post is there in another form: dtype: bf16, not f16; codec: zstd:1, "
        + "not zstd:2. Choose another --out, or repeat the command that made this stream")
    #expect(error?.exitCode == 78)
  }

  @Test func aHookIsAddedWithoutTouchingWhatIsThere() throws {
    let (folder, fresh) = (try TemporaryFolder(), try TemporaryFolder())
    var cache = SmallCache()
    try cache.write(20, to: folder.path)
    let before = try tree(folder.path)
    cache.hooks.append(StreamSpec.hook("b", width: 3, dtype: "f32"))
    try cache.write(20, to: folder.path)
    let after = try tree(folder.path)
    for (name, bytes) in before where name != "manifest.json" { #expect(after[name] == bytes, "\(name)") }
    // The same as both at once.
    try cache.write(20, to: fresh.path)
    #expect(try tree(fresh.path) == after)
    let manifest = try CacheReader(path: folder.path).manifest
    #expect(
      manifest.isComplete && manifest.generation == 1
        && manifest.hooks.keys.sorted() == ["b", "blocks.0.hook_resid_post"])
  }

  @Test func anEarlierGenerationIsReadAsItWas() throws {
    let folder = try TemporaryFolder()
    let cache = SmallCache(heldOut: HeldOutRule(fraction: 0.1, minimum: 3, seed: 7))
    try cache.write(21, to: folder.path)
    let first = try CacheReader(path: folder.path)
    var batches: [[Float]] = []
    func read(_ cache: CacheReader) throws -> [[Float]] {
      let reader = try TrainingReader(
        cache, hook: "blocks.0.hook_resid_post", batchSize: 8, seed: 3, windowFrames: 3)
      return try (0..<(2 * reader.nBatchesPerEpoch)).map { index in
        var values = [Float](repeating: 0, count: 8 * 5)
        var output = values.mutableSpan
        try reader.read(batch: index, into: &output)
        return values
      }
    }
    batches = try read(first)
    let before = try tree(folder.path)
    try cache.write(50, to: folder.path)
    let after = try tree(folder.path)
    for (name, bytes) in before where name != "manifest.json" { #expect(after[name] == bytes, "\(name)") }

    let grown = try CacheReader(path: folder.path)
    #expect(grown.manifest.generation == 2 && grown.manifest.nSequences == 50)
    #expect(grown.manifest.shards.map(\.end) == [6, 12, 18, 21, 24, 30, 36, 42, 48, 50])
    let old = try CacheReader(path: folder.path, generation: 1)
    #expect(old.manifest == first.manifest)
    #expect(try read(old) == batches)
    #expect(try read(grown) != batches)
    // What was held out stays so, what was trained on is not held out later.
    #expect(grown.manifest.heldOut.filter { $0 < 21 } == first.manifest.heldOut)
    #expect(grown.manifest.heldOut.contains { $0 >= 21 })
    #expect(throws: ActCacheError.missing("\(folder.path): no generation 3; the cache has 2")) {
      try CacheReader(path: folder.path, generation: 3)
    }
    // Every token is where its place says.
    let reader = try TrainingReader(grown, hook: "blocks.0.hook_resid_post", batchSize: 8, seed: 3, windowFrames: 3)
    for index in 0..<reader.nBatchesPerEpoch {
      var values = [Float](repeating: 0, count: 8 * 5)
      var output = values.mutableSpan
      try reader.read(batch: index, into: &output)
      for (row, place) in reader.places(batch: index).enumerated() {
        #expect(values[row * 5 + 2] == cache.value(place.sequence, place.position, 2, hook: 0))
      }
    }
    let held = try HeldOutReader(grown)
    for i in 0..<held.count {
      let sequence = try held.sequence(i)
      #expect(sequence.tokens == (0..<4).map { cache.token(sequence.number, $0) })
    }
  }

  @Test func aStreamThatWasNotHarvestedToTheEndServesTheEarlierGeneration() throws {
    let folder = try TemporaryFolder()
    var cache = SmallCache()
    cache.hooks.append(StreamSpec.hook("b", width: 3, dtype: "f32"))
    try cache.write(12, to: folder.path)
    try SmallCache().write(24, to: folder.path)
    let reader = try CacheReader(path: folder.path)
    #expect(reader.manifest.isComplete && reader.manifest.generation == 2)
    #expect(reader.manifest.shortStreams.map(\.stream.name) == ["hooks/b"])
    let command = "actcache harvest --model MODEL --hook b --out \(folder.path) --dtype f32"
    #expect(
      try Verification(cache: folder.path, level: .quick, threads: 1).findings.map(\.description) == [
        "note: \(folder.path)/hooks/b: it ends with an earlier text, at sequence 12 of 24; \(command) adds the rest"
      ])
    #expect(try reader.hook("blocks.0.hook_resid_post").nSequences == 24)
    let error = #expect(throws: ActCacheError.self) { try reader.hook("b") }
    #expect(
      error?.description
        == "\(folder.path): b is there for sequences 0..<12 of 24; \(command) adds the rest; or use an earlier generation"
    )
    #expect(error?.exitCode == 69)
    #expect(try CacheReader(path: folder.path, generation: 1).hook("b").nSequences == 12)
  }

  @Test func copiedOverlappingAndForeignReceiptsAreDetected() throws {
    let folder = try TemporaryFolder()
    try SmallCache().write(20, to: folder.path)
    let receipts = folder.path + "/receipts/tokens/"
    try FileManager.default.removeItem(atPath: folder.path + "/manifest.json")
    let whole = try bytes(of: receipts + "000000006-000000012.json")
    // Under another name.
    try overwrite(receipts + "000000008-000000014.json", whole)
    var error = #expect(throws: ActCacheError.self) { try CacheReader(path: folder.path) }
    #expect(
      error?.description
        == "\(receipts)000000008-000000014.json: it is the receipt of tokens 6..<12; run actcache repair, or remove it and "
        + "run the same harvest command again")
    try FileManager.default.removeItem(atPath: receipts + "000000008-000000014.json")
    // Of a cache that was cut differently.
    let other = try TemporaryFolder()
    var cut = SmallCache()
    cut.perShard = 8
    try cut.write(20, to: other.path)
    let name = "000000008-000000016"
    try overwrite(receipts + name + ".json", bytes(of: other.path + "/receipts/tokens/\(name).json"))
    try overwrite(folder.path + "/tokens/\(name).zst", bytes(of: other.path + "/tokens/\(name).zst"))
    error = #expect(throws: ActCacheError.self) { try CacheReader(path: folder.path) }
    #expect(error?.exitCode == 78 && error?.description.contains("sequences per shard: 6, not 8") == true)
  }

  @Test func configurationsDifferInMembersOrElseByDigest() throws {
    func spec(_ configuration: String) throws -> CacheSpec {
      let made = try SmallCache().spec
      return try CacheSpec(
        identity: CacheIdentity(
          weights: "w", modelConfiguration: configuration, tokenizer: "t", tokens: made.identity.tokens,
          numerics: "f32 test"), streams: [], nVocabulary: 100, tokensPerShard: 1)
    }
    func differences(_ a: String, _ b: String) throws -> [String] { try spec(a).differences(from: spec(b)) }
    #expect(
      try differences("{\"n_layers\":1,\"n_heads\":2}", "{\"n_layers\":2,\"n_heads\":2,\"x\":[1]}")
        == ["model configuration: n_layers 1, not 2, x nothing, not [1]"])
    #expect(try differences("{\"a\":1}", "{\"a\":1}") == [])
    let long = ["a configuration in words", "a configuration in other words"]
    let digests = long.map { CanonicalJSON.hexDigest(of: Array($0.utf8)).prefix(12) }
    #expect(try differences(long[0], long[1]) == ["model configuration: \(digests[0]), not \(digests[1])"])
    #expect(
      try spec("c").identity.differences(weights: "v", modelConfiguration: "d", numerics: "f32", tokenizer: "u")
        == ["weights: w, not v", "model configuration: c, not d", "numerics: f32 test, not f32", "tokenizer: t, not u"])
  }

  @Test func gapsAndUnfinishedCachesAreNamed() throws {
    let folder = try TemporaryFolder()
    try SmallCache().write(20, to: folder.path, shards: [1, 2])
    let error = #expect(throws: ActCacheError.self) { try CacheReader(path: folder.path) }
    #expect(
      error?.description
        == "\(folder.path): sequences from 0 on are missing; run the same harvest command (or the missing workers) again"
    )
    #expect(error?.exitCode == 69)
    try SmallCache().write(20, to: folder.path, shards: [0])
    #expect(
      throws: ActCacheError.incomplete(
        "\(folder.path): only sequences 0..<18 are there, harvesting is not finished; run the same harvest command "
          + "again to finish it")
    ) { try CacheReader(path: folder.path) }
    #expect(try CacheReader(path: folder.path, allowIncomplete: true).manifest.nSequences == 18)
    #expect(throws: ActCacheError.self) { try CacheReader(path: folder.path + "/nowhere") }
  }

  @Test func aShardOfTheWrongSizeOrPlaceIsRefused() throws {
    let folder = try TemporaryFolder()
    try SmallCache().write(12, to: folder.path)
    let stream = folder.path + "/hooks/blocks.0.hook_resid_post/"
    let first = try bytes(of: stream + "000000000-000000006.zst")
    let second = try bytes(of: stream + "000000006-000000012.zst")
    try overwrite(stream + "000000000-000000006.zst", first + [0])
    let error = #expect(throws: ActCacheError.self) { try CacheReader(path: folder.path) }
    #expect(error?.description.contains("its receipt says \(first.count)") == true)
    // A whole, valid shard of the same stream in another's place, of the same size as it happens.
    if first.count == second.count {
      try overwrite(stream + "000000000-000000006.zst", second)
      let cache = try CacheReader(path: folder.path)
      #expect(throws: ActCacheError.self) { try cache.shard(0, of: "hooks/blocks.0.hook_resid_post") }
    }
  }

  @Test(arguments: [(0, 0), (1, 0), (2, 1), (10, 5), (100, 50), (200, 64), (3200, 64), (10_000, 200)])
  func twoPercentAtLeast64AtMostHalfIsHeldOut(n: Int, expected: Int) {
    let heldOut = HeldOutRule().sequences(of: n)
    #expect(heldOut.count == expected)
    #expect(Set(heldOut).count == expected && heldOut == heldOut.sorted() && heldOut.allSatisfy { $0 >= 0 && $0 < n })
    #expect(HeldOutRule(fraction: 0).sequences(of: n) == [])
  }

  @Test func valuesThatCannotBeStoredAreErrorsThatNameTheirPlace() throws {
    let folder = try TemporaryFolder()
    for (type, value, expected) in [
      ("f16", Float(70_000), "is 70000.0, too large for f16; harvest with --dtype bf16 or f32, or with --saturate"),
      ("bf16", 3.4e38, "is 3.4e+38, too large for bf16; harvest with --dtype f32"),
      ("fix:7", -4.3e6, "is -4300000.0, too large for fix:7 with a step of 0.5; harvest with --dtype bf16 or f32"),
      ("bf16", .nan, "is not finite; check the model's weights, or leave this hook out"),
      ("f32", .infinity, "is not finite; check the model's weights, or leave this hook out"),
    ] {
      let steps = type == "fix:7" ? [Float](repeating: 0.5, count: 5) : nil
      let cache = SmallCache(hooks: [StreamSpec.hook("h", width: 5, dtype: type, steps: steps)])
      let good = try cache.block(0..<2)
      var values = good.activations[0]
      values[5 * 6 + 3] = value
      let block = SequenceBlock(first: 0, tokens: good.tokens, lengths: good.lengths, activations: [values])
      let writer = try CacheWriter(path: folder.path + "/" + type, spec: cache.spec, streams: cache.hooks).begin(0..<2)
      #expect(
        throws: ActCacheError.unrepresentable("h: the activation of sequence 1, position 2, channel 3 \(expected)")
      ) { try writer.append(block) }
    }
  }

  @Test(arguments: [
    (
      StreamSpec.hook("h", width: 5, dtype: "f64"),
      "dtype f64: this version stores bf16, f16, f32, fix:<s> with s 1...12"
    ),
    (
      StreamSpec.hook("h", width: 5, dtype: "bf16", codec: "lz4"),
      "codec lz4: this version stores zstd:<level> with levels 1...19, none"
    ),
    (
      StreamSpec.hook("h", width: 2, dtype: "fix:7", steps: [1]),
      "dtype fix:7 needs 2 steps that are finite and above 0, there are 1"
    ),
    (StreamSpec.hook("a/b", width: 2, dtype: "f32"), "hook name \"a/b\" cannot name a folder"),
    (StreamSpec.hook("h", width: 65_537, dtype: "f32"), "h has 65537 values: allowed are 1...65536"),
  ])
  func unknownDtypesCodecsAndNamesSayWhatThereIs(stream: StreamSpec, message: String) throws {
    let spec = try SmallCache().spec
    let error = #expect(throws: ActCacheError.self) { try spec.validate([stream]) }
    #expect(error?.description == message && error?.exitCode == 64)
  }
}
