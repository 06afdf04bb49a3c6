import Foundation
import Memory
import TestSupport
import Testing

@Suite struct FileTests {
  @Test func committedFileIsReadBackAndLeavesNoTemporary() throws {
    let folder = try TemporaryFolder()
    let path = folder.path + "/a.bin"
    try DurableFile.write([1, 2, 3], to: path)
    let file = try MappedFile(path: path)
    #expect(file.count == 3)
    #expect(
      try file.withBytes(at: 1, count: 2) {
        [$0.unsafeLoad(as: UInt8.self), $0.unsafeLoad(fromByteOffset: 1, as: UInt8.self)]
      } == [2, 3])
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path) == ["a.bin"])
  }

  @Test func abandonedFileLeavesNothing() throws {
    let folder = try TemporaryFolder()
    do {
      var file = try DurableFile(path: folder.path + "/a.bin")
      try file.write([1])
    }
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path).isEmpty)
  }

  @Test func emptyFileMapsToNoBytes() throws {
    let folder = try TemporaryFolder()
    try DurableFile.write([], to: folder.path + "/e")
    let file = try MappedFile(path: folder.path + "/e")
    #expect(file.withBytes { $0.byteCount } == 0)
  }

  @Test func readingPastTheEndNamesTheBytes() throws {
    let folder = try TemporaryFolder()
    let path = folder.path + "/s"
    try DurableFile.write([1, 2, 3], to: path)
    let file = try MappedFile(path: path)
    #expect(throws: MemoryError.outOfBounds(path: path, offset: 2, count: 2, size: 3)) {
      try file.withBytes(at: 2, count: 2) { _ in }
    }
    #expect(
      "\(MemoryError.outOfBounds(path: "/s", offset: 2, count: 2, size: 3))"
        == "/s: bytes 2..<4 asked for, the file has 3; it is cut short or not of this format")
  }

  @Test func missingFileSaysSo() throws {
    #expect(throws: MemoryError.system(call: "open", path: "/no/such", errno: ENOENT)) {
      _ = try MappedFile(path: "/no/such")
    }
    #expect(
      "\(MemoryError.system(call: "open", path: "/no/such", errno: ENOENT))"
        == "/no/such: open failed: No such file or directory; check the path")
  }

  @Test func foldersAreMadeWithTheirParentsAndMayExist() throws {
    let folder = try TemporaryFolder()
    for _ in 0..<2 { try createFolder(folder.path + "/a/b//c/") }
    try DurableFile.write([1], to: folder.path + "/a/b/c/f")
    #expect(try MappedFile(path: folder.path + "/a/b/c/f").count == 1)
  }

  @Test func aNamedPipeIsRefusedAndNotWaitedFor() throws {
    let folder = try TemporaryFolder()
    let path = folder.path + "/pipe"
    #expect(mkfifo(path, 0o600) == 0)
    let error = MemoryError.format(path: path, "it is no file, but a named pipe")
    #expect(throws: error) { _ = try FileDescriptor(readingFrom: path) }
    #expect(throws: error) { _ = try MappedFile(path: path) }
    #expect(throws: error) { _ = try readFile(path, atMost: 9) }
  }

  @Test func whatMayNotBeReadIsNotCalledAPlaceToWrite() {
    let read = MemoryError.system(call: "open", path: "/s", errno: EACCES)
    #expect(
      "\(read)"
        == "/s: open failed: Permission denied; you may not read it: change its permissions, or have its owner run this"
    )
    #expect(read.exitCode == 66)
    let write = MemoryError.system(call: "create", path: "/s", errno: EACCES)
    #expect(
      "\(write)"
        == "/s: create failed: Permission denied; choose a place that you may write, or change its permissions")
    #expect(write.exitCode == 73)
  }
}
