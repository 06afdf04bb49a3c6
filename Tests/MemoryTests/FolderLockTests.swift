import Memory
import TestSupport
import Testing

@Suite struct FolderLockTests {
  /// Whether the lock is to be had now.
  private func isFree(_ folder: TemporaryFolder, _ mode: FolderLock.Mode) throws -> Bool {
    switch try FolderLock(folder: folder.path, mode: mode) {
    case .some: true
    case .none: false
    }
  }

  @Test func exclusiveLockRefusesAllOthers() throws {
    let folder = try TemporaryFolder()
    let held = try FolderLock(folder: folder.path)
    #expect(try !isFree(folder, .exclusive))
    #expect(try !isFree(folder, .shared))
    _ = consume held
    #expect(try isFree(folder, .exclusive))
  }

  @Test func sharedLocksRefuseAnExclusiveOneUntilTheLastIsGone() throws {
    let folder = try TemporaryFolder()
    let first = try FolderLock(folder: folder.path, mode: .shared)
    let second = try FolderLock(folder: folder.path, mode: .shared)
    #expect(try !isFree(folder, .exclusive))
    _ = consume first
    #expect(try !isFree(folder, .exclusive))
    #expect(try isFree(folder, .shared))
    _ = consume second
    #expect(try isFree(folder, .exclusive))
  }

  @Test func aLockWhoseFileWasRemovedKeepsNobodyOut() throws {
    let folder = try TemporaryFolder()
    guard let first = try FolderLock(folder: folder.path) else {
      Issue.record("a new lock is held")
      return
    }
    try first.removeFile()
    guard let second = try FolderLock(folder: folder.path) else {
      Issue.record("a lock without a name is in the way")
      return
    }
    #expect(try listFolder(folder.path) == [".lock"])
    #expect(try !isFree(folder, .exclusive))
    _ = consume first
    _ = consume second
  }
}
