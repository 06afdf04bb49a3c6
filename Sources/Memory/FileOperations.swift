import Foundation

/// An open file as the operations see it; a `FileDescriptor` owns it.
package struct OpenFile: Hashable, Sendable {
  /// The system's number for it.
  package let number: Int32
  package let path: String

  package init(number: Int32, path: String) {
    self.number = number
    self.path = path
  }
}

/// The system calls that writing, committing and reading back files takes, each made once: no call is repeated, a write
/// may be short, and every failure is a `MemoryError.system`, EINTR among them.
///
/// What repeats and combines them (`FileDescriptor`, `DurableFile`, `createFolder`, `readFile` …) is written above this
/// protocol, so that tests can put failing and crashing operations (`TestSupport`) under it.
package protocol FileOperations: Sendable {
  /// open(2) for writing a file that must not exist yet (O_EXCL).
  func create(_ path: String) throws(MemoryError) -> OpenFile
  /// open(2), read-only, of a file or folder; anything else is a `MemoryError.format`. Does not wait.
  func open(_ path: String) throws(MemoryError) -> OpenFile
  /// write(2) at the end of what was written so far. Returns how many bytes were written, which may be fewer.
  func write(_ bytes: RawSpan, to file: OpenFile) throws(MemoryError) -> Int
  /// pread(2). Returns fewer bytes than `count` at the end of the file, and sometimes before it.
  func read(_ file: OpenFile, at offset: Int, upTo count: Int) throws(MemoryError) -> [UInt8]
  /// fstat(2): size in bytes. A folder is refused (EISDIR).
  func size(of file: OpenFile) throws(MemoryError) -> Int
  /// fsync(2) of a file: its bytes survive a power loss; its name may not.
  func synchronize(_ file: OpenFile) throws(MemoryError)
  /// close(2). Whatever it reports, the file is closed.
  func close(_ file: OpenFile) throws(MemoryError)
  /// rename(2), which replaces `new`.
  func rename(_ old: String, to new: String) throws(MemoryError)
  /// link(2): a second name for the file `old`. EEXIST if `new` exists.
  func link(_ old: String, to new: String) throws(MemoryError)
  /// unlink(2).
  func unlink(_ path: String) throws(MemoryError)
  /// mkdir(2). EEXIST if there is one.
  func makeFolder(_ path: String) throws(MemoryError)
  /// fsync(2) of a folder: the names in it survive a power loss, if its own does.
  func synchronizeFolder(_ path: String) throws(MemoryError)
  /// The names in a folder, sorted, without `.` and `..` (readdir(3)).
  func list(_ folder: String) throws(MemoryError) -> [String]
}

/// Calls `body` again for as long as a signal interrupts it (EINTR).
@discardableResult
package func uninterrupted<R: ~Copyable>(_ body: () throws(MemoryError) -> R) throws(MemoryError) -> R {
  while true {
    do { return try body() } catch .system(_, _, EINTR) { continue }
  }
}
