import Foundation
import Memory
import TestSupport
import Testing

@Suite struct FolderTests {
  /// Makes a folder with a file in it and returns how often the power is lost so that the file is gone afterwards.
  ///
  /// - Parameter killAt: a first try is killed there, and another process does it again.
  private func nLosses(killAt: Int?, disk: (CrashingFiles) -> any FileOperations = { $0 }) throws -> Int {
    let folder = try TemporaryFolder()
    let files = CrashingFiles(crashAt: killAt ?? .max)
    func work() throws {
      try createFolder(folder.path + "/a/b/c", files: disk(files))
      try DurableFile.write([1, 2, 3], to: folder.path + "/a/b/c/f", files: disk(files))
    }
    if killAt != nil {
      #expect(throws: MemoryError.self) { try work() }
      files.restart()
    }
    try work()
    var n = 0
    for seed in 0..<24 as Range<UInt64> {
      try files.settle(seed: seed)
      if (try? readFile(folder.path + "/a/b/c/f", atMost: 3)) != [1, 2, 3] { n += 1 }
    }
    return n
  }

  @Test func fileInANewFolderOutlivesAPowerLoss() throws {
    #expect(try nLosses(killAt: nil) == 0)
    let careless = try nLosses(killAt: nil) {
      FailingFiles(at: 0, .lie, calls: [.synchronizeFolder], over: $0)
    }
    #expect(careless > 0)
  }

  @Test func folderThatAKilledProcessMadeOutlivesAPowerLoss() throws {
    for killAt in 0..<11 { #expect(try nLosses(killAt: killAt) == 0, "killed at \(killAt)") }
  }

  @Test(arguments: [false, true]) func failingCallsLeaveFoldersThatTheNextRunCompletes(isLasting: Bool) throws {
    for n in 0... {
      let folder = try TemporaryFolder()
      let path = folder.path + "/a/b"
      let files = FailingFiles(at: n, .error(EIO), isLasting: isLasting)
      do { try createFolder(path, files: files) } catch { #expect(!files.failed.isEmpty) }
      try createFolder(path)
      try DurableFile.write([1], to: path + "/f")
      let interrupted = FailingFiles(at: n, .error(EINTR), isLasting: isLasting)
      try createFolder(folder.path + "/c/d", files: interrupted)
      if files.nCalls <= n { break }
    }
  }

  @Test func namesInAFolderAreSorted() throws {
    let folder = try TemporaryFolder()
    for name in ["b", "a", ".c", "ä"] { try DurableFile.write([], to: folder.path + "/" + name) }
    #expect(try listFolder(folder.path) == [".c", "a", "b", "ä"])
    let missing = folder.path + "/none"
    let error = MemoryError.system(call: "opendir", path: missing, errno: ENOENT)
    #expect(throws: error) { try listFolder(missing) }
    #expect(error.exitCode == 66)
  }

  @Test func fileAboveTheLimitIsNotRead() throws {
    let folder = try TemporaryFolder()
    let path = folder.path + "/f"
    try DurableFile.write([1, 2, 3], to: path)
    #expect(try readFile(path, atMost: 3) == [1, 2, 3])
    let error = MemoryError.format(path: path, "it has 3 bytes, at most 2 are allowed")
    #expect(throws: error) { try readFile(path, atMost: 2) }
    #expect("\(error)" == "\(path): it has 3 bytes, at most 2 are allowed")
    try removeFile(path)
    #expect(throws: MemoryError.system(call: "unlink", path: path, errno: ENOENT)) { try removeFile(path) }
  }
}
