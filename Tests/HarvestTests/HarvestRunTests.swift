import ActCache
import Foundation
import Memory
import Synchronization
import TestSupport
import Testing

@testable import Harvest

struct HarvestRunTests {
  /// A corpus, a configuration for it, and places for caches.
  private struct Case {
    let folder: TemporaryFolder
    var configuration = HarvestConfiguration()

    init(nStories: Int = 30, seed: UInt64 = 1) throws {
      folder = try TemporaryFolder()
      try write(stories(nStories, seed: seed).joined(separator: "<|endoftext|>"), to: folder.path + "/text.txt")
      configuration.model = "fake"
      configuration.corpora = [folder.path + "/text.txt"]
      configuration.hooks = ["wide", "narrow"]
      configuration.context = 16
      configuration.out = folder.path + "/cache"
      // With frames of 4 KiB, 6 sequences of 16 × 24 bf16 make one, 24 a shard.
      configuration.shardTokens = 6 * 16 * 4
      configuration.batchTokens = 6 * 16
    }

    func run(
      _ model: FakeModel = FakeModel(), tokenizer: ByteTokenizer = ByteTokenizer(),
      interrupt: InterruptFlag = InterruptFlag(), notice: @escaping @Sendable (String) -> Void = { _ in },
      progress: @escaping @Sendable (HarvestProgress) -> Void = { _ in }
    ) throws -> HarvestRun.Outcome {
      try HarvestRun(configuration, source: model, tokenizer: tokenizer, minFrameBytes: 4096).run(
        interrupt: interrupt, notice: notice, progress: progress)
    }
  }

