import Foundation
import Memory
import TestSupport
import Testing

@testable import ActCache
@testable import Harvest

/// A small harvest with every fault at every place: afterwards every shard with a receipt is whole, and the same command
/// ends in the same bytes as an undisturbed one.
@Suite struct FaultTests {
  private struct SmallHarvest {
    let folder: TemporaryFolder
    var configuration = HarvestConfiguration()
    let whole: [String: Data]

    init() throws {
      folder = try TemporaryFolder()
      try write(stories(8).joined(separator: "<|endoftext|>"), to: folder.path + "/text.txt")
      configuration.model = "fake"
      configuration.corpora = [folder.path + "/text.txt"]
      configuration.hooks = ["wide", "narrow"]
      configuration.context = 16
      configuration.shardTokens = 6 * 16
      configuration.batchTokens = 6 * 16
      configuration.tokens = 16 * 15
      configuration.out = folder.path + "/whole"
      _ = try HarvestRun(configuration, source: FakeModel(), tokenizer: ByteTokenizer(), minFrameBytes: 4096).run()
      whole = try tree(configuration.out)
      #expect(whole.count == 3 * 6 + 2)
      configuration.out = folder.path + "/cache"
    }

    func run(_ files: any FileOperations = RealFiles()) throws -> HarvestRun.Outcome {
      try HarvestRun(
        configuration, source: FakeModel(), tokenizer: ByteTokenizer(), minFrameBytes: 4096, files: files
      ).run()
    }

    /// Every receipt is whole, and so is the file that it names.
    func requireThatReceiptsHold(_ place: String) throws {
      let contents = try CacheContents(cache: configuration.out)
      #expect(contents.problems.isEmpty, "\(place): \(contents.problems)")
      for receipt in contents.receipts.values.joined() {
        let bytes = try Data(contentsOf: URL(fileURLWithPath: configuration.out + "/" + receipt.file.path))
        #expect(CanonicalJSON.hexDigest(of: [UInt8](bytes)) == receipt.file.sha256, "\(place): \(receipt.file.path)")
      }
    }

    /// The same command without faults ends in the whole cache, and nothing else is left.
    func requireThatItFinishes(_ place: String) throws {
      switch try run() {
      case .finished, .alreadyComplete: break
      case let outcome: Issue.record("\(place): \(outcome)")
      }
      #expect(try tree(configuration.out) == whole, "\(place)")
      let names = FileManager.default.subpaths(atPath: configuration.out) ?? []
      #expect(!names.contains { $0.contains(".tmp.") }, "\(place): \(names.filter { $0.contains(".tmp.") })")
    }

    func clear() throws {
      if FileManager.default.fileExists(atPath: configuration.out) {
        try FileManager.default.removeItem(atPath: configuration.out)
      }
    }
  }

  /// All places, or in a debug build, where a harvest takes long, every sixth.
  private func places(_ n: Int) -> [Int] {
    #if DEBUG
      Array(stride(from: Int.random(in: 0..<6), to: n, by: 6))
    #else
      Array(0..<n)
    #endif
  }

  @Test func aPowerLossAtAnyOperationLosesNoReceipt() throws {
    let harvest = try SmallHarvest()
    let counting = CrashingFiles()
    _ = try harvest.run(counting)
    #expect(counting.nOperations > 150)
    print("power loss at \(counting.nOperations) operations")
    for crash in places(counting.nOperations) {
      for seed in [0, 1, UInt64(2 + crash)] {
        try harvest.clear()
        let files = CrashingFiles(crashAt: crash)
        #expect(throws: (any Error).self) { try harvest.run(files) }
        try files.settle(seed: seed)
        let place = "operation \(crash) (\(files.operations.last ?? "")), seed \(seed)"
        try harvest.requireThatReceiptsHold(place)
        try harvest.requireThatItFinishes(place)
      }
    }
  }

  @Test func aPowerLossAfterAKilledAndARepeatedRunLosesNothing() throws {
    let harvest = try SmallHarvest()
    let counting = CrashingFiles()
    _ = try harvest.run(counting)
    for crash in places(counting.nOperations) {
      try harvest.clear()
      let files = CrashingFiles(crashAt: crash)
      #expect(throws: (any Error).self) { try harvest.run(files) }
      files.restart()
      _ = try harvest.run(files)
      // All that is not durable is lost: what the killed process had not synchronized, the second has relied on.
      try files.settle(seed: 0)
      #expect(try tree(harvest.configuration.out) == harvest.whole, "killed at operation \(crash)")
    }
  }

  @Test(arguments: [
    (FailingFiles.Fault.error(EIO), false), (.error(EIO), true), (.error(ENOSPC), false), (.error(ENOSPC), true),
    (.error(EINTR), false), (.short, false), (.short, true),
  ])
  func aFailingCallAtAnyPlaceIsAnErrorOrInvisible(fault: FailingFiles.Fault, isLasting: Bool) throws {
    let harvest = try SmallHarvest()
    let counting = FailingFiles()
    _ = try harvest.run(counting)
    for call in places(counting.nCalls) {
      try harvest.clear()
      let files = FailingFiles(at: call, fault, isLasting: isLasting)
      let place = "\(fault), lasting: \(isLasting), at call \(call)"
      do {
        _ = try harvest.run(files)
        #expect(try tree(harvest.configuration.out) == harvest.whole, "\(place)")
      } catch {
        if case .error(EINTR) = fault { Issue.record("\(place): \(error)") }
        if case .short = fault { Issue.record("\(place): \(error)") }
        #expect("\(error)".hasPrefix("/"), "\(place) names no file: \(error)")
      }
      #expect(files.violations.isEmpty, "\(place): \(files.violations)")
      try harvest.requireThatReceiptsHold(place)
      try harvest.requireThatItFinishes(place)
    }
  }
}
