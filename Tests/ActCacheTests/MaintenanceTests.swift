import Foundation
import Memory
import TestSupport
import Testing

@testable import ActCache

/// `gc`, `index` and `ls`.
struct MaintenanceTests {
  private let folder: TemporaryFolder
  private var path: String { folder.path + "/cache" }
  private let hook = "blocks.0.hook_resid_post"

  init() throws { folder = try TemporaryFolder() }

  private func age(_ file: String, seconds: Double) throws {
    try FileManager.default.setAttributes(
      [.modificationDate: Date(timeIntervalSinceNow: -seconds)], ofItemAtPath: path + "/" + file)
  }

  @Test func garbageIsRemovedAndNothingElse() throws {
    try SmallCache().write(20, to: path)
    let whole = try tree(path)
    let own = TemporaryName(for: "000000020-000000024.zst").fileName
    let garbage = [
      "tokens/.000000000-000000006.zst.tmp.elsewhere.7.old", "hooks/\(hook)/000000006-000000012.zst.bad",
      "receipts/tokens/000000006-000000012.json.bad", "hooks/\(hook)/000000020-000000026.zst",
      "hooks/other/000000000-000000006.zst", "generations/26.json.bad", "manifest.json.bad",
    ]
    let kept = ["tokens/\(own)", ".manifest.json.tmp.elsewhere.7.new", "tokens/000000020-000000026.zst"]
    let foreign = ["notes.txt", "tokens/README", "hooks/x.zst", ".gitignore", "tokens/1-2.zst.bad"]
    try FileManager.default.createDirectory(atPath: path + "/hooks/other", withIntermediateDirectories: true)
    for file in garbage + kept + foreign { try overwrite(path + "/" + file, [1, 2, 3]) }
    try age(garbage[0], seconds: 3700)

    let dry = try GarbageCollection(cache: path, dryRun: true)
    #expect(Set(dry.removed.map(\.file)) == Set(garbage.map { path + "/" + $0 }) && dry.bytes == 3 * garbage.count)
    for file in garbage { #expect(FileManager.default.fileExists(atPath: path + "/" + file)) }
    let wet = try GarbageCollection(cache: path, dryRun: false)
    #expect(wet.removed == dry.removed && wet.kept == dry.kept)
    for file in garbage { #expect(!FileManager.default.fileExists(atPath: path + "/" + file), "\(file)") }
    for file in kept + foreign { #expect(FileManager.default.fileExists(atPath: path + "/" + file), "\(file)") }
    for (file, data) in whole { #expect(try bytes(of: path + "/" + file) == data) }
    #expect(
      Set(wet.kept.map { "\($0.file.dropFirst(path.count + 1)): \($0.what)" }).isSuperset(of: [
        "tokens/\(own): unfinished, perhaps another machine's; kept for an hour",
        "tokens/000000020-000000026.zst: it has no receipt, so it is not part of the cache; actcache repair \(path) makes "
          + "its receipt anew if it is whole",
      ]), "\(wet.kept)")
    #expect(try GarbageCollection(cache: path, dryRun: false).removed.isEmpty)
  }

  @Test func receiptsOfRangesThatTheTokensAreNotCutIntoAreGarbage() throws {
    try SmallCache().write(20, to: path)
    let whole = try tree(path)
    // Of another cut of the same text, with this cache's chains at both ends.
    var receipts: [Receipt] = []
    let other = try TemporaryFolder()
    var cache = SmallCache()
    cache.perShard = 12
    receipts = try cache.write(20, to: other.path)
    let receipt = try #require(receipts.last { $0.first == 0 })
    let same = try JSONDecoder().decode(
      Receipt.self,
      from: Data(
        String(decoding: CanonicalJSON.encode(receipt), as: UTF8.self).replacing(
          "\"sequencesPerShard\":12", with: "\"sequencesPerShard\":6"
        ).replacing(
          receipt.chainAfter, with: CacheContents(cache: path).tokenReceipts[1].chainAfter
        ).utf8))
    let record = Receipt.relativePath(0..<12, of: same.stream.name)
    try overwrite(path + "/" + record, SealedJSON.seal(same, name: "receipt"))
    try overwrite(path + "/" + same.file.path, bytes(of: other.path + "/" + same.file.path))
    let found = try Verification(cache: path, level: .frames, threads: 1).findings
    #expect(found.count == 2 && found.allSatisfy { $0.kind == .note }, "\(found)")
    #expect(try CacheReader(path: path).manifest.isComplete)
    let garbage = try GarbageCollection(cache: path, dryRun: false)
    #expect(garbage.removed.map(\.file) == [path + "/" + record, path + "/" + same.file.path])
    #expect(try tree(path) == whole)
  }

  @Test func collectingAndIndexingWaitForHarvests() throws {
    try SmallCache().write(6, to: path)
    try overwrite(path + "/tokens/000000000-000000006.zst.bad", [1])
    for mode in [FolderLock.Mode.exclusive, .shared] {
      let lock = try FolderLock(folder: path, mode: mode)
      for attempt: () throws -> Void in [
        { _ = try GarbageCollection(cache: path, dryRun: true) },
        { _ = try GarbageCollection(cache: path, dryRun: false) },
        { _ = try CacheIndex.rebuild(cache: path) },
      ] {
        let error = #expect(throws: ActCacheError.self) { try attempt() }
        #expect(error?.exitCode == 75)
      }
      _ = consume lock
    }
    #expect(try GarbageCollection(cache: path, dryRun: false).removed.count == 1)
  }

  @Test func theIndexSaysWhatChangedAndRefusesToHideDamage() throws {
    try SmallCache().write(6, to: path)
    let manifest = path + "/manifest.json"
    #expect(try CacheIndex.rebuild(cache: path).changes.isEmpty)
    let first = try bytes(of: manifest)
    try SmallCache().write(12, to: path)
    let second = try bytes(of: manifest)
    try overwrite(manifest, first)
    #expect(
      try CacheIndex.rebuild(cache: path).changes.prefix(2) == ["generation 2, it was 1", "sequences 12, it was 6"])
    #expect(try bytes(of: manifest) == second)
    try overwrite(manifest, Array(second.dropLast(9)))
    let damaged = try CacheIndex.rebuild(cache: path).changes
    #expect(
      damaged.count == 1 && damaged[0].hasPrefix("the manifest was damaged: the file is cut short or is no manifest"))
    try FileManager.default.removeItem(atPath: manifest)
    #expect(try CacheIndex.rebuild(cache: path).changes == ["there was no manifest"])
    #expect(try bytes(of: manifest) == second)
    let receipt = path + "/receipts/tokens/000000006-000000012.json"
    try overwrite(receipt, Array(bytes(of: receipt).dropLast()))
    let error = #expect(throws: ActCacheError.self) { try CacheIndex.rebuild(cache: path) }
    #expect(
      error?.exitCode == 65
        && error?.description.hasSuffix("run actcache repair, or remove it and run the same harvest command again")
          == true
    )
    #expect(try bytes(of: manifest) == second)
  }

