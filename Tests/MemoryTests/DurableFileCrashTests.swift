import Foundation
import Memory
import TestSupport
import Testing

/// What is under a name after a crash at every operation and many power losses.
@Suite struct DurableFileCrashTests {
  private static let seeds: Range<UInt64> = 0..<24
  private static let old = payload(700, seed: 1)
  private static let new = payload(1500, seed: 2)

  private typealias Write = (_ path: String, _ files: any FileOperations) throws -> Void

  /// Runs `write` over an older file with a crash at every operation, and returns what breaks the promise that the name
  /// holds the older bytes or the new ones, and the new ones once `write` has returned.
  ///
  /// - Parameter disk: what the writer sees of the crashing disk.
  private func brokenPromises(
    old: [UInt8]? = old, disk: (CrashingFiles) -> any FileOperations = { $0 }, _ write: Write
  ) throws -> [String] {
    var broken: [String] = []
    for crashAt in 0... {
      let folder = try TemporaryFolder()
      let path = folder.path + "/a.bin"
      if let old { try Data(old).write(to: URL(fileURLWithPath: path)) }
      let crashing = CrashingFiles(crashAt: crashAt)
      let hasReturned = (try? write(path, disk(crashing))) != nil
      let isLast = !crashing.hasCrashed
      for seed in DurableFileCrashTests.seeds {
        try crashing.settle(seed: seed)
        let found = FileManager.default.contents(atPath: path).map { [UInt8]($0) }
        if found == DurableFileCrashTests.new || (found == old && !hasReturned) { continue }
        broken.append(
          "\(hasReturned ? "returned" : "crash at \(crashAt)") (\(crashing.operations.last ?? "")), seed \(seed): "
            + (found == nil ? "gone" : found == old ? "old" : "neither"))
      }
      if isLast { break }
    }
    return broken
  }

  private func write(_ path: String, _ files: any FileOperations) throws {
    var file = try DurableFile(path: path, files: files)
    for piece in [0..<3, 3..<1400, 1400..<1500] { try file.write(Array(DurableFileCrashTests.new[piece])) }
    try file.commit()
  }

  @Test func nameHoldsTheOldOrTheNewFileAfterAPowerLoss() throws {
    #expect(try brokenPromises(write) == [])
    #expect(try brokenPromises(old: nil, write) == [])
  }

  @Test func failedFsyncBeforeThePowerLossChangesNothing() throws {
    for fault in [EIO, ENOSPC, EINTR] {
      let broken = try brokenPromises(disk: { FailingFiles(at: 0, .error(fault), calls: [.synchronize], over: $0) }) {
        try write($0, $1)
      }
      #expect(broken == [])
    }
  }

  @Test func fileWrittenIfAbsentIsWholeOrAbsentAfterAPowerLoss() throws {
    let broken = try brokenPromises(old: nil) { path, files in
      let isFirst = try DurableFile.writeIfAbsent(DurableFileCrashTests.new, to: path, files: files)
      #expect(isFirst)
    }
    #expect(broken == [])
  }

  @Test func fileThatIsThereOutlivesWhoComesSecond() throws {
    for seed in DurableFileCrashTests.seeds {
      for crashAt in 0..<6 {
        let folder = try TemporaryFolder()
        let path = folder.path + "/a.bin"
        let files = CrashingFiles()
        #expect(try DurableFile.writeIfAbsent(DurableFileCrashTests.old, to: path, files: files))
        files.restart(crashAt: crashAt)
        let isFirst = try? DurableFile.writeIfAbsent(DurableFileCrashTests.new, to: path, files: files)
        #expect(isFirst == (files.hasCrashed ? nil : false))
        try files.settle(seed: seed)
        #expect(FileManager.default.contents(atPath: path).map { [UInt8]($0) } == DurableFileCrashTests.old)
      }
    }
  }

