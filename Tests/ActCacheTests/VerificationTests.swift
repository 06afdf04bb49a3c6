import Foundation
import Memory
import TestSupport
import Testing

@testable import ActCache

struct VerificationTests {
  private let folder: TemporaryFolder
  private var path: String { folder.path }
  private let hook = "blocks.0.hook_resid_post"

  init() throws { folder = try TemporaryFolder() }

  private func verify(
    _ level: Verification.Level = .digest, threads: Int = 2
  ) throws -> [String] {
    try Verification(cache: path, level: level, threads: threads).findings.map(\.description)
  }

  private func flip(_ file: String, at byte: Int, bit: UInt8 = 0) throws {
    var data = try bytes(of: path + "/" + file)
    data[byte < 0 ? data.count + byte : byte] ^= 1 << bit
    try overwrite(path + "/" + file, data)
  }

  @Test(arguments: ["concatenate", "none"], Verification.Level.allCases)
  func aWholeCacheHasNoFindings(pack: String, level: Verification.Level) throws {
    let cache = SmallCache(
      hooks: [
        StreamSpec.hook(hook, width: 5, dtype: "bf16"), StreamSpec.hook("h", width: 3, dtype: "f32"),
        StreamSpec.hook("half", width: 1, dtype: "f16", codec: "zstd:3"),
        StreamSpec.hook("raw", width: 2, dtype: "f32", codec: "none"),
        StreamSpec.hook("fixed", width: 2, dtype: "fix:2", steps: [0.5, 2]),
      ], pack: pack)
    try FixedPointSteps.choose(
      [0.5, 2], cache: path, stream: "hooks/fixed", dtype: "fix:2", baseKey: cache.spec.identity.baseKey(),
      files: RealFiles())
    try cache.write(20, to: path)
    let result = try Verification(cache: path, level: level, threads: 3)
    #expect(result.findings.isEmpty && !result.wasInterrupted, "\(result.findings)")
    #expect(result.nShards == 24 && result.nFrames == (level == .quick ? 0 : 7 + 5 * 10))
  }