  @Test(arguments: ["concatenate", "none"])
  func theCacheHoldsTheModelsActivationsAtTheTextsTokens(pack: String) throws {
    var test = try Case()
    test.configuration.pack = pack
    let outcome = try test.run()
    guard case .finished(let summary) = outcome else {
      Issue.record("\(outcome)")
      return
    }
    let cache = try CacheReader(path: test.configuration.out)
    #expect(cache.manifest.nSequences == summary.nSequences && summary.nNewShards == cache.manifest.shards.count)
    #expect(cache.manifest.shards.count >= 2)
    let heldOut = try HeldOutReader(cache)
    let training = try SequenceReader(cache, seed: 0)
    #expect(heldOut.count + training.count == summary.nSequences)
    // The text, read again independently.
    var expected: [Int: [UInt32]] = [:]
    for story in stories(30) {
      let ids = story.utf8.map { UInt32($0) }
      if pack == "none" {
        expected[expected.count] = Array(([256] + ids).prefix(16))
      }
    }
    for i in stride(from: 0, to: heldOut.count, by: 7) {
      let sequence = try heldOut.sequence(i)
      if pack == "none" { #expect(Array(sequence.tokens.prefix(sequence.length)) == expected[sequence.number]) }
      for hook in test.configuration.hooks {
        let width = try #require(FakeModel.widths[hook])
        var values = [Float](repeating: .nan, count: 16 * width)
        var output = values.mutableSpan
        try heldOut.read(i, hook: hook, into: &output)
        for p in 0..<16 {
          for c in [0, 1, width - 1] {
            let value =
              p < sequence.length
              ? FakeModel.value(token: sequence.tokens[p], position: p, channel: c, hook: hook) : 0
            #expect(values[p * width + c] == floatFromBF16(bf16Bits(value)))
          }
        }
      }
    }
    let text = try #require(cache.manifest.generations.last)
    #expect(cache.manifest.generations.count == 1 && text.counts.documents == 30 && text.corpora == ["text.txt"])
  }

  @Test func theSummarySaysWhereTheTimeWent() throws {
    let test = try Case()
    let model = FakeModel()
    let outcome = try HarvestRun(
      test.configuration, source: model, tokenizer: ByteTokenizer(), minFrameBytes: 4096
    ).run(keepsSpans: true)
    guard case .finished(let summary) = outcome else {
      Issue.record("\(outcome)")
      return
    }
    #expect(summary.lanes.map(\.name) == ["text", "model", "writer"])
    let lanes = Dictionary(uniqueKeysWithValues: summary.lanes.map { ($0.name, $0) })
    let (text, forward, writer) = try (
      #require(lanes["text"]), #require(lanes["model"]), #require(lanes["writer"])
    )
    #expect(Set(text.totals.map(\.activity)) == [.tokenize, .waitsForRoom])
    #expect(Set(forward.totals.map(\.activity)) == [.waitsForInput, .forward, .waitsForRoom])
    #expect(Set(writer.totals.map(\.activity)) == [.waitsForInput, .write, .encode, .sync])
    #expect(forward.spans.filter { $0.activity == .forward }.count == model.nPasses)
    #expect(writer.spans.filter { $0.activity == .sync }.count == summary.nNewShards)
    for lane in summary.lanes {
      #expect(lane.busySeconds > 0)
      for (a, b) in zip(lane.spans, lane.spans.dropFirst()) { #expect(a.end == b.start) }
    }
    // Nothing is written before it is computed.
    let firstPass = try #require(forward.spans.first { $0.activity == .forward })
    #expect(writer.spans.allSatisfy { $0.activity != .encode || $0.start >= firstPass.end })
  }

  @Test func aSecondRunDoesNothingAndSaysSo() throws {
    let test = try Case()
    _ = try test.run()
    let before = try tree(test.configuration.out)
    let model = FakeModel()
    guard case .alreadyComplete(let summary) = try test.run(model) else {
      Issue.record("not complete")
      return
    }
    #expect(model.nPasses == 0 && summary.nNewShards == 0)
    #expect(try tree(test.configuration.out) == before)
  }

  @Test func anInterruptedRunContinuesToTheSameBytes() throws {
    var test = try Case()
    _ = try test.run()
    let whole = try tree(test.configuration.out)
    let nSequences = try CacheReader(path: test.configuration.out).manifest.nSequences
    let counting = FakeModel()
    test.configuration.out = test.folder.path + "/counting"
    _ = try test.run(counting)
    #if DEBUG
      var generator = SeededGenerator(seed: 4)
      let stops = [0, 3, 4, counting.nPasses - 1, Int.random(in: 5..<counting.nPasses - 1, using: &generator)]
    #else
      let stops = Array(0..<counting.nPasses)
    #endif
    for stop in stops {
      test.configuration.out = test.folder.path + "/cache-\(stop)"
      let model = FakeModel()
      let interrupt = InterruptFlag()
      model.beforePass = { if $0 == stop { interrupt.raise() } }
      guard case .interrupted(let summary) = try test.run(model, interrupt: interrupt) else {
        #expect(stop == counting.nPasses - 1)
        #expect(try tree(test.configuration.out) == whole)
        continue
      }
      // At most the shard in hand is lost; four passes make one, and the pass that is running ends.
      #expect(summary.nNewShards >= stop / 4 - 1 && summary.nNewShards <= stop / 4 + 1)
      // The summary says what is committed, not what has been read.
      #expect(summary.nSequences == min(summary.nNewShards * 24, nSequences))
      #expect(summary.nTokens == summary.nSequences * 16 && summary.nNewTokens == summary.nTokens)
      guard case .finished(let rest) = try test.run() else {
        Issue.record("stopped before pass \(stop), not finished by the second run")
        return
      }
      // A range has six files: tokens and two hooks, each with its receipt.
      #expect(rest.nNewShards + summary.nNewShards == whole.count / 6)
      #expect(try tree(test.configuration.out) == whole, "stopped before pass \(stop)")
    }
  }

  @Test func aFailingModelLeavesWhatWasCommitted() throws {
    struct Broken: Error {}
    let test = try Case()
    let model = FakeModel()
    model.beforePass = { if $0 == 9 { throw Broken() } }
    #expect(throws: Broken.self) { try test.run(model) }
    guard case .finished = try test.run() else {
      Issue.record("not finished")
      return
    }
    let names = try FileManager.default.contentsOfDirectory(atPath: test.configuration.out + "/tokens")
    #expect(names.allSatisfy { !$0.hasPrefix(".") })
  }

  @Test func activationsThatAreNotFiniteStopTheRun() throws {
    let test = try Case()
    let model = FakeModel()
    model.badPass = 5
    let error = #expect(throws: ActCacheError.self) { try test.run(model) }
    #expect(
      error?.description.hasSuffix(
        "position 3, channel 2 is not finite; check the model's weights, or leave this hook out")
        == true)
    #expect(error?.exitCode == 65)
  }

  @Test func workersShareTheShardsAndGiveTheSameBytes() throws {
    var test = try Case()
    _ = try test.run()
    let whole = try tree(test.configuration.out)
    test.configuration.out = test.folder.path + "/shared"
    for worker in [2, 0, 1] {
      test.configuration.worker = "\(worker)/3"
      let outcome = try test.run()
      if worker == 1 {
        guard case .finished = outcome else {
          Issue.record("\(outcome)")
          return
        }
      } else {
        guard case .workerDone = outcome else {
          Issue.record("\(outcome)")
          return
        }
      }
    }
    #expect(try tree(test.configuration.out) == whole)
  }

  @Test func damagedFilesAreWrittenAnew() throws {
    let test = try Case()
    _ = try test.run()
    let whole = try tree(test.configuration.out)
    let shards = whole.keys.filter { $0.hasPrefix("hooks/wide/") }.sorted()
    let receipts = whole.keys.filter { $0.hasPrefix("receipts/hooks/wide/") }.sorted()
    try Data().write(to: URL(fileURLWithPath: test.configuration.out + "/" + shards[0]))
    try FileManager.default.removeItem(atPath: test.configuration.out + "/" + shards[2])
    try Data("{}".utf8).write(to: URL(fileURLWithPath: test.configuration.out + "/" + receipts[1]))
    let notices = Mutex<[String]>([])
    let outcome = try test.run(notice: { text in notices.withLock { $0.append(text) } })
    guard case .finished(let summary) = outcome else {
      Issue.record("\(outcome)")
      return
    }
    #expect(summary.nNewShards == 3 && summary.repaired == Array(receipts[0...2]))
    let texts = notices.withLock { $0 }
    #expect(texts.count == 3 && texts.allSatisfy { $0.hasSuffix("; it is written anew") }, "\(texts)")
    #expect(try tree(test.configuration.out) == whole)
  }

  @Test func temporariesOfAKilledRunGoOnceTheCacheIsComplete() throws {
    var test = try Case()
    let out = test.configuration.out
    let left = [
      "/hooks/wide/.a.zst.tmp.elsewhere.1.x", "/tokens/.b.zst.tmp.elsewhere.1.x",
      "/receipts/tokens/.c.json.tmp.elsewhere.1.x", "/.d.tmp.elsewhere.1.x",
    ]
    func leave() throws { for name in left { try write("x", to: out + name) } }
    func nThere() -> Int { left.filter { FileManager.default.fileExists(atPath: out + $0) }.count }
    test.configuration.worker = "0/2"
    _ = try test.run()
    try leave()
    _ = try test.run()
    // The other worker's, for all that this one knows.
    #expect(nThere() == 4)
    test.configuration.worker = "1/2"
    guard case .finished = try test.run() else {
      Issue.record("not finished")
      return
    }
    #expect(nThere() == 0)
    try leave()
    do {
      test.configuration.worker = "1/2"
      let lock = try HarvestLock(folder: out, worker: 0, of: 2)
      _ = try test.run()
      #expect(nThere() == 4)
      _ = consume lock
    }
    test.configuration.worker = "0/1"
    guard case .alreadyComplete = try test.run() else {
      Issue.record("not complete")
      return
    }
    #expect(nThere() == 0)
  }

  @Test func noticesBeyondTwentyAreCountedAtTheEnd() throws {
    var test = try Case()
    let empty = String(repeating: "<|endoftext|><|endoftext|>x", count: 23)
    try write(stories(30).joined(separator: "<|endoftext|>") + empty, to: test.folder.path + "/gaps.txt")
    test.configuration.corpora = [test.folder.path + "/gaps.txt"]
    let notices = Mutex<[String]>([])
    let outcome = try test.run(notice: { text in notices.withLock { $0.append(text) } })
    guard case .finished(let summary) = outcome else {
      Issue.record("\(outcome)")
      return
    }
    let texts = notices.withLock { $0 }
    #expect(texts.count == 21 && texts.last == "and 3 more of these; the manifest counts all that is left out")
    #expect(summary.notices.count == 20 && summary.counts.emptyDocuments == 23)
    #expect(try CacheReader(path: test.configuration.out).manifest.generations.last?.counts == summary.counts)
  }

  @Test func theExpectedSizeDependsOnTheType() {
    for (dtype, bytes) in [("bf16", 4 + 140), ("f16", 4 + 170), ("f32", 4 + 340)] {
      let hook = StreamSpec.hook("h", width: 100, dtype: dtype)
      #expect(HarvestSpec.expectedBytes(nTokens: 1000, streams: [hook]) == 1000 * bytes)
      #expect(HarvestSpec.expectedBytes(nTokens: 0, streams: [hook]) == 0)
      #expect(HarvestSpec.expectedBytes(nTokens: .max, streams: [hook]) == .max)
    }
  }

  @Test func anotherModelTextOrSettingIsRefused() throws {
    let test = try Case()
    _ = try test.run()
    let before = try tree(test.configuration.out)
    let out = test.configuration.out

    let model = FakeModel()
    model.weightsDigest = "others"
    var error: (any Error)? = #expect(throws: ActCacheError.self) { try test.run(model) }
    #expect("\(error.map { "\($0)" } ?? "")".contains("it has weights: weights, not others. Choose another --out"))

    var tokenizer = ByteTokenizer()
    tokenizer.digest = "another"
    #expect(throws: ActCacheError.self) { try test.run(tokenizer: tokenizer) }

    for change: (inout HarvestConfiguration) -> Void in [
      { $0.context = 32 }, { $0.dtype = "f32" }, { $0.bos = false }, { $0.pack = "none" },
      { $0.codec = "zstd:3" }, { $0.seed = 1 }, { $0.heldOutFraction = 0.1 }, { $0.separator = "#" },
      { $0.shardTokens = 1 },
    ] {
      var other = test
      change(&other.configuration)
      #expect(throws: ActCacheError.self, "\(other.configuration)") { try other.run() }
    }

    var other = test
    try write(stories(30, seed: 2).joined(separator: "<|endoftext|>"), to: test.folder.path + "/other.txt")
    other.configuration.corpora = [test.folder.path + "/other.txt"]
    error = #expect(throws: ActCacheError.self) { try other.run() }
    #expect(
      "\(error.map { "\($0)" } ?? "")".hasPrefix("\(out): sequences 0..<24 were made from another text (token chain "))
    other = test
    other.configuration.tokens = 16 * 50
    error = #expect(throws: ActCacheError.self) { try other.run() }
    #expect((error as? ActCacheError)?.exitCode == 78)
    #expect(try tree(out) == before)
  }

