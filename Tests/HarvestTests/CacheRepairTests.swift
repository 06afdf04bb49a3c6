import Foundation
import Memory
import TestSupport
import Testing

@testable import ActCache
@testable import Harvest

struct CacheRepairTests {
  private let folder: TemporaryFolder
  private var cache: String { folder.path + "/cache" }
  private var text: String { folder.path + "/text.txt" }

  init() throws {
    folder = try TemporaryFolder()
    try write(stories(12).joined(separator: "<|endoftext|>"), to: text)
  }

  /// Two texts, of which the second continues the first; "wide" is there only for the first.
  private func harvest(pack: String = "concatenate", dtype: String = "bf16", codec: String = "zstd:1") throws {
    var configuration = HarvestConfiguration()
    configuration.model = "fake"
    configuration.corpora = [text]
    configuration.context = 16
    configuration.pack = pack
    configuration.dtype = dtype
    configuration.codec = codec
    configuration.out = cache
    configuration.shardTokens = 16 * 12
    for (hooks, tokens) in [(["wide", "narrow"], 16 * (pack == "none" ? 7 : 28)), (["narrow"], nil)] {
      configuration.hooks = hooks
      configuration.tokens = tokens
      _ = try HarvestRun(configuration, source: FakeModel(), tokenizer: ByteTokenizer(), minFrameBytes: 2048).run()
    }
  }

  private func repair(
    _ model: FakeModel? = FakeModel(), corpora: [String] = [], level: Verification.Level = .digest,
    interrupt: InterruptFlag = InterruptFlag()
  ) throws -> CacheRepair.Report {
    var configuration = CacheRepair.Configuration()
    configuration.cache = cache
    configuration.corpora = corpora
    configuration.level = level
    configuration.threads = 2
    return try CacheRepair(configuration, interrupt: interrupt).run(model.map { ($0, ByteTokenizer()) })
  }

  private func files() throws -> [String: Data] { try tree(cache).filter { !$0.key.hasSuffix(".bad") } }

  /// Names of the files in which two caches differ.
  private func differences(_ a: [String: Data], _ b: [String: Data]) -> [String] {
    Set(a.keys).union(b.keys).filter { a[$0] != b[$0] }.sorted()
  }

  private func flip(_ file: String, at share: Double) throws {
    var data = try Data(contentsOf: URL(fileURLWithPath: cache + "/" + file))
    data[Int(Double(data.count) * share)] ^= 4
    try data.write(to: URL(fileURLWithPath: cache + "/" + file))
  }

  private func remove(_ file: String) throws { try FileManager.default.removeItem(atPath: cache + "/" + file) }