  @Test func cachesAreFoundBelowAFolder() throws {
    let root = folder.path
    for (name, n) in [("a", 6), ("deep/er/b", 12)] { try SmallCache().write(n, to: root + "/" + name) }
    try SmallCache().write(12, to: root + "/c", shards: [0])
    try SmallCache().write(6, to: root + "/d")
    try FileManager.default.removeItem(atPath: root + "/d/tokens/000000000-000000006.zst")
    try SmallCache().write(6, to: root + "/.hidden/e")
    try overwrite(root + "/manifest.json", Array("{}".utf8))
    try FileManager.default.createSymbolicLink(atPath: root + "/loop", withDestinationPath: root)
    let found = try CacheListing.below(root + "/")
    #expect(found.map(\.path) == ["a", "c", "d", "deep/er/b"].map { root + "/" + $0 })
    #expect(found.map(\.state) == [.complete, .incomplete, .damaged, .complete])
    #expect(found.map(\.sequences) == [6, 6, nil, 12] && found.map(\.generation) == [1, 0, nil, 1])
    #expect(found[0].hooks == [hook] && found[0].tokens == 24 && found[0].baseKey?.count == 64)
    #expect(found[2].problem?.hasPrefix("\(root)/d/tokens/000000000-000000006.zst: the file is gone") == true)
    let files = try tree(root + "/a").filter { $0.key.hasSuffix(".zst") }
    #expect(found[0].bytes == files.values.reduce(0) { $0 + $1.count })
    #expect(try CacheListing.below(root + "/a").map(\.path) == [root + "/a"])
    let lock = try FolderLock(folder: root + "/a")
    #expect(try CacheListing.below(root + "/a").map(\.state) == [.harvesting])
    _ = consume lock
    let error = #expect(throws: ActCacheError.self) { try CacheListing.below(root + "/none") }
    #expect(error == .missing("\(root)/none: no such folder; check the path"))
    let file = #expect(throws: ActCacheError.self) { try CacheListing.below(root + "/manifest.json") }
    #expect(file == .missing("\(root)/manifest.json: a file, not a folder; give a folder with caches in it"))
  }

  @Test(arguments: [
    ("manifest.json", CacheFolder.Kind.manifest),
    ("receipts/tokens/000000000-000000006.json", .receipt(stream: "tokens", 0..<6)),
    ("receipts/hooks/h/000000006-000000012.json", .receipt(stream: "hooks/h", 6..<12)),
    ("receipts/logits/topk:8/000000006-000000012.json", .receipt(stream: "logits/topk:8", 6..<12)),
    ("hooks/h/1000000000-1000000001.zst", .shard(stream: "hooks/h", 1_000_000_000..<1_000_000_001)),
    ("hooks/h/steps.json", .steps(stream: "hooks/h")), ("generations/12.json", .generation(12)),
    ("generations/012.json", .foreign), ("generations/-1.json", .foreign), ("tokens/6-12.zst", .foreign),
    ("tokens/000000012-000000006.zst", .foreign), ("tokens/000000006-000000006.zst", .foreign),
    ("tokens/x/000000000-000000006.zst", .foreign), ("hooks/000000000-000000006.zst", .foreign),
    ("receipts/000000000-000000006.json", .foreign), ("000000000-000000006.zst", .foreign),
    ("tokens/000000000-000000006.zst.bad", .quarantined), ("tokens/x.bad", .foreign), (".lock", .lock),
    (".lock.worker-0-of-2", .lock), ("tokens/.lock", .foreign), (".manifest.json.tmp.h.1.x", .temporary),
    ("tokens/.000000000-000000006.zst.tmp.h.1.x", .temporary), ("tokens/.x.tmp.h.1.x", .foreign), ("", .foreign),
  ])
  func filesAreKnownByTheirPaths(file: String, kind: CacheFolder.Kind) {
    #expect(CacheFolder.kind(of: file) == kind)
  }
}
