import Foundation

/// A lock on a folder, held while the value lives; the kernel lets go of it when the process ends.
public struct FolderLock: ~Copyable {
  public enum Mode: Sendable {
    /// One holder and no other.
    case exclusive
    /// Any number of holders, as long as none is exclusive.
    case shared
  }

  private let file: FileDescriptor

  /// nil if the lock that others hold does not allow it. Throws if the lock file cannot be made.
  public init?(folder: String, name: String = ".lock", mode: Mode = .exclusive) throws(MemoryError) {
    let path = folder + "/" + name
    let operation = LOCK_NB | (mode == .exclusive ? LOCK_EX : LOCK_SH)
    while true {
      // Made if it is not there, never emptied. Open for writing too: over NFS an exclusive lock needs it.
      let number = try uninterrupted { () throws(MemoryError) in
        try check("create", path) { unsafe open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o644) }
      }
      let file = FileDescriptor(owning: OpenFile(number: number, path: path))
      // A process that is being started holds its parent's locks until its exec: such a moment is waited for.
      for attempt in 0..<10 {
        do {
          try uninterrupted { () throws(MemoryError) in try check("flock", path) { flock(number, operation) } }
          break
        } catch .system(_, _, EWOULDBLOCK) {
          if attempt == 9 { return nil }
          usleep(10_000)
        }
      }
      // Whoever held it may have removed the file: a lock on that keeps nobody out.
      if FolderLock.isNamed(path, number) {
        self.file = file
        return
      }
    }
  }

  private static func isNamed(_ path: String, _ number: Int32) -> Bool {
    var (held, named) = (stat(), stat())
    guard unsafe fstat(number, &held) == 0, unsafe stat(path, &named) == 0 else { return false }
    return held.st_dev == named.st_dev && held.st_ino == named.st_ino
  }

  /// unlink(2) of the lock's file while it is held, for whoever leaves nothing behind. Others that wait make a new one.
  public borrowing func removeFile() throws(MemoryError) { try RealFiles().unlink(file.path) }
}
