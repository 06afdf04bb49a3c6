import Foundation
import Memory
import TestSupport
import Testing

@testable import ActCache
@testable import Harvest

/// As `FaultTests`, of a cache that grows: fixed-point steps that are published by link(2), teacher targets, a second text,
/// a hook that lags and catches up, and a manifest that is made anew.
@Suite struct GrowthFaultTests {
  /// Commands one after the other on one cache.
  private struct Growth {
    let folder: TemporaryFolder
    private let text: String
    private(set) var whole: [String: Data]
    var cache: String
    static let nCommands = 4

    init() throws {
      folder = try TemporaryFolder()
      text = folder.path + "/text.txt"
      try write(stories(8).joined(separator: "<|endoftext|>"), to: text)
      (whole, cache) = ([:], folder.path + "/whole")
      for command in 0..<Growth.nCommands { try run(command, RealFiles()) }
      let names = Set(try tree(cache).keys.compactMap { $0.split(separator: "/").dropFirst().first.map(String.init) })
      #expect(
        names.isSuperset(of: ["wide", "narrow", "topk:2", "hidden", "8.json", "15.json"]), "\(names)")
      whole = try tree(cache)
      cache = folder.path + "/cache"
    }

    func run(_ command: Int, _ files: any FileOperations) throws {
      var configuration = HarvestConfiguration()
      configuration.model = "fake"
      configuration.corpora = [text]
      configuration.context = 16
      configuration.shardTokens = 6 * 16
      configuration.batchTokens = 6 * 16
      configuration.out = cache
      switch command {
      case 0: (configuration.hooks, configuration.dtype, configuration.tokens) = (["wide"], "fix:8", 16 * 8)
      case 1:
        (configuration.hooks, configuration.tokens) = (["narrow"], 16 * 15)
        configuration.logits = ["topk:2", "hidden"]
      case 2: (configuration.hooks, configuration.dtype, configuration.tokens) = (["wide"], "fix:8", 16 * 15)
      default:
        let manifest = cache + "/manifest.json"
        if FileManager.default.fileExists(atPath: manifest) { try removeFile(manifest, files: files) }
        _ = try CacheIndex.write(cache: cache, files: files)
        return
      }
      _ = try HarvestRun(
        configuration, source: FakeModel(), tokenizer: ByteTokenizer(), minFrameBytes: 4096, files: files
      ).run()
    }

    /// - Returns: the number of the command that failed, and how.
    func run(_ files: any FileOperations) -> (command: Int, error: any Error)? {
      for command in 0..<Growth.nCommands { do { try run(command, files) } catch { return (command, error) } }
      return nil
    }

    /// Every receipt is whole, and so is the file that it names; the commands from the one that failed on end in the whole
    /// cache and leave nothing else.
    func requireThatItFinishes(from command: Int, _ place: String) throws {
      let contents = try CacheContents(cache: cache)
      #expect(contents.problems.isEmpty, "\(place): \(contents.problems)")
      for receipt in contents.receipts.values.joined() {
        let bytes = try Data(contentsOf: URL(fileURLWithPath: cache + "/" + receipt.file.path))
        #expect(CanonicalJSON.hexDigest(of: [UInt8](bytes)) == receipt.file.sha256, "\(place): \(receipt.file.path)")
      }
      // The last harvest once more: the next one clears away what a killed `index` has begun.
      for command in Array(command..<Growth.nCommands) + [2] { try run(command, RealFiles()) }
      let there = try tree(cache)
      let different = Set(there.keys).union(whole.keys).filter { there[$0] != whole[$0] }
      #expect(different.isEmpty, "\(place): \(different)")
      let names = FileManager.default.subpaths(atPath: cache) ?? []
      #expect(!names.contains { $0.contains(".tmp.") }, "\(place): \(names.filter { $0.contains(".tmp.") })")
    }

    func clear() throws {
      if FileManager.default.fileExists(atPath: cache) { try FileManager.default.removeItem(atPath: cache) }
    }
  }

  /// With ACTCACHE_FAULTS=all every place, otherwise some, other ones each time.
  private func places(_ n: Int, atLeast some: Int) -> [Int] {
    if ProcessInfo.processInfo.environment["ACTCACHE_FAULTS"] == "all" { return Array(0..<n) }
    #if DEBUG
      let step = max(1, n / some)
    #else
      let step = max(1, n / (8 * some))
    #endif
    return Array(stride(from: Int.random(in: 0..<step), to: n, by: step))
  }

  @Test func aPowerLossAtAnyOperationOfAGrowingCacheLosesNoReceipt() throws {
    let growth = try Growth()
    let counting = CrashingFiles()
    #expect(growth.run(counting) == nil)
    #expect(counting.nOperations > 300)
    print("power loss at \(counting.nOperations) operations of a growing cache")
    for crash in places(counting.nOperations, atLeast: 12) {
      for seed in [0, UInt64(2 + crash)] {
        try growth.clear()
        let files = CrashingFiles(crashAt: crash)
        let command = try #require(growth.run(files)?.command)
        try files.settle(seed: seed)
        try growth.requireThatItFinishes(
          from: command, "operation \(crash) (\(files.operations.last ?? "")) of command \(command), seed \(seed)")
      }
    }
  }

  @Test(arguments: [
    (FailingFiles.Fault.error(EIO), false), (.error(EIO), true), (.error(ENOSPC), true), (.error(EINTR), false),
    (.short, true),
  ])
  func aFailingCallWhileACacheGrowsIsAnErrorOrInvisible(fault: FailingFiles.Fault, isLasting: Bool) throws {
    let growth = try Growth()
    let counting = FailingFiles()
    #expect(growth.run(counting) == nil)
    for call in places(counting.nCalls, atLeast: 6) {
      try growth.clear()
      let files = FailingFiles(at: call, fault, isLasting: isLasting)
      let place = "\(fault), lasting: \(isLasting), at call \(call)"
      let failure = growth.run(files)
      if let error = failure?.error {
        if case .error(EINTR) = fault { Issue.record("\(place): \(error)") }
        if case .short = fault { Issue.record("\(place): \(error)") }
        #expect("\(error)".hasPrefix("/"), "\(place) names no file: \(error)")
      }
      #expect(files.violations.isEmpty, "\(place): \(files.violations)")
      try growth.requireThatItFinishes(from: failure?.command ?? Growth.nCommands - 1, place)
    }
  }
}
