import Foundation
import Memory
import Synchronization
import TestSupport
import Testing

/// What writers leave behind when a call fails.
@Suite struct DurableFileFailureTests {
  private let old = payload(700, seed: 1)
  private let new = payload(1500, seed: 2)

  private func write(_ path: String, _ files: any FileOperations) throws {
    var file = try DurableFile(path: path, files: files)
    for piece in [0..<3, 3..<1400, 1400..<1500] { try file.write(Array(new[piece])) }
    try file.commit()
  }

  /// Runs `write` with the fault at every call, over an older file if `isThere`, and hands the outcome to `check`.
  private func atEveryCall(
    _ fault: FailingFiles.Fault, isLasting: Bool, calls: [FailingFiles.Call] = FailingFiles.Call.allCases,
    isThere: Bool = true, _ write: (String, any FileOperations) throws -> Void,
    _ check: (_ files: FailingFiles, _ error: MemoryError?, _ found: [UInt8]?, _ left: [String]) throws -> Void
  ) throws {
    for n in 0... {
      let folder = try TemporaryFolder()
      let path = folder.path + "/a.bin"
      if isThere { try Data(old).write(to: URL(fileURLWithPath: path)) }
      let files = FailingFiles(at: n, fault, isLasting: isLasting, calls: calls)
      var failure: MemoryError?
      do { try write(path, files) } catch { failure = try #require(error as? MemoryError) }
      #expect(files.violations == [])
      let left = try listFolder(folder.path).filter { $0 != "a.bin" }
      #expect(left.isEmpty || files.failed.contains(.unlink), "call \(n), \(fault): \(left)")
      let found = try? readFile(path, atMost: 1 << 20)
      try check(files, failure, found, left)
      if files.nCalls <= n {
        #expect(n >= 6 || calls != FailingFiles.Call.allCases)
        return
      }
    }
  }

  @Test(arguments: [EIO, ENOSPC], [false, true])
  func failingCallLeavesTheOldOrTheNewFile(code: Int32, isLasting: Bool) throws {
    try atEveryCall(.error(code), isLasting: isLasting, write) { files, error, found, _ in
      if let error {
        guard case .system(_, _, code) = error else {
          Issue.record("\(error)")
          return
        }
        // Once renamed, the file is there, and the error says that it may not last.
        #expect(found == (files.failed.contains(.synchronizeFolder) ? new : old))
      } else {
        #expect(found == new && files.failed == [])
      }
    }
  }

  @Test(arguments: [EIO, ENOSPC], [false, true])
  func failingCallLeavesAFileWrittenIfAbsentWholeOrAbsent(code: Int32, isLasting: Bool) throws {
    for isThere in [false, true] {
      var isFirst = false
      try atEveryCall(.error(code), isLasting: isLasting, isThere: isThere) { path, files in
        isFirst = try DurableFile.writeIfAbsent(new, to: path, files: files)
      } _: { files, error, found, _ in
        if error == nil { #expect(isFirst == !isThere && found == (isThere ? old : new)) }
        #expect(found == (isThere ? old : nil) || (!isThere && found == new))
      }
    }
  }

  @Test func fullDiskLeavesNoTemporary() throws {
    try atEveryCall(.error(ENOSPC), isLasting: true, calls: FailingFiles.Call.takingSpace, write) { _, _, _, left in
      #expect(left == [])
    }
  }

  @Test(arguments: [FailingFiles.Fault.error(EINTR), .short], [false, true])
  func interruptionsAndShortWritesAreInvisible(fault: FailingFiles.Fault, isLasting: Bool) throws {
    var nHits = 0
    try atEveryCall(fault, isLasting: isLasting, write) { files, error, found, left in
      #expect(error == nil && found == new && left == [])
      nHits += files.failed.count
    }
    try atEveryCall(fault, isLasting: isLasting, isThere: false) { path, files in
      let isFirst = try DurableFile.writeIfAbsent(new, to: path, files: files)
      #expect(isFirst)
    } _: { _, error, found, left in
      #expect(error == nil && found == new && left == [])
    }
    #expect(fault == .short || nHits > 0)
  }

  @Test(arguments: [FailingFiles.Fault.error(EINTR), .short], [false, true])
  func interruptedAndShortReadsGiveTheWholeFile(fault: FailingFiles.Fault, isLasting: Bool) throws {
    let folder = try TemporaryFolder()
    try DurableFile.write(new, to: folder.path + "/a.bin")
    for n in 0..<5 {
      let files = FailingFiles(at: n, fault, isLasting: isLasting)
      #expect(try readFile(folder.path + "/a.bin", atMost: new.count, files: files) == new)
      #expect(try listFolder(folder.path, files: files) == ["a.bin"])
    }
  }

  @Test func fileIsDeadAfterAnError() throws {
    let folder = try TemporaryFolder()
    let path = folder.path + "/a.bin"
    let files = FailingFiles(at: 0, .error(EIO), calls: [.synchronize])
    var file = try DurableFile(path: path, files: files)
    try file.write(new)
    var errors: [MemoryError] = []
    do { try file.commit() } catch { errors.append(error) }
    #expect(try listFolder(folder.path) == [])
    do { try file.commit() } catch { errors.append(error) }
    do { try file.write(new) } catch { errors.append(error) }
    do { _ = try file.commitIfAbsent() } catch { errors.append(error) }
    #expect(errors.count == 4 && Set(errors.map(\.description)).count == 1, "\(errors)")
    #expect(files.nCalls == 1 && files.violations == [])
    #expect(errors.first?.description.hasSuffix(": fsync failed: Input/output error") == true, "\(errors)")
  }

  @Test func useOfAFileWhoseSynchronizationFailedIsReported() throws {
    let folder = try TemporaryFolder()
    let path = folder.path + "/a"
    let files = FailingFiles(at: 0, .error(EIO), calls: [.synchronize])
    let file = try FileDescriptor(creating: path, files: files)
    #expect(throws: MemoryError.system(call: "fsync", path: path, errno: EIO)) { try file.synchronize() }
    try file.synchronize()
    try files.rename(path, to: path + "2")
    #expect(files.violations == ["fsync of \(path)", "rename of \(path)"])
  }

  @Test func oneOfManyWritersIsFirst() throws {
    let folder = try TemporaryFolder()
    let path = folder.path + "/a.bin"
    let payloads = (0..<8).map { payload(3000, seed: $0) }
    let winners = Mutex<[Int]>([])
    DispatchQueue.concurrentPerform(iterations: payloads.count) { i in
      if (try? DurableFile.writeIfAbsent(payloads[i], to: path)) == true { winners.withLock { $0.append(i) } }
    }
    let first = winners.withLock { $0 }
    #expect(first.count == 1)
    #expect(try readFile(path, atMost: 3000) == payloads[first[0]])
    #expect(try listFolder(folder.path) == ["a.bin"])
  }

  @Test func folderThatCannotBeSynchronizedIsNoError() throws {
    let folder = try TemporaryFolder()
    let unsupported = FailingFiles(at: 0, .error(EINVAL), isLasting: true, calls: [.synchronizeFolder])
    try createFolder(folder.path + "/a/b", files: unsupported)
    try DurableFile.write(new, to: folder.path + "/a/b/c", files: unsupported)
    let unreadable = FailingFiles(at: 0, .error(EACCES), isLasting: true, calls: [.synchronizeFolder])
    try createFolder(folder.path + "/a/b", files: unreadable)
    #expect(unsupported.nCalls == 4 && unreadable.nCalls == 1)
  }
}
