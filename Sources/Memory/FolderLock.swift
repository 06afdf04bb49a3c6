import Foundation

/// An exclusive lock on a folder, held while the value lives; the kernel lets go of it when the process ends.
public struct FolderLock: ~Copyable {
  private let file: FileDescriptor

  /// nil if another process holds the lock. Throws if the lock file cannot be made.
  public init?(folder: String, name: String = ".lock") throws(MemoryError) {
    let path = folder + "/" + name
    let file = try FileDescriptor(locking: path)
    guard try file.tryLock() else { return nil }
    self.file = file
  }
}

extension FileDescriptor {
  /// open(2) for a lock file: made if it is not there, never emptied.
  init(locking path: String) throws(MemoryError) {
    self.path = path
    rawValue = try check("open", path) { unsafe open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o644) }
  }
}
