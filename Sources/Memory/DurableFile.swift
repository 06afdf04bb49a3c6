import Foundation

/// A file that appears under its name whole and on disk, or not at all.
///
///     write to .<name>.tmp.<host>.<pid>.<random>  →  fsync  →  close  →  rename  →  fsync(folder)
///
/// After a crash at any instant the name is either absent (or the older file) or complete; a left-over temporary
/// is garbage. A value that ends without `commit` removes its temporary, and so does every error: after one, nobody
/// knows what of the bytes is on the disk (an fsync that is tried again may report success for pages that were dropped),
/// so the file must be written anew. Later calls throw the same error.
public struct DurableFile: ~Copyable {
  public let path: String
  /// Bytes written so far.
  public private(set) var count = 0
  private let files: any FileOperations
  private let temporary: String
  private var file: FileDescriptor
  private var hasTemporary = true
  private var failure: MemoryError?

  /// Creates the temporary beside `path`; the folder must exist.
  public init(path: String) throws(MemoryError) { try self.init(path: path, files: RealFiles()) }

  /// Creates the temporary beside `path`; the folder must exist.
  package init(path: String, files: any FileOperations) throws(MemoryError) {
    self.path = path
    self.files = files
    let url = URL(fileURLWithPath: path)
    let name = TemporaryName(for: url.lastPathComponent).fileName
    temporary = url.deletingLastPathComponent().appendingPathComponent(name).path
    file = try FileDescriptor(creating: temporary, files: files)
  }

  deinit {
    if hasTemporary { try? removeFile(temporary, files: files) }
  }

  public mutating func write(_ bytes: RawSpan) throws(MemoryError) {
    if let failure { throw failure }
    do { try file.write(bytes) } catch { throw abandon(error) }
    count += bytes.byteCount
  }

  public mutating func write(_ bytes: [UInt8]) throws(MemoryError) { try write(unsafe bytes.span.bytes) }

  /// Makes the file durable under its name, in the place of an older one. After an error the name holds the older file
  /// or, if only the last step failed, the new one.
  public mutating func commit() throws(MemoryError) {
    try finish()
    do {
      let (files, from, to) = (files, temporary, path)
      try uninterrupted { () throws(MemoryError) in try files.rename(from, to: to) }
    } catch { throw abandon(error) }
    hasTemporary = false
    try settle()
  }

  /// Makes the file durable under its name unless the name exists (link(2), which of many processes lets one win).
  ///
  /// - Returns: false if the name exists. Its file is then whole and durable too, if all who write it write it so; over
  ///   NFS it can be this very file, so compare the contents if that matters.
  package mutating func commitIfAbsent() throws(MemoryError) -> Bool {
    try finish()
    var isFirst = true
    do {
      let (files, from, to) = (files, temporary, path)
      try uninterrupted { () throws(MemoryError) in try files.link(from, to: to) }
    } catch .system(_, _, EEXIST) {
      isFirst = false
    } catch { throw abandon(error) }
    removeTemporary()
    // For the loser too: the winner may not have come to it yet.
    try settle()
    return isFirst
  }

  /// Writes `bytes` to `path` durably.
  public static func write(_ bytes: [UInt8], to path: String) throws(MemoryError) {
    try write(bytes, to: path, files: RealFiles())
  }

  /// Writes `bytes` to `path` durably.
  package static func write(_ bytes: [UInt8], to path: String, files: any FileOperations) throws(MemoryError) {
    var file = try DurableFile(path: path, files: files)
    try file.write(bytes)
    try file.commit()
  }

  /// Writes `bytes` to `path` durably unless it exists: of many writers the first wins. See `commitIfAbsent`.
  package static func writeIfAbsent(
    _ bytes: [UInt8], to path: String, files: any FileOperations = RealFiles()
  ) throws(MemoryError) -> Bool {
    var file = try DurableFile(path: path, files: files)
    try file.write(bytes)
    return try file.commitIfAbsent()
  }

  /// The bytes are on the disk, under the temporary's name.
  private mutating func finish() throws(MemoryError) {
    if let failure { throw failure }
    do {
      try file.synchronize()
      try file.close()
    } catch { throw abandon(error) }
  }

  /// The name is on the disk.
  private mutating func settle() throws(MemoryError) {
    do { try synchronizeFolder(of: path, files: files) } catch {
      failure = error
      throw error
    }
  }

  private mutating func abandon(_ error: MemoryError) -> MemoryError {
    failure = error
    try? file.close()
    removeTemporary()
    return error
  }

  private mutating func removeTemporary() {
    // Where this fails, `deinit` tries once more.
    if (try? removeFile(temporary, files: files)) != nil { hasTemporary = false }
  }
}
