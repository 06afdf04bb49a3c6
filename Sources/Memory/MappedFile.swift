import Foundation

/// A whole file mapped read-only; the mapping ends with the value.
///
/// The file must not shrink while it is mapped (the kernel answers reads past the end with SIGBUS); the size is
/// taken once, when the file is opened, and never trusted to be what a header says.
@safe public struct MappedFile: ~Copyable, @unchecked Sendable {
  // Sendable: the bytes are read-only and nobody but `deinit` changes the pointer.
  public let path: String
  /// Size in bytes.
  public let count: Int
  private let base: UnsafeMutableRawPointer?

  /// Opens and maps `path` (open(2), fstat(2), mmap(2)). Throws `MemoryError.system`.
  public init(path: String) throws(MemoryError) {
    let descriptor = try FileDescriptor(readingFrom: path)
    try self.init(descriptor, count: descriptor.size())
  }

  /// Maps `count` bytes of an open file, its size as the caller has just found and checked it (mmap(2)).
  public init(_ descriptor: borrowing FileDescriptor, count: Int) throws(MemoryError) {
    var pointer: UnsafeMutableRawPointer? = nil
    if count > 0 {
      unsafe pointer = mmap(nil, count, PROT_READ, MAP_PRIVATE, descriptor.file.number, 0)
      if unsafe pointer == nil || pointer == UnsafeMutableRawPointer(bitPattern: -1) {
        throw lastError("mmap", descriptor.path)
      }
    }
    path = descriptor.path
    self.count = count
    unsafe base = pointer
  }

  deinit {
    if let base = unsafe base { unsafe munmap(base, count) }
  }

  /// Lends all bytes.
  public borrowing func withBytes<R, E: Error>(_ body: (RawSpan) throws(E) -> R) throws(E) -> R {
    try body(unsafe UnsafeRawBufferPointer(start: base, count: count).bytes)
  }

  /// Lends bytes `offset..<offset + count`. Throws `MemoryError.outOfBounds` if the file has fewer.
  public borrowing func withBytes<R>(
    at offset: Int, count length: Int, _ body: (RawSpan) throws -> R
  ) throws -> R {
    guard offset >= 0, length >= 0, offset <= count, length <= count - offset else {
      throw MemoryError.outOfBounds(path: path, offset: offset, count: length, size: count)
    }
    return try body(unsafe UnsafeRawBufferPointer(start: base, count: count).bytes.extracting(offset..<offset + length))
  }

  /// All bytes, copied.
  public borrowing func copyOfBytes() -> [UInt8] { withBytes { $0.bytes(0..<$0.byteCount) } }
}