  @Test(arguments: ["concatenate", "none"]) func anyDamagedFileIsMadeAnewByteForByte(pack: String) throws {
    try harvest(pack: pack)
    let whole = try files()
    #expect(try Verification(cache: cache, level: .digest, threads: 2).findings.map(\.kind) == [.note])
    let names = whole.keys.sorted()
    #expect(names.count > 10)
    for (i, name) in names.enumerated() {
      switch i % 3 {
      case 0: try flip(name, at: 0.6)
      case 1: try whole[name]?.dropLast(7).write(to: URL(fileURLWithPath: cache + "/" + name))
      default:
        // A receipt that is gone leaves no trace if its stream might simply have ended there.
        if name.hasPrefix("receipts/") {
          try flip(name, at: 0.1)
        } else {
          try FileManager.default.removeItem(atPath: cache + "/" + name)
        }
      }
      let isTokens = name.hasPrefix("tokens/")
      if isTokens {
        let report = try repair()
        #expect(
          report.advice
            == "tokens are damaged, so the text is needed: actcache repair \(cache) --model MODEL --corpus text.txt")
      }
      let model = FakeModel()
      let report = try repair(model, corpora: isTokens ? [text] : [])
      #expect(try differences(files(), whole) == [], "\(name): \(report)")
      #expect(report.advice == nil && report.findings.allSatisfy { [.note, .incomplete].contains($0.kind) }, "\(name)")
      let isHook = name.contains("hooks/")
      // At most the two ranges of one shard, in one pass each.
      #expect(isHook ? model.nPasses == 1 : model.nPasses == 0, "\(name): \(model.nPasses) passes")
      let again = try repair(model)
      #expect(again.moved.isEmpty && again.restored.isEmpty && again.harvested.isEmpty, "\(name)")
    }
    #expect(try GarbageCollection(cache: cache, dryRun: false).removed.count >= names.count / 3)
    #expect(try tree(cache) == whole)
  }

  @Test(arguments: [("bf16", "zstd:1"), ("f32", "none"), ("fix:6", "zstd:2")])
  func muchDamageAtOnceIsMendedInOneRun(dtype: String, codec: String) throws {
    try harvest(dtype: dtype, codec: codec)
    let whole = try files()
    for (i, name) in whole.keys.filter({ $0 != "manifest.json" }).sorted().enumerated() where i % 3 == 0 {
      try flip(name, at: 0.5)
    }
    let report = try repair(FakeModel(), corpora: [text], level: .frames)
    #expect(try differences(files(), whole) == [], "\(report.advice ?? "") \(report.findings)")
  }

  @Test func whereNoReceiptIsLeftTheHarvestItselfIsNamed() throws {
    try harvest()
    for name in try files().keys
    where name.hasPrefix("receipts/") || name.hasPrefix("tokens/") || name == "manifest.json" {
      try flip(name, at: 0.5)
    }
    for _ in 0..<2 {
      let report = try repair(FakeModel(), corpora: [text])
      #expect(report.advice == "no whole record is left; run the command again that harvested it")
      #expect(report.findings.gravest == .incomplete && report.harvested.isEmpty)
    }
    try harvest()
    #expect(try Verification(cache: cache, level: .digest, threads: 2).findings.allSatisfy { $0.kind != .corrupt })
  }

  @Test func withoutTheModelItSaysWhatToRunAndTheNextRunGoesOn() throws {
    try harvest()
    let whole = try files()
    let names = ["hooks/narrow/000000012-000000024.zst", "hooks/wide/000000024-000000028.zst"]
    for name in names { try flip(name, at: 0.9) }
    let report = try repair(nil)
    let receipts = names.map { "receipts/" + $0.dropLast(4) + ".json" }
    #expect(report.moved.map(\.file).sorted() == (names + receipts).map { "\(cache)/\($0)" }.sorted())
    #expect(report.moved.map(\.why).filter { $0.hasPrefix("it goes with \(cache)/hooks/") }.count == 2)
    #expect(report.advice == "to harvest again what was damaged: actcache repair \(cache) --model MODEL")
    #expect(report.findings.gravest == .incomplete)
    for name in names {
      #expect(FileManager.default.fileExists(atPath: cache + "/" + name + ".bad"))
      #expect(!FileManager.default.fileExists(atPath: cache + "/" + name))
    }
    let second = try repair()
    #expect(second.harvested == names.map { "\(cache)/\($0)" } && second.moved.isEmpty)
    #expect(try differences(files(), whole) == [])
  }

  @Test func aStreamWhoseOnlyReceiptIsDamagedIsKnownFromItsShard() throws {
    try harvest()
    let whole = try files()
    for name in whole.keys where name.hasPrefix("receipts/hooks/wide/") { try flip(name, at: 0.5) }
    try remove("manifest.json")
    _ = try repair(nil)
    #expect(try CacheReader(path: cache).manifest.hooks.keys.sorted() == ["narrow"])
    _ = try repair()
    #expect(try differences(files(), whole) == [])
  }

  @Test func anotherModelOrTextIsRefusedBeforeAnythingIsHarvested() throws {
    try harvest()
    try flip("hooks/narrow/000000012-000000024.zst", at: 0.7)
    let before = try tree(cache)
    let model = FakeModel()
    model.weightsDigest = "others"
    let error = #expect(throws: ActCacheError.self) { try repair(model) }
    #expect(
      error?.description
        == "\(cache): this cache was made with another model: it has weights: weights, not others. Give the model that was "
        + "harvested")
    #expect(error?.exitCode == 78)
    #expect(try tree(cache) == before)

    // Of the first range nothing before it could tell.
    try flip("tokens/000000000-000000012.zst", at: 0.7)
    try write(stories(30, seed: 9).joined(separator: "<|endoftext|>"), to: folder.path + "/other.txt")
    let text = #expect(throws: ActCacheError.self) { try repair(corpora: [folder.path + "/other.txt"]) }
    #expect(text?.description.contains("were made from another text") == true && text?.exitCode == 78)
    #expect(!FileManager.default.fileExists(atPath: cache + "/receipts/tokens/000000000-000000012.json"))
  }

  @Test func anInterruptedRepairGoesOn() throws {
    try harvest()
    let whole = try files()
    for first in [0, 12] { try flip("hooks/narrow/\(Receipt.rangeName(first..<(first + 12))).zst", at: 0.8) }
    let interrupt = InterruptFlag()
    let model = FakeModel()
    model.beforePass = { if $0 == 1 { interrupt.raise() } }
    #expect(try repair(model, interrupt: interrupt).wasInterrupted)
    #expect(try repair(interrupt: interrupt).wasInterrupted)
    _ = try repair()
    #expect(try differences(files(), whole) == [])
  }

  @Test func aBusyCacheIsLeftAlone() throws {
    try harvest()
    try flip("hooks/narrow/000000012-000000024.zst", at: 0.7)
    let before = try tree(cache)
    let lock = try FolderLock(folder: cache)
    let error = #expect(throws: ActCacheError.self) { try repair() }
    #expect(error?.exitCode == 75)
    _ = consume lock
    #expect(try tree(cache) == before)
  }

  @Test func anUnfinishedHarvestIsLeftToTheHarvest() throws {
    try harvest()
    for name in try FileManager.default.contentsOfDirectory(atPath: cache + "/generations") {
      try FileManager.default.removeItem(atPath: cache + "/generations/" + name)
    }
    try FileManager.default.removeItem(atPath: cache + "/manifest.json")
    try flip("hooks/narrow/000000012-000000024.zst", at: 0.7)
    #expect(
      try repair().advice
        == "the harvest is not finished; the command that began it also makes anew what was damaged")
  }

  // MARK: what only the manifest remembers

  @Test(arguments: [true, false]) func aStreamWithoutReceiptsIsNotForgotten(hasModel: Bool) throws {
    try harvest()
    let whole = try files()
    try remove("receipts/hooks/narrow")
    let n = try CacheContents(cache: cache).tokenReceipts.count
    let found = try CacheSurvey(cache).findings.map(\.description)
    let lost = "incomplete: \(cache)/hooks/narrow: sequences 0..<59 of 59 are missing; run actcache repair \(cache)"
    #expect(found.contains(lost), "\(found)")
    let index = #expect(throws: ActCacheError.self) { try CacheIndex.rebuild(cache: cache) }
    #expect(
      index?.description
        == "\(cache): receipts of hooks/narrow that the manifest names are gone (\(n) in all); run actcache repair \(cache); "
        + "actcache index --forget gives up what is not there")
    let model = FakeModel()
    let report = try repair(hasModel ? model : nil)
    #expect((model.nPasses > 0) == hasModel && report.approximate.count == (hasModel ? 0 : n))
    // Values that bf16 holds have the same statistics after rounding.
    #expect(try differences(files(), whole) == [], "\(report)")
  }

  @Test(arguments: [("bf16", "concatenate"), ("f32", "concatenate"), ("f16", "none"), ("fix:6", "concatenate")])
  func allReceiptsAreMadeAnewFromTheManifest(dtype: String, pack: String) throws {
    try harvest(pack: pack, dtype: dtype)
    let whole = try files()
    for folder in ["receipts", "generations"] { try remove(folder) }
    let report = try repair(nil)
    #expect(report.moved.isEmpty && report.findings.allSatisfy { [.note, .incomplete].contains($0.kind) }, "\(report)")
    #expect(try differences(files(), whole) == [] || dtype == "fix:6", "\(report)")
    #expect(try Set(files().keys) == Set(whole.keys))
    #expect(report.approximate.isEmpty == (dtype == "f32"))
  }

  @Test func receiptsOfAnotherCacheAreTurnedOutAndTheOwnMadeAnew() throws {
    try harvest()
    let whole = try files()
    let model = FakeModel()
    model.weightsDigest = "others"
    try FileManager.default.moveItem(atPath: cache, toPath: folder.path + "/own")
    var configuration = HarvestConfiguration()
    (configuration.model, configuration.corpora, configuration.out) = ("fake", [text], cache)
    (configuration.context, configuration.shardTokens, configuration.hooks) = (16, 16 * 12, ["wide", "narrow"])
    _ = try HarvestRun(configuration, source: model, tokenizer: ByteTokenizer(), minFrameBytes: 2048).run()
    try FileManager.default.removeItem(atPath: folder.path + "/own/receipts")
    try FileManager.default.moveItem(atPath: cache + "/receipts", toPath: folder.path + "/own/receipts")
    try FileManager.default.removeItem(atPath: cache)
    try FileManager.default.moveItem(atPath: folder.path + "/own", toPath: cache)
    let report = try repair(nil)
    let why = report.moved.map(\.why)
    #expect(why.count >= 9 && Set(why) == ["it is of another cache: weights: others, not weights"], "\(why)")
    #expect(try differences(files(), whole) == [], "\(report)")
  }

  @Test func aStreamThatIsGoneAltogetherStaysMissingUntilTheModelComes() throws {
    try harvest()
    let whole = try files()
    for (i, folder) in ["hooks/narrow", "receipts/hooks/narrow"].enumerated() {
      try remove(folder)
      for _ in 0..<2 {
        let report = try repair(nil)
        #expect(report.advice == "to harvest again what was damaged: actcache repair \(cache) --model MODEL", "\(i)")
        #expect(report.findings.gravest == .incomplete)
      }
      if i == 0 { #expect(try GarbageCollection(cache: cache, dryRun: false).removed.count > 2) }
      try? FileManager.default.createDirectory(
        atPath: cache + "/receipts/hooks/narrow", withIntermediateDirectories: true)
    }
    #expect(try repair().advice == nil)
    #expect(try differences(files(), whole) == [])
  }

  @Test func aStreamUnderAnotherNameIsTheOneThatItsReceiptsName() throws {
    try harvest()
    let whole = try files()
    for folder in ["hooks", "receipts/hooks"] {
      try FileManager.default.moveItem(atPath: "\(cache)/\(folder)/wide", toPath: "\(cache)/\(folder)/broad")
    }
    try remove("manifest.json")
    #expect(try repair(nil).advice == "to harvest again what was damaged: actcache repair \(cache) --model MODEL")
    _ = try repair()
    _ = try GarbageCollection(cache: cache, dryRun: false)
    #expect(try differences(files(), whole) == [])
  }

  @Test(arguments: ["truncated", "receipt", "both"]) func whatTokensInAGapBelongsToIsKept(how: String) throws {
    try harvest()
    let whole = try files()
    let name = "000000012-000000024"
    if how != "receipt" { try Data([1]).write(to: URL(fileURLWithPath: "\(cache)/tokens/\(name).zst")) }
    if how != "truncated" { try remove("receipts/tokens/\(name).json") }
    if how == "both" { try remove("manifest.json") }
    for model in [nil, FakeModel()] { _ = try repair(model) }
    if how == "truncated" {
      let found = try Verification(cache: cache, level: .digest, threads: 2).findings
      #expect(found.filter { $0.file.contains(name) && !$0.file.hasSuffix(".bad") } == [], "\(found)")
    }
    _ = try GarbageCollection(cache: cache, dryRun: false)
    for hook in ["wide", "narrow"] {
      let file = "hooks/\(hook)/\(name).zst"
      #expect(try files()[file] == whole[file])
    }
    let model = FakeModel()
    _ = try repair(model, corpora: [text])
    #expect(try differences(files(), whole) == [] && model.nPasses == 0)
  }
}