  /// The first of two writers is killed before its name is durable; the second is told that the file exists.
  @Test func whoComesSecondMayRelyOnTheFirstsFile() throws {
    var nAnswers = 0
    for crashAt in 0..<6 {
      let folder = try TemporaryFolder()
      let path = folder.path + "/a.bin"
      let files = CrashingFiles(crashAt: crashAt)
      _ = try? DurableFile.writeIfAbsent(DurableFileCrashTests.old, to: path, files: files)
      files.restart()
      let isFirst = try DurableFile.writeIfAbsent(DurableFileCrashTests.new, to: path, files: files)
      if !isFirst { nAnswers += 1 }
      try files.settle(seed: 0)
      #expect(
        FileManager.default.contents(atPath: path).map { [UInt8]($0) }
          == (isFirst ? DurableFileCrashTests.new : DurableFileCrashTests.old))
    }
    #expect(nAnswers > 1)
  }

  @Test func killedWriterLeavesTheOldOrTheNewFile() throws {
    for crashAt in 0... {
      let folder = try TemporaryFolder()
      let path = folder.path + "/a.bin"
      try Data(DurableFileCrashTests.old).write(to: URL(fileURLWithPath: path))
      let files = CrashingFiles(crashAt: crashAt)
      let hasReturned = (try? write(path, files)) != nil
      let found = try readFile(path, atMost: 1 << 20)
      #expect(found == DurableFileCrashTests.new || (found == DurableFileCrashTests.old && !hasReturned))
      if hasReturned {
        #expect(crashAt == files.nOperations)
        break
      }
    }
  }

  // Tests of these tests: each protocol lacks something, and is caught.

  @Test func missingFileSynchronizationIsCaught() throws {
    let broken = try brokenPromises(disk: {
      FailingFiles(at: 0, .lie, isLasting: true, calls: [.synchronize], over: $0)
    }) { try write($0, $1) }
    #expect(broken.contains { $0.hasPrefix("crash") && $0.hasSuffix("neither") }, "\(broken)")
    #expect(broken.contains { $0.hasPrefix("returned") && $0.hasSuffix("neither") }, "\(broken)")
  }

  @Test func missingFolderSynchronizationIsCaught() throws {
    let broken = try brokenPromises(
      disk: { FailingFiles(at: 0, .lie, isLasting: true, calls: [.synchronizeFolder], over: $0) }
    ) { try write($0, $1) }
    #expect(!broken.isEmpty && broken.allSatisfy { $0.hasPrefix("returned") && $0.hasSuffix("old") }, "\(broken)")
  }

  @Test func writingUnderTheNameItselfIsCaught() throws {
    let broken = try brokenPromises { path, files in
      try files.unlink(path)
      let file = try FileDescriptor(creating: path, files: files)
      try file.write(DurableFileCrashTests.new.span.bytes)
      try file.synchronize()
      try synchronizeFolder(of: path, files: files)
    }
    #expect(broken.contains { $0.hasSuffix("gone") } && broken.contains { $0.hasSuffix("neither") }, "\(broken)")
    #expect(!broken.contains { $0.hasPrefix("returned") }, "\(broken)")
  }

  @Test func renamingBeforeTheBytesAreThereIsCaught() throws {
    let broken = try brokenPromises { path, files in
      let file = try FileDescriptor(creating: path + ".tmp", files: files)
      try file.write(DurableFileCrashTests.new.span.bytes)
      try files.rename(path + ".tmp", to: path)
      try file.synchronize()
      try synchronizeFolder(of: path, files: files)
    }
    #expect(broken.contains { $0.hasPrefix("crash") && $0.hasSuffix("neither") }, "\(broken)")
    #expect(!broken.contains { $0.hasPrefix("returned") }, "\(broken)")
  }
}

/// `count` seeded bytes.
func payload(_ count: Int, seed: UInt64) -> [UInt8] {
  var generator = SeededGenerator(seed: seed)
  return (0..<count).map { _ in .random(in: 0...255, using: &generator) }
}
