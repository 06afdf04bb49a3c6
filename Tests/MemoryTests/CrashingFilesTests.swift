import Foundation
import Memory
import TestSupport
import Testing

/// The model of the disk, case by case: seed 0 loses all that may be lost, seed 1 nothing.
@Suite struct CrashingFilesTests {
  private let folder: TemporaryFolder
  private let files = CrashingFiles()
  private var path: String { folder.path }

  init() throws { folder = try TemporaryFolder() }

  private func create(_ name: String, _ bytes: [UInt8], isSynchronized: Bool) throws {
    let file = try FileDescriptor(creating: path + "/" + name, files: files)
    try file.write(bytes.span.bytes)
    if isSynchronized { try file.synchronize() }
  }

  private func contents() throws -> [String: [UInt8]] {
    var contents: [String: [UInt8]] = [:]
    for name in try listFolder(path) { contents[name] = try readFile(path + "/" + name, atMost: 1 << 20) }
    return contents
  }

  @Test func synchronizedFileHasNoNameUntilTheFolderIs() throws {
    try create("a", [1], isSynchronized: true)
    try files.settle(seed: 0)
    #expect(try contents() == [:])
    try files.settle(seed: 1)
    #expect(try contents() == ["a": [1]])
  }

  @Test func nameOfASynchronizedFolderMayHaveNoBytes() throws {
    try create("a", [1], isSynchronized: false)
    try files.synchronizeFolder(path)
    try files.settle(seed: 0)
    #expect(try contents() == ["a": []])
    try files.settle(seed: 1)
    #expect(try contents() == ["a": [1]])
  }

  @Test func bytesWrittenAfterAnFsyncAreCutAndTorn() throws {
    let bytes = payload(2000, seed: 3)
    let (durable, later) = (Array(bytes[..<700]), Array(bytes[700...]))
    let file = try FileDescriptor(creating: path + "/a", files: files)
    try file.write(durable.span.bytes)
    try file.synchronize()
    try file.write(later.span.bytes)
    try files.synchronizeFolder(path)
    var counts: Set<Int> = []
    var nTorn = 0
    for seed in 0..<200 as Range<UInt64> {
      try files.settle(seed: seed)
      let found = try #require(try contents()["a"])
      #expect(found.starts(with: durable))
      counts.insert(found.count)
      if !bytes.starts(with: found) { nTorn += 1 }
    }
    #expect(counts == [700, 1024, 1536, 2000])
    #expect(nTorn > 20 && nTorn < 180)
  }

  @Test func renameIsUndoneAsAWhole() throws {
    try Data([1]).write(to: URL(fileURLWithPath: path + "/b"))
    try create("a", [2], isSynchronized: true)
    try files.synchronizeFolder(path)
    try files.rename(path + "/a", to: path + "/b")
    try files.settle(seed: 0)
    #expect(try contents() == ["a": [2], "b": [1]])
    try files.settle(seed: 1)
    #expect(try contents() == ["b": [2]])
    for seed in 2..<40 as Range<UInt64> {
      try files.settle(seed: seed)
      #expect(try [["a": [2], "b": [1]], ["b": [2]]].contains(contents()))
    }
  }

  @Test func unlinkIsUndone() throws {
    try create("a", [1], isSynchronized: true)
    try files.synchronizeFolder(path)
    try files.unlink(path + "/a")
    try files.settle(seed: 0)
    #expect(try contents() == ["a": [1]])
    files.restart()
    try files.unlink(path + "/a")
    try files.synchronizeFolder(path)
    try files.settle(seed: 0)
    #expect(try contents() == [:])
  }

  @Test func laterNameMaySurviveAnEarlierOne() throws {
    try create("a", [1], isSynchronized: true)
    try create("b", [2], isSynchronized: true)
    var seen: Set<[String]> = []
    for seed in 0..<40 as Range<UInt64> {
      try files.settle(seed: seed)
      seen.insert(try contents().keys.sorted())
    }
    #expect(seen == [[], ["a"], ["b"], ["a", "b"]])
  }

  @Test func everythingInALostFolderIsLost() throws {
    try files.makeFolder(path + "/f")
    try create("f/a", [1], isSynchronized: true)
    try files.synchronizeFolder(path + "/f")
    try files.settle(seed: 0)
    #expect(try listFolder(path) == [])
    try files.settle(seed: 1)
    #expect(try readFile(path + "/f/a", atMost: 1) == [1])
    try files.settle(seed: 0)
    #expect(try listFolder(path) == [])
  }

  @Test func killedProcessLosesNothingThatAPowerLossWouldNot() throws {
    try create("a", [1], isSynchronized: false)
    files.restart(crashAt: 0)
    #expect(throws: MemoryError.system(call: "crash", path: path, errno: ECANCELED)) {
      try files.synchronizeFolder(path)
    }
    #expect(files.hasCrashed && files.operations == ["fsync \(path)"])
    #expect(try contents() == ["a": [1]])
    #expect(throws: MemoryError.self) { try files.unlink(path + "/a") }
    #expect(throws: MemoryError.self) { try readFile(path + "/a", atMost: 1, files: files) }
    files.restart()
    #expect(try readFile(path + "/a", atMost: 1, files: files) == [1])
    try files.settle(seed: 0)
    #expect(try contents() == [:])
  }

  @Test func crashDuringAWriteLeavesHalfOfIt() throws {
    let crashing = CrashingFiles(crashAt: 1)
    let file = try FileDescriptor(creating: path + "/a", files: crashing)
    let bytes: [UInt8] = [1, 2, 3, 4]
    #expect(throws: MemoryError.self) { try file.write(bytes.span.bytes) }
    #expect(try contents() == ["a": [1, 2]])
  }

  @Test func sameSeedGivesTheSameDisk() throws {
    try create("a", payload(5000, seed: 4), isSynchronized: false)
    try files.synchronizeFolder(path)
    try files.settle(seed: 7)
    let first = try contents()
    try files.settle(seed: 8)
    try files.settle(seed: 7)
    #expect(try contents() == first)
  }
}