  @Test func tokensLimitsTheWork() throws {
    var test = try Case()
    test.configuration.tokens = 16 * 70 + 5
    guard case .finished(let summary) = try test.run() else {
      Issue.record("not finished")
      return
    }
    #expect(summary.nSequences == 70 && summary.nTokens == 1120)
    #expect(try CacheReader(path: test.configuration.out).manifest.nSequences == 70)
  }

  @Test func moreTextGoesOnWhereTheCacheEnded() throws {
    var test = try Case()
    test.configuration.tokens = 16 * 70
    _ = try test.run()
    let before = try tree(test.configuration.out)
    test.configuration.tokens = nil
    let model = FakeModel()
    guard case .finished(let summary) = try test.run(model) else {
      Issue.record("not finished")
      return
    }
    let cache = try CacheReader(path: test.configuration.out)
    #expect(cache.manifest.generations.map(\.nSequences) == [70, summary.nSequences] && cache.manifest.isComplete)
    #expect(summary.nNewTokens == (summary.nSequences - 70) * 16)
    let after = try tree(test.configuration.out)
    for (name, bytes) in before where name != "manifest.json" { #expect(after[name] == bytes, "\(name)") }
    // The shorter text is there too.
    test.configuration.tokens = 16 * 70
    guard case .alreadyComplete = try test.run() else {
      Issue.record("the first generation is not complete")
      return
    }
    // The values are those of a cache made at once.
    test.configuration.tokens = nil
    test.configuration.out = test.folder.path + "/at-once"
    _ = try test.run()
    let other = try CacheReader(path: test.configuration.out)
    let (a, b) = (try TokenStream(cache), try TokenStream(other))
    for sequence in 0..<summary.nSequences {
      #expect(try a.sequence(sequence).tokens == b.sequence(sequence).tokens)
    }
  }

  @Test func aHookIsAddedFromTheTokensOfTheCache() throws {
    var test = try Case()
    test.configuration.pack = "none"
    _ = try test.run()
    let whole = try tree(test.configuration.out)
    test.configuration.out = test.folder.path + "/in-two"
    test.configuration.hooks = ["narrow"]
    _ = try test.run()
    // Neither text nor token settings are asked for again.
    test.configuration.corpora = []
    test.configuration.pack = "concatenate"
    test.configuration.hooks = ["wide"]
    test.configuration.shardTokens = nil
    let model = FakeModel()
    guard case .finished(let summary) = try test.run(model) else {
      Issue.record("not finished")
      return
    }
    #expect(summary.nNewShards > 1)
    // The frame is that of the narrow hook in both.
    #expect(try tree(test.configuration.out) == whole)
    test.configuration.out = test.folder.path + "/none"
    #expect(
      throws: HarvestError.setting(
        name: "corpus", value: "(none)", allowed: "one or more files, or - for standard input (no cache is there yet)")
    ) { try test.run() }
  }

