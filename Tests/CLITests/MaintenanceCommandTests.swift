import Foundation
import Memory
import TestSupport
import Testing

/// `ls`, `verify`, `repair`, `index`, `gc`, `export` and `dump` as a user meets them.
@Suite struct MaintenanceCommandTests {
  private let folder: TemporaryFolder
  private var cache: String { folder.path + "/cache" }
  private let hook = "hook_embed"
  private var shard: String { "\(cache)/hooks/\(hook)/000000000-000000032.zst" }
  private var receipt: String { "\(cache)/receipts/hooks/\(hook)/000000000-000000032.json" }

  /// A cache of two shards, made once.
  private static let whole: (folder: TemporaryFolder, harvest: Outcome)? = {
    guard let folder = try? TemporaryFolder() else { return nil }
    let harvest = try? actcache(
      "harvest", "--model", "data/model", "--corpus", "data/stories.jsonl.zst", "--hook", "hook_embed", "--context",
      "16",
      "--tokens", "1024", "--shard-tokens", "512", "--out", folder.path + "/cache", "--json")
    return harvest.map { (folder, $0) }
  }()

  init() throws {
    folder = try TemporaryFolder()
    let whole = try #require(Self.whole)
    #expect(whole.harvest.status == 0, "\(whole.harvest)")
    try FileManager.default.copyItem(atPath: whole.folder.path + "/cache", toPath: folder.path + "/cache")
  }

  private func json(_ outcome: Outcome) throws -> [String: Any] {
    try #require(try JSONSerialization.jsonObject(with: Data(outcome.output.utf8)) as? [String: Any], "\(outcome)")
  }

  private func flip(_ file: String, at byte: Int) throws {
    var data = try Data(contentsOf: URL(fileURLWithPath: file))
    data[byte] ^= 1
    try data.write(to: URL(fileURLWithPath: file))
  }

  private func files() throws -> [String: Data] {
    var files: [String: Data] = [:]
    for file in try FileManager.default.subpathsOfDirectory(atPath: cache) where !file.hasPrefix(".lock") {
      files[file] = FileManager.default.contents(atPath: cache + "/" + file)
    }
    return files
  }

  @Test func damageIsFoundRepairedAndClearedAway() throws {
    let whole = try files()
    let fine = try actcache("verify", cache, "--digest")
    #expect(fine.status == 0 && fine.output.hasPrefix("\(cache): nothing is wrong (digest: 4 shards, "), "\(fine)")
    #expect(try json(actcache("verify", cache, "--json"))["outcome"] as? String == "fine")

    try flip(shard, at: 5000)
    let found = try actcache("verify", cache)
    #expect(found.status == 65)
    #expect(found.output.hasPrefix("corrupt: \(shard): frame 0 (bytes 4096..<"), "\(found)")
    #expect(
      found.output.contains(
        ") does not have the digest of the index; run actcache repair \(cache)\n\(cache): 1 problem (frames: "))
    #expect(try actcache("verify", cache, "--quick").status == 0)
    let parsed = try json(actcache("verify", cache, "--json"))
    let findings = try #require(parsed["findings"] as? [[String: String]])
    #expect(parsed["outcome"] as? String == "corrupt" && findings.map { $0["file"] } == [shard])

