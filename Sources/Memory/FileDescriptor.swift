import Foundation

/// An open file; closed with the value.
public struct FileDescriptor: ~Copyable, Sendable {
  public let path: String
  let rawValue: Int32

  /// open(2), read-only.
  public init(readingFrom path: String) throws(MemoryError) {
    self.path = path
    rawValue = try check("open", path) { unsafe open(path, O_RDONLY | O_CLOEXEC) }
  }

  /// open(2), for writing a file that must not exist yet.
  public init(creating path: String) throws(MemoryError) {
    self.path = path
    rawValue = try check("open", path) { unsafe open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o644) }
  }

  /// open(2) of standard input, which stays open when the value ends.
  init(duplicating descriptor: Int32, path: String) throws(MemoryError) {
    self.path = path
    rawValue = try check("dup", path) { dup(descriptor) }
  }

  deinit { close(rawValue) }

  /// Size in bytes (fstat(2)).
  public borrowing func size() throws(MemoryError) -> Int {
    var status = stat()
    let descriptor = rawValue
    try check("fstat", path) { unsafe fstat(descriptor, &status) }
    if status.st_mode & S_IFMT == S_IFDIR { throw .system(call: "read", path: path, errno: EISDIR) }
    return Int(status.st_size)
  }

  /// Writes all of `bytes` (write(2), repeated after short writes).
  public borrowing func write(_ bytes: RawSpan) throws(MemoryError) {
    var written = 0
    let descriptor = rawValue
    while written < bytes.byteCount {
      let rest = bytes.extracting(written..<bytes.byteCount)
      written += try check("write", path) {
        unsafe rest.withUnsafeBytes { unsafe Foundation.write(descriptor, $0.baseAddress, $0.count) }
      }
    }
  }

  /// Reads up to `count` bytes from the current position (read(2)); empty at the end of the file.
  public borrowing func read(upTo count: Int) throws(MemoryError) -> [UInt8] {
    var buffer = [UInt8](repeating: 0, count: count)
    let descriptor = rawValue
    let n = try check("read", path) {
      unsafe buffer.withUnsafeMutableBytes { unsafe Foundation.read(descriptor, $0.baseAddress, $0.count) }
    }
    buffer.removeLast(count - n)
    return buffer
  }

  /// Reads exactly `count` bytes at `offset` (pread(2)). Throws `outOfBounds` if the file ends earlier.
  public borrowing func read(at offset: Int, count: Int) throws(MemoryError) -> [UInt8] {
    var buffer = [UInt8](repeating: 0, count: count)
    var elements = buffer.mutableSpan
    var bytes = unsafe elements.mutableBytes
    try read(at: offset, into: &bytes)
    return buffer
  }

  /// Fills `bytes` with those at `offset` (pread(2), repeated after short reads). Throws `outOfBounds` if the file ends
  /// earlier.
  public borrowing func read(at offset: Int, into bytes: inout MutableRawSpan) throws(MemoryError) {
    let count = bytes.byteCount
    let descriptor = rawValue
    var done = 0
    while done < count {
      let n = try check("pread", path) {
        unsafe bytes.withUnsafeMutableBytes {
          unsafe pread(descriptor, $0.baseAddress.map { unsafe $0 + done }, count - done, off_t(offset + done))
        }
      }
      if n == 0 { throw .outOfBounds(path: path, offset: offset, count: count, size: offset + done) }
      done += n
    }
  }

  /// fsync(2): the bytes survive a power loss once this returns. After an error the file must be written anew:
  /// a second fsync may report success for pages that were dropped.
  public borrowing func synchronize() throws(MemoryError) {
    let descriptor = rawValue
    try check("fsync", path) { fsync(descriptor) }
  }

  /// flock(2), exclusive and without waiting: false if another process holds it.
  public borrowing func tryLock() throws(MemoryError) -> Bool {
    let descriptor = rawValue
    do {
      try check("flock", path) { flock(descriptor, LOCK_EX | LOCK_NB) }
      return true
    } catch .system(_, _, EWOULDBLOCK) {
      return false
    }
  }
}

/// Standard input as a file.
public func standardInput() throws(MemoryError) -> FileDescriptor {
  try FileDescriptor(duplicating: STDIN_FILENO, path: "standard input")
}