  @Test func tokenFilesAndOtherFormsOfTheSameTextGiveTheSameCache() throws {
    var test = try Case()
    _ = try test.run()
    let whole = try tree(test.configuration.out).filter { !$0.key.hasSuffix(".json") }
    var ids: [UInt8] = []
    var lines = ""
    for story in stories(30) {
      for byte in story.utf8 { ids += [byte, 0] }
      ids += [1, 1]  // 257, EOS
      lines += "{\"text\":\"\(story.replacingOccurrences(of: "\n", with: "\\n"))\"}\n"
    }
    try Data(ids).write(to: URL(fileURLWithPath: test.folder.path + "/a.bin"))
    try write(lines, to: test.folder.path + "/a.jsonl")
    for name in ["a.bin", "a.jsonl"] {
      test.configuration.corpora = [test.folder.path + "/" + name]
      test.configuration.out = test.folder.path + "/" + name + ".cache"
      _ = try test.run()
      let files = try tree(test.configuration.out).filter { !$0.key.hasSuffix(".json") }
      #expect(files == whole, "\(name)")
    }
    try Data([0x10, 0x27]).write(to: URL(fileURLWithPath: test.folder.path + "/b.bin"))
    test.configuration.corpora = [test.folder.path + "/b.bin"]
    test.configuration.out = test.folder.path + "/b"
    #expect(
      throws: HarvestError.mismatch(
        "\(test.folder.path)/b.bin: token 10000 at byte 0 is outside the model's vocabulary of 300; the file was made "
          + "with another tokenizer")
    ) { try test.run() }
  }

  @Test func aBusyFolderAnUnwritableOneAndNoTextAreErrors() throws {
    var test = try Case()
    try FileManager.default.createDirectory(atPath: test.configuration.out, withIntermediateDirectories: true)
    do {
      let lock = try FolderLock(folder: test.configuration.out)
      #expect(throws: HarvestError.busy(path: test.configuration.out)) { try test.run() }
      test.configuration.worker = "1/2"
      #expect(throws: HarvestError.busy(path: test.configuration.out)) { try test.run() }
      _ = consume lock
    }
    do {
      // A worker; others may join, its own double and a process alone may not.
      let lock = try HarvestLock(folder: test.configuration.out, worker: 0, of: 2)
      test.configuration.worker = "1/2"
      guard case .workerDone = try test.run() else {
        Issue.record("not done")
        return
      }
      for worker in ["0/2", "0/1"] {
        test.configuration.worker = worker
        #expect(throws: HarvestError.busy(path: test.configuration.out)) { try test.run() }
      }
      _ = consume lock
    }
    test.configuration.worker = "0/1"
    test.configuration.out = test.folder.path + "/text.txt/cache"
    let error = #expect(throws: ActCacheError.self) { try test.run() }
    #expect(error?.exitCode == 73)
    test.configuration.out = test.folder.path + "/empty"
    try write("<|endoftext|>\n", to: test.folder.path + "/empty.txt")
    test.configuration.corpora = [test.folder.path + "/empty.txt"]
    #expect(
      throws: HarvestError.missing(
        "\(test.folder.path)/empty.txt: no sequence of 16 tokens in it; choose a shorter --context or more text")
    ) { try test.run() }
    test.configuration.tokens = 1 << 50
    #expect(throws: HarvestError.self) { try test.run() }
  }

  /// [sequence][position · channel] of a hook, for every sequence.
  private func values(_ cache: CacheReader, _ hook: String) throws -> [[Float]] {
    let (heldOut, training) = (try HeldOutReader(cache), try SequenceReader(cache, seed: 0))
    let width = try cache.hook(hook).width
    var all = [[Float]](repeating: [], count: cache.manifest.nSequences)
    for i in 0..<(heldOut.count + training.count) {
      var sequence = [Float](repeating: .nan, count: 16 * width)
      var output = sequence.mutableSpan
      if i < heldOut.count {
        try heldOut.read(i, hook: hook, into: &output)
        all[try heldOut.sequence(i).number] = sequence
      } else {
        try training.read(i - heldOut.count, hook: hook, into: &output)
        all[try training.sequence(i - heldOut.count).number] = sequence
      }
    }
    return all
  }

  @Test func fixedPointStaysWithinHalfAStepInEveryChannelAndForEveryWorker() throws {
    var test = try Case()
    test.configuration.dtype = "f32"
    _ = try test.run()
    let exact = try CacheReader(path: test.configuration.out)
    test.configuration.dtype = "fix:6"
    test.configuration.out = test.folder.path + "/fixed"
    _ = try test.run()
    let whole = try tree(test.configuration.out)
    let fixed = try CacheReader(path: test.configuration.out)
    for hook in test.configuration.hooks {
      let steps = try #require(fixed.hook(hook).steps)
      let statistics = try #require(exact.hook(hook).statistics)
      for (step, variance) in zip(steps, statistics.channelVariance) {
        #expect(abs(Double(step) * 64 / variance.squareRoot() - 1) < 0.2)
      }
      let (a, b) = (try values(exact, hook), try values(fixed, hook))
      var largest: Float = 0
      for (x, y) in zip(a.joined(), b.joined()).enumerated() {
        let step = steps[x % steps.count]
        largest = max(largest, abs(y.0 - y.1) / step)
      }
      #expect(largest <= 0.5001 && largest > 0.3)
    }
    // The steps are those that the first process has chosen.
    test.configuration.out = test.folder.path + "/workers"
    for worker in ["1/2", "0/2"] {
      test.configuration.worker = worker
      _ = try test.run()
    }
    #expect(try tree(test.configuration.out) == whole)
    test.configuration.corpora = ["-"]
    test.configuration.out = test.folder.path + "/standard-input"
    let error = #expect(throws: HarvestError.self) { try test.run() }
    #expect(error?.description.hasPrefix("--dtype fix:6: allowed are bf16, f16, f32 with --corpus - ") == true)
  }

  @Test(arguments: ["zstd:1", "none"]) func saturatedValuesAreCounted(codec: String) throws {
    var test = try Case()
    test.configuration.dtype = "f16"
    test.configuration.codec = codec
    let model = FakeModel()
    model.factor = 5000
    let error = #expect(throws: ActCacheError.self) { try test.run(model) }
    #expect(error?.description.hasSuffix("harvest with --dtype bf16 or f32, or with --saturate") == true)
    test.configuration.saturate = true
    let again = FakeModel()
    again.factor = 5000
    _ = try test.run(again)
    let cache = try CacheReader(path: test.configuration.out)
    let all = try values(cache, "narrow").joined()
    #expect(try cache.hook("narrow").nSaturated == all.count { abs($0) == 65_504 })
    #expect(try cache.hook("narrow").nSaturated > 0 && all.allSatisfy { abs($0) <= 65_504 })
  }

  @Test func progressReachesTheWhole() throws {
    let test = try Case()
    let all = Mutex<[HarvestProgress]>([])
    _ = try test.run(progress: { progress in all.withLock { $0.append(progress) } })
    let reports = all.withLock { $0 }
    // The bar shows what the model has done, not how far the text has been read.
    #expect(reports.allSatisfy { $0.nTokens == $0.nNewTokens })
    let progress = try #require(reports.last)
    #expect(progress.fraction == 1 && progress.phase == .harvesting)
    #expect(progress.nNewTokens == progress.nTokens && progress.bytesWritten > 0)
  }

  @Test(arguments: [
    ("logits", "--logits top: allowed are \(LogitPolicy.allowed), each once"),
    ("codec", "--codec lz4: allowed are zstd:<level> with levels 1...19, none"),
    ("dtype", "--dtype f64: allowed are bf16, f16, f32, fix:<s> with s 1...12"),
    ("worker", "--worker 3/3: allowed are I/N with 0 ≤ I < N"),
    ("hook", "--hook (none): allowed are one or more hook names, or --logits alone (no cache is there yet)"),
    ("context", "--context 65: allowed are at most 64, the model's context"),
  ])
  func settingsThatMakeNoSenseNameWhatIsAllowed(what: String, message: String) throws {
    var test = try Case()
    switch what {
    case "logits": test.configuration.logits = ["top"]
    case "codec": test.configuration.codec = "lz4"
    case "dtype": test.configuration.dtype = "f64"
    case "worker": test.configuration.worker = "3/3"
    case "hook": test.configuration.hooks = []
    default: test.configuration.context = 65
    }
    let error = #expect(throws: HarvestError.self) { try test.run() }
    #expect(error?.description == message && error?.exitCode == 64)
  }
}