  @Test func everyProblemIsReportedWithItsFileAndRemedy() throws {
    try SmallCache(hooks: [StreamSpec.hook("h", width: 5, dtype: "bf16"), StreamSpec.hook("i", width: 2, dtype: "f32")])
      .write(20, to: path)
    let size = try bytes(of: path + "/hooks/h/000000000-000000006.zst").count
    try overwrite(
      path + "/hooks/h/000000000-000000006.zst",
      Array(try bytes(of: path + "/hooks/h/000000000-000000006.zst").dropLast()))
    try flip("hooks/h/000000006-000000012.zst", at: 4110)
    try flip("hooks/h/000000012-000000018.zst", at: 20)
    try FileManager.default.removeItem(atPath: path + "/hooks/i/000000000-000000006.zst")
    try flip("receipts/hooks/i/000000006-000000012.json", at: 30)
    try FileManager.default.removeItem(atPath: path + "/receipts/hooks/i/000000012-000000018.json")
    try overwrite(path + "/hooks/h/.000000000-000000006.zst.tmp.h.1.x", [1])
    try overwrite(path + "/hooks/i/000000018-000000020.zst.bad", [1])
    try overwrite(path + "/notes.txt", [1])
    let repair = "run actcache repair \(path)"
    let gc = "actcache gc \(path) removes it"
    let start = try #require(
      ShardReader(path: path + "/hooks/h/000000018-000000020.zst", bytes: nil).byteRange(ofFrame: 0))
    let frame = try ShardReader(path: path + "/hooks/h/000000006-000000012.zst", bytes: nil).byteRange(ofFrame: 0)
    #expect(start.lowerBound == 4096)
    let found = try verify(.frames)
    let expected = [
      "corrupt: \(path)/hooks/h/000000000-000000006.zst: the file has \(size - 1) bytes, its receipt says \(size); \(repair)",
      "corrupt: \(path)/hooks/h/000000006-000000012.zst: frame 0 (bytes 4096..<\(frame.upperBound)) does not have the "
        + "digest of the index; \(repair)",
      "corrupt: \(path)/hooks/h/000000012-000000018.zst: header, index and seek table do not have the SHA-256 that the "
        + "index states; \(repair)",
      "corrupt: \(path)/hooks/i/000000000-000000006.zst: the file is gone, its receipt names it; \(repair)",
    ]
    #expect(Array(found.prefix(4)) == expected)
    #expect(found[4].hasPrefix("corrupt: \(path)/receipts/hooks/i/000000006-000000012.json: its content has SHA-256 "))
    #expect(
      Array(found.dropFirst(5)) == [
        "incomplete: \(path)/hooks/i: sequences 12..<18 of 20 are missing; \(repair)",
        "note: \(path)/hooks/h/.000000000-000000006.zst.tmp.h.1.x: a process that was killed left it unfinished; \(gc)",
        "note: \(path)/hooks/i/000000012-000000018.zst: its receipt is gone, the manifest names it; actcache repair "
          + "\(path) makes the receipt anew if the file is whole",
        "note: \(path)/hooks/i/000000018-000000020.zst.bad: it was moved aside because it is damaged; \(gc)",
        "note: \(path)/notes.txt: no file of a cache; nothing here reads or removes it",
      ], "\(found.joined(separator: "\n"))")
    // The quick level does not look into frames.
    #expect(try verify(.quick).count == found.count - 1)
  }

  @Test(arguments: Verification.Level.allCases) func everyFlippedBitIsFoundByItsLevel(level: Verification.Level) throws
  {
    try SmallCache(hooks: [StreamSpec.hook("h", width: 1, dtype: "f32")]).write(6, to: path)
    for name in ["tokens", "hooks/h"] {
      let file = "\(name)/000000000-000000006.zst"
      let whole = try bytes(of: path + "/" + file)
      let shard = try ShardReader(path: path + "/" + file, bytes: nil)
      let frames =
        shard.byteRange(ofFrame: 0).lowerBound..<shard.byteRange(ofFrame: shard.header.nFrames - 1).upperBound
      // The header's padding is long and all alike.
      for i in whole.indices where i < 8 || i > 4088 && (level == .frames || i % 5 == 0) || i % 397 == 0 {
        var flipped = whole
        flipped[i] ^= 1 << UInt8(i % 8)
        try overwrite(path + "/" + file, flipped)
        let found = try Verification(cache: path, level: level, threads: 1).findings
        #expect(
          found.count == 1 || level == .quick && frames.contains(i) && found.isEmpty, "\(file) byte \(i): \(found)")
        #expect(found.allSatisfy { $0.kind == .corrupt && $0.file == path + "/" + file && $0.moves.count == 2 })
      }
      try overwrite(path + "/" + file, whole)
    }
  }

  @Test func aShardOfAnotherTextIsFoundAndNotItsNeighbours() throws {
    try SmallCache().write(20, to: path)
    let other = try TemporaryFolder()
    var cache = SmallCache()
    cache.nVocabulary = 40
    try cache.write(20, to: other.path)
    // All of it, receipts too: each file is right in itself.
    for i in 0..<4 {
      let range = Receipt.rangeName((i * 6)..<min(20, i * 6 + 6))
      let files = ["tokens/\(range).zst", "receipts/tokens/\(range).json"]
      let own = try files.map { try bytes(of: path + "/" + $0) }
      for file in files { try overwrite(path + "/" + file, bytes(of: other.path + "/" + file)) }
      #expect(
        try verify(.quick) == [
          "corrupt: \(path)/receipts/tokens/\(range).json: it is of another text than the records beside it; run actcache "
            + "repair \(path)"
        ])
      // The file alone.
      try overwrite(path + "/" + files[1], own[1])
      let (quick, frames, digest) = try (verify(.quick), verify(.frames), verify(.digest))
      let sameSize = try bytes(of: path + "/" + files[0]).count == own[0].count
      #expect(quick.count == (sameSize ? 0 : 1) && frames.count == 1 && digest.count == 1, "\(frames)")
      if sameSize { #expect(frames[0].contains(": its tokens give the chain "), "\(frames)") }
      try overwrite(path + "/" + files[0], own[0])
    }
    #expect(try verify().isEmpty)
  }

  @Test func swappedShardsOfOneSizeAreFoundByTheirHeaders() throws {
    try SmallCache(hooks: [StreamSpec.hook("h", width: 5, dtype: "f32", codec: "none")]).write(12, to: path)
    let files = ["000000000-000000006", "000000006-000000012"].map { path + "/hooks/h/\($0).zst" }
    let shards = try files.map(bytes)
    for (file, shard) in zip(files, shards.reversed()) { try overwrite(file, shard) }
    let keys = try CacheReader(path: path).manifest.hooks["h"]?.streamKey.prefix(12) ?? ""
    #expect(
      try verify(.quick) == [
        "corrupt: \(files[0]): it holds hooks/h 6..<12 of stream \(keys), not hooks/h 0..<6 of \(keys); run actcache repair "
          + path,
        "corrupt: \(files[1]): it holds hooks/h 0..<6 of stream \(keys), not hooks/h 6..<12 of \(keys); run actcache repair "
          + path,
      ])
  }

  @Test func aShardThatIsWholeButHoldsOtherValuesIsFoundByItsDigest() throws {
    let stream = StreamSpec.hook("h", width: 5, dtype: "f32", codec: "none")
    try SmallCache(hooks: [stream]).write(6, to: path)
    let other = try TemporaryFolder()
    try SmallCache(hooks: [StreamSpec.hook("before", width: 5, dtype: "f32", codec: "none"), stream])
      .write(6, to: other.path)
    let file = "/hooks/h/000000000-000000006.zst"
    let (mine, theirs) = (try bytes(of: path + file), try bytes(of: other.path + file))
    #expect(mine.count == theirs.count && mine != theirs)
    try overwrite(path + file, theirs)
    #expect(try verify(.frames).isEmpty)
    let found = try verify(.digest)
    #expect(
      found == [
        "corrupt: \(path + file): its SHA-256 is \(CanonicalJSON.hexDigest(of: theirs).prefix(12)), its receipt says "
          + "\(CanonicalJSON.hexDigest(of: mine).prefix(12)); run actcache repair \(path)"
      ])
  }

  @Test(arguments: [(Float.nan, "not finite"), (7, "7.0, but it is padding")])
  func valuesThatNoWriterStoresAreFound(value: Float, what: String) throws {
    let stream = StreamSpec.hook("h", width: 3, dtype: "f32", codec: "none")
    let cache = SmallCache(hooks: [stream], pack: "none", perShard: 4, perFrame: 2)
    try cache.write(4, to: path)
    let receipt = try #require(CacheContents(cache: path).receipts["hooks/h"]?.first)
    // Sequence 1 has two tokens of text; the value at its position 2 is written with all digests right.
    let writer = try ShardWriter.start(
      folder: path, relativePath: receipt.file.path, header: ShardHeader(stream, of: cache.spec, range: 0..<4),
      files: RealFiles())
    var contents: [UInt8] = []
    for (i, number) in try cache.block(0..<4).activations[0].enumerated() {
      contents.append(u32: (i == (4 + 2) * 3 + 1 ? value : number).bitPattern)
    }
    for half in [contents.prefix(contents.count / 2), contents.suffix(contents.count / 2)] {
      try writer.append(EncodedFrame(bytes: Array(half), contentBytes: half.count))
    }
    let file = try writer.commit()
    let json = String(decoding: try CanonicalJSON.encode(receipt), as: UTF8.self)
      .replacing(receipt.file.sha256, with: file.sha256)
    let forged = try JSONDecoder().decode(Receipt.self, from: Data(json.utf8))
    try overwrite(
      path + "/receipts/hooks/h/000000000-000000004.json", SealedJSON.seal(forged, name: "receipt"))
    try CacheIndex.rebuild(cache: path)
    #expect(
      try verify(.digest) == [
        "corrupt: \(path)/\(receipt.file.path): frame 0: the value of sequence 1, position 2, channel 1 is \(what); run "
          + "actcache repair \(path)"
      ])
  }

  @Test func recordsOfAnotherCacheAreFound() throws {
    try SmallCache().write(20, to: path)
    let other = try TemporaryFolder()
    try SmallCache(weights: String(repeating: "b", count: 64)).write(20, to: other.path)
    for file in ["receipts/hooks/\(hook)/000000006-000000012.json", "generations/20.json"] {
      try overwrite(path + "/" + file, bytes(of: other.path + "/" + file))
    }
    let found = try verify(.quick)
    #expect(found.count == 3, "\(found)")
    #expect(found[0].hasPrefix("corrupt: \(path)/generations/20.json: it is of another cache ("))
    #expect(
      found[1]
        == "corrupt: \(path)/receipts/hooks/\(hook)/000000006-000000012.json: it is of another cache: weights: bbbbbbbbbbbb, "
        + "not aaaaaaaaaaaa; run actcache repair \(path)")
    #expect(found[2].hasPrefix("incomplete: \(path)/generations: the harvest is not finished; 20 sequences are there;"))
  }

  @Test func aDuplicateReceiptUnderAnotherNameIsFound() throws {
    try SmallCache().write(12, to: path)
    for name in ["000000000-000000012.json", "copy.json"] {
      let file = "receipts/tokens/\(name)"
      try overwrite(path + "/" + file, bytes(of: path + "/receipts/tokens/000000000-000000006.json"))
      #expect(
        try verify(.quick) == [
          "corrupt: \(path)/\(file): it is the receipt of tokens 0..<6; run actcache repair \(path)"
        ])
      try FileManager.default.removeItem(atPath: path + "/" + file)
    }
  }

  @Test func whatIsMissingIsSaidOnce() throws {
    try SmallCache().write(24, to: path, shards: [0, 1, 3])
    let again = "run the same harvest command again"
    #expect(try verify(.quick) == ["incomplete: \(path)/tokens: sequences 12..<18 are missing; \(again)"])
    try SmallCache().write(24, to: path)
    #expect(try verify(.quick).isEmpty)
    try FileManager.default.removeItem(atPath: path + "/generations/24.json")
    #expect(
      try verify(.quick).first
        == "incomplete: \(path)/generations: the harvest is not finished; 24 sequences are there; \(again)")
    try SmallCache().write(24, to: path)
    // A longer text, begun.
    try SmallCache().write(36, to: path, shards: [4])
    #expect(
      try verify(.quick) == [
        "incomplete: \(path)/generations: the harvest of the longer text is not finished; 30 sequences are there; \(again)"
      ])
  }

  @Test func aManifestThatLagsBehindOrIsDamagedNamesTheIndexCommand() throws {
    try SmallCache().write(6, to: path)
    let old = try bytes(of: path + "/manifest.json")
    try SmallCache().write(12, to: path)
    let new = try bytes(of: path + "/manifest.json")
    try overwrite(path + "/manifest.json", old)
    #expect(
      try verify(.quick) == [
        "incomplete: \(path)/manifest.json: it does not say what the receipts say: generation 2, it was 1; sequences 12, it "
          + "was 6; shards 2, it was 1; held-out sequences 4, it was 3; \(hook): sequences 12, it was 6; \(hook): bytes "
          + "\(try hookBytes(12)), it was \(try hookBytes(6)); run actcache index \(path)"
      ])
    try overwrite(path + "/manifest.json", Array(new.dropLast()))
    let found = try verify(.quick)
    #expect(found.count == 1 && found[0].hasSuffix("bytes); run actcache index \(path)"), "\(found)")
    try FileManager.default.removeItem(atPath: path + "/manifest.json")
    #expect(
      try verify(.quick) == [
        "note: \(path)/manifest.json: it is missing; readers make it anew each time; run actcache index \(path)"
      ])
  }

  private func hookBytes(_ n: Int) throws -> Int {
    try CacheContents(cache: path).receipts["hooks/" + hook, default: []].filter { $0.end <= n }
      .reduce(0) { $0 + $1.file.bytes }
  }

  @Test func tokensOutsideTheVocabularyAndBrokenPaddingAreFound() throws {
    // Written by a program with a fault: every digest is right.
    var cache = SmallCache(pack: "none")
    try cache.write(6, to: path)
    let receipt = try #require(CacheContents(cache: path).tokenReceipts.first)
    let check = try ShardCheck(cache: path, receipt: receipt)
    #expect(throws: ActCacheError.self) { try check.tokens(nVocabulary: 20) }
    let error = #expect(throws: ActCacheError.self) { try check.tokens(nVocabulary: 2) }
    #expect(
      error?.description.contains("token 23 of sequence 2, position 1, is outside the vocabulary of 2") == true
        || error?.description.contains("is outside the vocabulary of 2") == true)
    #expect(try check.tokens(nVocabulary: 100).lengths == (0..<6).map { UInt32(cache.length($0)) })
    // Lengths that do not fit the zeros of the values.
    let values = try #require(CacheContents(cache: path).receipts["hooks/" + hook]?.first)
    var faults: [String] = []
    try ShardCheck(cache: path, receipt: values).checkFrames(0..<3, lengths: [1, 1, 3, 4, 1, 2]) { frame, error in
      faults.append("\(frame): \(error)")
    }
    #expect(faults.count == 1 && faults[0].contains("frame 0: the value of sequence 1, position 1, channel 0 is "))
    cache.pack = "concatenate"
  }

  @Test func wrongPathsAreSaidToBeWrong() throws {
    func message(_ path: String) -> String {
      let error = #expect(throws: ActCacheError.self) { try Verification(cache: path, level: .quick, threads: 1) }
      #expect(error?.exitCode == 66)
      return error?.description ?? ""
    }
    #expect(message(path + "/none") == "\(path)/none: no such folder; check the path")
    #expect(
      message(path + "/")
        == "\(path): no cache there; give the folder that holds receipts/ and manifest.json (actcache ls \(path) finds the "
        + "caches below it)")
    try overwrite(path + "/file", [1])
    #expect(message(path + "/file") == "\(path)/file: a file, not a folder; give the folder of a cache")
  }

  @Test func aRunningHarvestsFilesAreNoLeftOvers() throws {
    try SmallCache().write(12, to: path)
    try overwrite(path + "/tokens/.000000012-000000018.zst.tmp.h.1.x", [1])
    #expect(try verify(.quick).count == 1)
    for mode in [FolderLock.Mode.exclusive, .shared] {
      let lock = try FolderLock(folder: path, mode: mode)
      let survey = try CacheSurvey(path)
      #expect(survey.isBusy && survey.findings.isEmpty)
      #expect(
        throws: ActCacheError.busy(
          "\(path): another process is harvesting into this folder; wait for it and run this again")
      ) { _ = try CacheLock(survey.folder) }
      _ = consume lock
    }
    #expect(try verify(.quick).count == 1)
  }

  @Test func anInterruptedVerificationSaysSo() throws {
    try SmallCache().write(12, to: path)
    #expect(try Verification(cache: path, level: .frames, threads: 1, isInterrupted: { true }).wasInterrupted)
  }
}
