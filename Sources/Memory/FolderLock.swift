import Foundation

/// An exclusive lock on a folder, held while the value lives; the kernel lets go of it when the process ends.
public struct FolderLock: ~Copyable {
  private let file: FileDescriptor

  /// nil if another process holds the lock. Throws if the lock file cannot be made.
  public init?(folder: String, name: String = ".lock") throws(MemoryError) {
    let path = folder + "/" + name
    // Made if it is not there, never emptied. Open for writing too: over NFS an exclusive lock needs it.
    let number = try uninterrupted { () throws(MemoryError) in
      try check("open", path) { unsafe open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o644) }
    }
    let file = FileDescriptor(owning: OpenFile(number: number, path: path))
    do {
      try uninterrupted { () throws(MemoryError) in try check("flock", path) { flock(number, LOCK_EX | LOCK_NB) } }
    } catch .system(_, _, EWOULDBLOCK) {
      return nil
    }
    self.file = file
  }
}
