import Foundation

/// An open file; closed with the value. Its methods go on after interruptions and short writes.
public struct FileDescriptor: ~Copyable, Sendable {
  let file: OpenFile
  private let files: any FileOperations
  private var isOpen = true

  public var path: String { file.path }

  init(owning file: OpenFile, files: any FileOperations = RealFiles()) {
    self.file = file
    self.files = files
  }

  /// open(2), read-only, of a file or folder; anything else is a `MemoryError.format`.
  public init(readingFrom path: String) throws(MemoryError) { try self.init(readingFrom: path, files: RealFiles()) }

  /// open(2), read-only.
  package init(readingFrom path: String, files: any FileOperations) throws(MemoryError) {
    self.init(owning: try uninterrupted { () throws(MemoryError) in try files.open(path) }, files: files)
  }

  /// open(2), read-only, of whatever can be read from its beginning to its end; of a named pipe it waits for a writer.
  public init(streamingFrom path: String) throws(MemoryError) {
    let number = try uninterrupted { () throws(MemoryError) in
      try check("open", path) { unsafe open(path, O_RDONLY | O_CLOEXEC) }
    }
    self.init(owning: OpenFile(number: number, path: path))
  }

  /// open(2), for writing a file that must not exist yet.
  package init(creating path: String, files: any FileOperations) throws(MemoryError) {
    self.init(owning: try uninterrupted { () throws(MemoryError) in try files.create(path) }, files: files)
  }

  deinit { if isOpen { try? files.close(file) } }

  /// close(2). An error may be the last word on bytes that were not synchronized.
  package mutating func close() throws(MemoryError) {
    guard isOpen else { return }
    isOpen = false
    // Linux has closed the file even if it reports an interruption; a second close could hit another file.
    do { try files.close(file) } catch .system(_, _, EINTR) {}
  }

  /// Size in bytes (fstat(2)).
  public borrowing func size() throws(MemoryError) -> Int {
    let (file, files) = openFile()
    return try uninterrupted { () throws(MemoryError) in try files.size(of: file) }
  }

  /// Writes all of `bytes` (write(2), repeated after short writes).
  public borrowing func write(_ bytes: RawSpan) throws(MemoryError) {
    let (file, files) = openFile()
    var written = 0
    while written < bytes.byteCount {
      let rest = bytes.extracting(written..<bytes.byteCount)
      let n = try uninterrupted { () throws(MemoryError) in try files.write(rest, to: file) }
      // No error and no byte: a loop would never end.
      if n <= 0 { throw .system(call: "write", path: path, errno: EIO) }
      written += n
    }
  }

  /// Reads up to `count` bytes from the current position (read(2)); empty at the end of the file.
  public borrowing func read(upTo count: Int) throws(MemoryError) -> [UInt8] {
    let (file, _) = openFile()
    var buffer = [UInt8](repeating: 0, count: count)
    let n = try uninterrupted { () throws(MemoryError) in
      try check("read", file.path) {
        unsafe buffer.withUnsafeMutableBytes { unsafe Foundation.read(file.number, $0.baseAddress, $0.count) }
      }
    }
    buffer.removeLast(count - n)
    return buffer
  }

  /// Reads exactly `count` bytes at `offset` (pread(2)). Throws `outOfBounds` if the file ends earlier.
  public borrowing func read(at offset: Int, count: Int) throws(MemoryError) -> [UInt8] {
    let (file, files) = openFile()
    var bytes: [UInt8] = []
    while true {
      let (start, rest) = (offset + bytes.count, count - bytes.count)
      let piece = try uninterrupted { () throws(MemoryError) in try files.read(file, at: start, upTo: rest) }
      // Nearly always one call gives everything, and nothing is copied.
      if bytes.isEmpty { bytes = piece } else { bytes += piece }
      if bytes.count == count { return bytes }
      if piece.isEmpty { throw .outOfBounds(path: path, offset: offset, count: count, size: start) }
    }
  }

  /// Fills `bytes` with those at `offset` (pread(2), repeated after short reads), without a copy and so not by the file
  /// operations. Throws `outOfBounds` if the file ends earlier.
  public borrowing func read(at offset: Int, into bytes: inout MutableRawSpan) throws(MemoryError) {
    let number = openFile().0.number
    let count = bytes.byteCount
    var done = 0
    while done < count {
      let n = try uninterrupted { () throws(MemoryError) in
        try check("pread", path) {
          unsafe bytes.withUnsafeMutableBytes {
            unsafe pread(number, $0.baseAddress.map { unsafe $0 + done }, count - done, off_t(offset + done))
          }
        }
      }
      if n == 0 { throw .outOfBounds(path: path, offset: offset, count: count, size: offset + done) }
      done += n
    }
  }

  /// fsync(2): the bytes survive a power loss once this returns. After an error the file must be written anew:
  /// a second fsync may report success for pages that were dropped.
  public borrowing func synchronize() throws(MemoryError) {
    let (file, files) = openFile()
    try uninterrupted { () throws(MemoryError) in try files.synchronize(file) }
  }

  private borrowing func openFile() -> (OpenFile, any FileOperations) {
    precondition(isOpen, "\(file.path) is closed")
    return (file, files)
  }
}

/// Standard input as a file (dup(2)): the original stays open when the value ends.
public func standardInput() throws(MemoryError) -> FileDescriptor {
  let path = "standard input"
  let number = try uninterrupted { () throws(MemoryError) in try check("dup", path) { dup(STDIN_FILENO) } }
  return FileDescriptor(owning: OpenFile(number: number, path: path))
}
