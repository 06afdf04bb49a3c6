import Foundation

/// A file that appears under its name whole and on disk, or not at all.
///
///     write to .<name>.tmp.<pid>.<random>  →  fsync  →  rename  →  fsync(folder)
///
/// After a crash at any instant the name is either absent (or the older file) or complete; a left-over temporary
/// is garbage. A value that ends without `commit` removes its temporary.
public struct DurableFile: ~Copyable {
  public let path: String
  /// Bytes written so far.
  public private(set) var count = 0
  private let temporary: String
  private let file: FileDescriptor
  private var isCommitted = false

  /// Creates the temporary beside `path`; the folder must exist.
  public init(path: String) throws(MemoryError) {
    self.path = path
    let url = URL(fileURLWithPath: path)
    let name = ".\(url.lastPathComponent).tmp.\(getpid()).\(String(UInt64.random(in: 0 ... .max), radix: 36))"
    temporary = url.deletingLastPathComponent().appendingPathComponent(name).path
    file = try FileDescriptor(creating: temporary)
  }

  deinit {
    if !isCommitted { _ = unsafe unlink(temporary) }
  }

  public mutating func write(_ bytes: RawSpan) throws(MemoryError) {
    try file.write(bytes)
    count += bytes.byteCount
  }

  public mutating func write(_ bytes: [UInt8]) throws(MemoryError) { try write(unsafe bytes.span.bytes) }

  /// Makes the file durable under its name.
  public mutating func commit() throws(MemoryError) {
    try file.synchronize()
    let (from, to) = (temporary, path)
    try check("rename", path) { unsafe rename(from, to) }
    isCommitted = true
    try synchronizeFolder(of: path)
  }

  /// Writes `bytes` to `path` durably.
  public static func write(_ bytes: [UInt8], to path: String) throws(MemoryError) {
    var file = try DurableFile(path: path)
    try file.write(bytes)
    try file.commit()
  }
}

/// fsync(2) of the folder that holds `path`, so that a rename in it is durable.
public func synchronizeFolder(of path: String) throws(MemoryError) {
  let folder = URL(fileURLWithPath: path).deletingLastPathComponent().path
  try FileDescriptor(readingFrom: folder).synchronize()
}

/// Creates `path` and its parents, durably; existing folders are fine.
public func createFolder(_ path: String) throws(MemoryError) {
  var partial = path.hasPrefix("/") ? "/" : ""
  for component in path.split(separator: "/", omittingEmptySubsequences: true) {
    partial += (partial.isEmpty || partial.hasSuffix("/") ? "" : "/") + component
    let folder = partial
    do {
      try check("mkdir", folder) { unsafe mkdir(folder, 0o755) }
      // Without its entry on disk, the files that are committed in it later would be lost with it.
      try synchronizeFolder(of: folder)
    } catch .system(_, _, let code) where code == EEXIST || code == EISDIR {
      // A file in the way shows itself when something is created under it.
    }
  }
}
