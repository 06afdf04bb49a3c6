import Memory
import TestSupport
import Testing

@Suite struct PageCacheTests {
  @Test func aDroppedFileIsColdUntilItIsRead() throws {
    let folder = try TemporaryFolder()
    let path = folder.path + "/a"
    try DurableFile.write([UInt8](repeating: 7, count: 1 << 20), to: path)
    #expect(try PageCache.residentShare(path) == 1)
    try PageCache.drop(path)
    let cold = try PageCache.residentShare(path)
    // File systems in memory forget nothing.
    #expect(cold == 0 || cold == 1)
    _ = try MappedFile(path: path).copyOfBytes()
    #expect(try PageCache.residentShare(path) == 1)
  }

  @Test func anEmptyFileIsWhollyThere() throws {
    let folder = try TemporaryFolder()
    try DurableFile.write([], to: folder.path + "/e")
    try PageCache.drop(folder.path + "/e")
    #expect(try PageCache.residentShare(folder.path + "/e") == 1)
  }

  @Test func aMissingFileIsAnError() throws {
    #expect(throws: MemoryError.self) { try PageCache.drop("/nonexistent/file") }
    #expect(throws: MemoryError.self) { try PageCache.residentShare("/nonexistent/file") }
  }
}