    let closely = try json(actcache("verify", cache, "--digest", "--json"))
    let fault = (closely["findings"] as? [[String: String]])?.first?["what"] ?? ""
    #expect(fault.hasPrefix("its SHA-256 is ") && fault.contains("; frame 0 (bytes "), "\(fault)")
    let aside = try actcache("repair", cache)
    #expect(aside.status == 69, "\(aside)")
    #expect(
      aside.output == """
        moved aside: \(receipt): it goes with \(shard)
        moved aside: \(shard): \(fault)
        incomplete: \(cache)/hooks/\(hook): sequences 0..<32 of 64 are missing; run actcache repair \(cache)
        \(cache): to harvest again what was damaged: actcache repair \(cache) --model MODEL

        """)
    let train = try actcache("train", "--cache", cache, "--hook", hook, "--out", folder.path + "/run")
    #expect(train.status == 66 || train.status == 69, "\(train)")
    let repaired = try actcache("repair", cache, "--model", "data/model")
    #expect(repaired.status == 0, "\(repaired)")
    #expect(
      repaired.output
        == "harvested again: \(shard)\n\(cache): repaired; actcache gc \(cache) removes the .bad files\n")
    let again = try actcache("repair", cache, "--model", "data/model")
    #expect(
      again.status == 0 && again.output == "\(cache): nothing to repair; actcache gc \(cache) removes the .bad files\n")
    let dry = try actcache("gc", cache, "--dry-run")
    #expect(dry.output.contains("would remove \(receipt).bad (") && dry.status == 0, "\(dry)")
    let collected = try json(actcache("gc", cache, "--json"))
    #expect((collected["removed"] as? [Any])?.count == 2)
    #expect(try actcache("gc", cache).output == "\(cache): nothing to remove\n")
    #expect(try files() == whole)
  }

  @Test func damagedTokensNeedTheText() throws {
    let whole = try files()
    try flip(cache + "/tokens/000000032-000000064.zst", at: 4200)
    let first = try actcache("repair", cache, "--model", "data/model")
    #expect(
      first.status == 69
        && first.output.hasSuffix(
          "tokens are damaged, so the text is needed: actcache repair \(cache) --model MODEL --corpus stories.jsonl.zst\n"
        ),
      "\(first)")
    #expect(
      try actcache("repair", cache, "--model", "data/model", "--corpus", "data/stories.jsonl.zst").status == 0)
    _ = try actcache("gc", cache)
    #expect(try files() == whole)
  }

  @Test func theModelIsRecognised() throws {
    let fine = try actcache("verify", cache, "--quick", "--recompute", "5", "--model", "data/model")
    #expect(fine.status == 0, "\(fine)")
    #expect(
      fine.output.hasPrefix(
        "recomputed: hooks/\(hook) (bf16): all of 10,240 values of 5 sequences are exactly the model's\n"), "\(fine)")
    // The same names and shapes, one weight changed.
    let other = folder.path + "/model"
    try FileManager.default.copyItem(
      at: SharedInputs.packageRoot.appendingPathComponent("data/model"), to: URL(fileURLWithPath: other))
    let weights = try #require(
      try FileManager.default.contentsOfDirectory(atPath: other).first { $0.hasSuffix(".safetensors") })
    let size = try Data(contentsOf: URL(fileURLWithPath: "\(other)/\(weights)")).count
    try flip("\(other)/\(weights)", at: size - 100)
    let changed = try actcache("verify", cache, "--quick", "--recompute", "5", "--model", other)
    #expect(changed.status == 78, "\(changed)")
    #expect(changed.output.hasPrefix("otherModel: \(cache): it was made with another model: weights: "), "\(changed)")
    let repair = try actcache("repair", cache, "--model", other)
    #expect(repair.status == 78 && repair.errors.contains("this cache was made with another model"), "\(repair)")
  }

  @Test func theManifestIsMadeAnew() throws {
    let whole = try files()
    #expect(
      try actcache("index", cache).output == "\(cache): the manifest was right before; generation 1, 64 sequences\n")
    try flip(cache + "/manifest.json", at: 50)
    #expect(try actcache("info", cache).status == 65)
    let damaged = try actcache("verify", cache, "--quick")
    #expect(damaged.status == 65 && damaged.output.contains("; run actcache index \(cache)\n"), "\(damaged)")
    let index = try actcache("index", cache)
    #expect(
      index.status == 0 && index.output.hasPrefix("the manifest was damaged: its content has SHA-256 "), "\(index)")
    #expect(try json(actcache("index", cache, "--json"))["changes"] as? [String] == [])
    #expect(try files() == whole)
  }

  @Test func cachesAreListedAndSequencesShown() throws {
    let list = try actcache("ls", folder.path)
    #expect(
      list.status == 0 && list.output.contains("\(cache)  complete           1         64   1,024  \(hook)"), "\(list)")
    let caches = try #require(try json(actcache("ls", cache, folder.path, "--json"))["caches"] as? [[String: Any]])
    #expect(caches.map { $0["path"] as? String } == [cache, cache] && caches[0]["state"] as? String == "complete")
    let partly = try actcache("ls", folder.path + "/none", folder.path)
    #expect(
      partly.status == 66 && partly.output.contains(cache)
        && partly.errors == "actcache: \(folder.path)/none: no such folder; check the path\n", "\(partly)")
    try FileManager.default.createDirectory(atPath: folder.path + "/empty", withIntermediateDirectories: true)
    let empty = try actcache("ls", folder.path + "/empty")
    #expect(empty.status == 0 && empty.errors == "actcache: no cache at or below \(folder.path)/empty\n")

    let dump = try actcache("dump", cache, "--sequence", "40", "--model", "data/model", "--positions", "1")
    #expect(dump.status == 0, "\(dump)")
    #expect(dump.output.hasPrefix("\(cache): sequence 40, "))
    #expect(dump.output.contains("tokens  \(cache)/tokens/000000032-000000064.zst, frame 0 (bytes 4096..<"))
    let parsed = try json(actcache("dump", cache, "--sequence", "40", "--json"))
    #expect((parsed["tokens"] as? [Int])?.count == 16 && parsed["text"] == nil)
    #expect(try actcache("dump", cache, "--sequence", "64").status == 66)
    #expect(try actcache("info", cache).output.contains("layout     32 sequences per shard, "))
  }

  @Test func activationsAreExported() throws {
    let out = folder.path + "/x.safetensors"
    let export = try actcache(
      "export", cache, "--hook", hook, "--sequences", "0-64", "--to", "safetensors", "--out", out, "--json")
    #expect(export.status == 0, "\(export)")
    #expect(export.errors.hasPrefix("actcache: note: 32 of these sequences are held out ("), "\(export)")
    #expect(try json(export)["shape"] as? [Int] == [64, 16, 128])
    #expect(try SafetensorsFile(path: out).tensors["activations"]?.shape == [64, 16, 128])
    let training = try actcache(
      "export", cache, "--hook", hook, "--to", "npy", "--out", folder.path + "/x.npy", "--training-only", "--tokens")
    #expect(training.status == 0 && !training.errors.contains("held out"), "\(training)")
    #expect(training.output.hasSuffix("\(folder.path)/x.npy\n32 × 16 × 128 f32, 265 kB\n"), "\(training)")
    #expect(try actcache("export", cache, "--hook", hook, "--to", "csv", "--out", out).status == 64)
    #expect(try actcache("export", cache, "--hook", "h", "--to", "npy", "--out", out).status == 66)
    #expect(try actcache("export", cache, "--hook", hook, "--to", "npy", "--out", cache + "/x.npy").status == 64)
    #expect(
      try actcache("export", cache, "--hook", hook, "--to", "npy", "--out", folder.path + "/no/x.npy").status == 73)
  }

  @Test(arguments: ["verify", "repair", "index", "gc", "info", "dump --sequence 1", "export --hook h --to npy --out x"])
  func pathsThatAreNoCacheAreRefusedInWords(command: String) throws {
    let words = command.split(separator: " ").map(String.init)
    func run(_ path: String) throws -> Outcome { try actcache([words[0], path] + words.dropFirst()) }
    let before = try files()
    let none = try run(folder.path + "/none")
    #expect(
      none.status == 66 && none.output.isEmpty
        && none.errors == "actcache: \(folder.path)/none: no such folder; check the path\n", "\(none)")
    let file = try run(shard)
    #expect(
      file.status == 66 && file.errors == "actcache: \(shard): a file, not a folder; give the folder of a cache\n",
      "\(file)")
    let other = try run(folder.path)
    #expect(other.status == 66 && other.errors.hasPrefix("actcache: \(folder.path): no cache there; "), "\(other)")
    #expect(try files() == before)
  }

  @Test(arguments: [
    ["verify", "c", "--quick", "--digest"], ["verify", "c", "--recompute", "3"], ["verify", "c", "--model", "m"],
    ["verify", "c", "--recompute", "0", "--model", "m"], ["repair", "c", "--corpus", "t.txt"], ["gc"], ["index"],
    ["dump", "c"], ["dump", "c", "--sequence", "1", "--positions", "-1"],
    ["export", "c", "--hook", "h", "--to", "npy"],
  ])
  func nonsenseIsAUsageError(arguments: [String]) throws {
    let outcome = try actcache(arguments)
    #expect(outcome.status == 64 && outcome.output.isEmpty && !outcome.errors.isEmpty, "\(outcome)")
  }

  @Test func aBusyCacheIsNotTouched() throws {
    try flip(shard, at: 5000)
    let before = try files()
    let lock = try FolderLock(folder: cache, mode: .shared)
    for command in [["gc", cache], ["gc", cache, "--dry-run"], ["index", cache], ["repair", cache]] {
      let outcome = try actcache(command)
      #expect(
        outcome.status == 75
          && outcome.errors
            == "actcache: \(cache): another process is harvesting into this folder; wait for it and run this again\n",
        "\(outcome)")
    }
    #expect(try actcache("verify", cache).status == 65)
    #expect(try actcache("ls", cache).output.contains("harvesting"))
    _ = consume lock
    #expect(try files() == before)
  }

  @Test func receiptsThatAreGoneAreMissedByEverybodyAndMadeAnew() throws {
    let whole = try files()
    try FileManager.default.removeItem(atPath: "\(cache)/receipts/hooks")
    let gone =
      "\(cache): receipts of hooks/\(hook) that the manifest names are gone (2 in all); run actcache repair \(cache)"
    let info = try actcache("info", cache)
    #expect(info.output.hasPrefix("\(cache): incomplete; \(gone.dropFirst(cache.count + 2))\n"), "\(info)")
    let train = try actcache("train", "--cache", cache, "--hook", hook, "--out", folder.path + "/run")
    #expect(train.status == 69 && train.errors == "actcache: \(gone)\n", "\(train)")
    #expect(try actcache("verify", cache, "--quick").status == 69)
    let index = try actcache("index", cache)
    #expect(index.status == 69 && index.errors.contains("--forget gives up"), "\(index)")
    let kept = try actcache("gc", cache)
    #expect(kept.status == 0 && kept.output.contains("kept \(shard) ("), "\(kept)")
    #expect(kept.output.contains(": its receipt is gone, the manifest names it; actcache repair "), "\(kept)")
    let repair = try actcache("repair", cache, "--model", "data/model")
    #expect(repair.status == 0 && repair.output.contains("harvested again: \(shard)\n"), "\(repair)")
    #expect(try files() == whole)

    try FileManager.default.removeItem(atPath: "\(cache)/receipts")
    for command in ["info", "ls"] {
      let outcome = try actcache(command, cache)
      #expect(command == "ls" ? outcome.output.contains("incomplete") : outcome.status == 69, "\(outcome)")
    }
    let anew = try actcache("repair", cache)
    #expect(anew.status == 0 && anew.output.contains("made anew: \(receipt)\n"), "\(anew)")
    #expect(anew.output.contains("note: the statistics in 2 of these receipts are of the values as they are stored, "))
    #expect(try actcache("verify", cache, "--digest").status == 0)
    #expect(try Set(files().keys) == Set(whole.keys))
    #expect(try files().filter { $0.key.hasSuffix(".zst") } == whole.filter { $0.key.hasSuffix(".zst") })

    try FileManager.default.removeItem(atPath: "\(cache)/receipts/hooks")
    #expect(try actcache("index", cache, "--forget").output.contains("\(hook) is gone"))
    #expect(try actcache("verify", cache, "--quick").status == 0)
  }

  @Test func aHookThatWasNotAskedForOfALongerTextIsNamedWithTheCommandThatAddsIt() throws {
    func harvest(_ tokens: String?, _ hooks: String...) throws -> Outcome {
      try actcache(
        ["harvest", "--model", "data/model", "--out", cache]
          + (tokens.map { ["--corpus", "data/stories.jsonl.zst", "--context", "16", "--tokens", $0] } ?? []) + [
            "--hook"
          ]
          + hooks)
    }
    #expect(try harvest("1024", "blocks.0.hook_resid_post").status == 0)
    let longer = try harvest("2048", "blocks.0.hook_resid_post")
    let command = "actcache harvest --model MODEL --hook \(hook) --out \(cache)"
    #expect(
      longer.status == 0
        && longer.errors.hasSuffix(
          "actcache: \(cache): hooks/\(hook) ends with an earlier text, at sequence 64 of 128; \(command) adds the rest\n"
        ),
      "\(longer)")
    let verify = try actcache("verify", cache)
    #expect(verify.status == 0 && verify.output.contains("; \(command) adds the rest\n\(cache): nothing is wrong"))
    let info = try actcache("info", cache)
    #expect(
      info.output.hasPrefix(
        "\(cache): complete, generation 2; hooks/\(hook) has 64 of 128 sequences, \(command) adds the rest\n"),
      "\(info)")
    let added = try harvest(nil, hook)
    #expect(added.status == 0 && !added.errors.contains("adds the rest"), "\(added)")
    #expect(try actcache("info", cache).output.hasPrefix("\(cache): complete, generation 2\n"))
    // An extension that stopped on the way.
    #expect(try harvest("3072", "blocks.0.hook_resid_post", hook).status == 0)
    try FileManager.default.removeItem(atPath: cache + "/generations/192.json")
    try FileManager.default.removeItem(atPath: cache + "/manifest.json")
    #expect(
      try actcache("info", cache).output.hasPrefix(
        "\(cache): complete, generation 2; of a longer text 64 more sequences are there, the same harvest command "
          + "continues it\n"))
    #expect(try actcache("verify", cache, "--quick").status == 69)
  }

  @Test(arguments: ["shard", "receipt", "manifest"]) func aNamedPipeInPlaceOfAFileIsNamedAndMovedAside(what: String)
    throws
  {
    let whole = try files()
    let file = what == "shard" ? shard : what == "receipt" ? receipt : cache + "/manifest.json"
    try FileManager.default.removeItem(atPath: file)
    #expect(mkfifo(file, 0o600) == 0)
    let verify = try actcache("verify", cache, "--quick")
    #expect(
      verify.status == 65 && verify.output.hasPrefix("corrupt: \(file): it is no file, but a named pipe; "), "\(verify)"
    )
    let info = try actcache("info", cache)
    #expect(what == "receipt" ? info.status == 0 : info.status == 65 && info.errors.contains(file), "\(info)")
    #expect(try actcache("repair", cache, "--model", "data/model").status == 0)
    #expect(try actcache("verify", cache).status == 0)
    for moved in [file, receipt] { try? FileManager.default.removeItem(atPath: moved + ".bad") }
    #expect(try files() == whole)
  }

  @Test func aFolderInPlaceOfTheManifestIsMovedAside() throws {
    let whole = try files()
    let manifest = cache + "/manifest.json"
    for command in ["repair", "index"] {
      try FileManager.default.removeItem(atPath: manifest)
      try FileManager.default.createDirectory(atPath: manifest + "/x", withIntermediateDirectories: true)
      let info = try actcache("info", cache)
      #expect(
        info.status == 65 && info.errors.hasPrefix("actcache: \(manifest): it is a folder, not a file; run "), "\(info)"
      )
      let mended = try actcache(command, cache)
      #expect(mended.status == 0, "\(mended)")
      try FileManager.default.removeItem(atPath: manifest + ".bad")
      #expect(try files() == whole)
    }
  }

  @Test func whatIsThereIsShownEvenIfTheFirstShardIsNot() throws {
    try FileManager.default.removeItem(atPath: cache + "/manifest.json")
    for stream in ["tokens", "hooks/\(hook)"] {
      try FileManager.default.removeItem(atPath: "\(cache)/receipts/\(stream)/000000000-000000032.json")
    }
    let info = try actcache("info", cache)
    #expect(info.status == 69 && info.errors.contains("sequences from 0 on are missing"), "\(info)")
    #expect(
      info.output == "\(cache): incomplete; there are\nhooks/\(hook): sequences 32..<64\ntokens: sequences 32..<64\n")
  }

  @Test func aHarvestThatFindsNoTextLeavesNothing() throws {
    let text = folder.path + "/empty.txt"
    try Data().write(to: URL(fileURLWithPath: text))
    func harvest(_ corpus: String) throws -> Outcome {
      try actcache(
        "harvest", "--model", "data/model", "--corpus", corpus, "--hook", hook, "--context", "16", "--out",
        folder.path + "/none")
    }
    for corpus in [text, folder.path + "/missing.txt"] {
      let outcome = try harvest(corpus)
      #expect(outcome.status == 66, "\(outcome)")
      #expect(!FileManager.default.fileExists(atPath: folder.path + "/none"))
    }
    try FileManager.default.createDirectory(atPath: folder.path + "/none", withIntermediateDirectories: true)
    #expect(try harvest(text).status == 66)
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path + "/none") == [])
  }

  @Test func theWorkerWhoFindsNothingMissingRemovesTheLocksOfWorkers() throws {
    for worker in ["0/2", "1/2"] {
      let outcome = try actcache(
        "harvest", "--model", "data/model", "--corpus", "data/stories.jsonl.zst", "--hook", hook, "--context", "16",
        "--tokens", "1024", "--shard-tokens", "512", "--out", folder.path + "/shared", "--worker", worker)
      #expect(outcome.status == 0, "\(outcome)")
    }
    let names = try FileManager.default.contentsOfDirectory(atPath: folder.path + "/shared")
    #expect(names.filter { $0.hasPrefix(".lock") } == [".lock"])
  }
}
