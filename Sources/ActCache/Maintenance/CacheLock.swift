import Memory

/// The right to change a cache that is there, held while the value lives: no process harvests into it, worker or not.
package struct CacheLock: ~Copyable {
  private static let name = ".lock"
  private let lock: FolderLock

  /// - Throws: `ActCacheError.busy` if a process harvests, `.file` if the lock cannot be made.
  package init(_ folder: CacheFolder) throws(ActCacheError) {
    // Workers share it among themselves.
    guard let lock = try fileErrors({ () throws(MemoryError) in try FolderLock(folder: folder.path) }) else {
      throw CacheLock.busy(folder)
    }
    self.lock = lock
  }

  static func busy(_ folder: CacheFolder) -> ActCacheError {
    .busy("\(folder.path): another process is harvesting into this folder; wait for it and run this again")
  }

  /// Whether a process harvests into the folder right now. Makes no file; false where nobody can tell.
  static func isHeld(_ folder: CacheFolder) -> Bool {
    guard folder.contains(name) else { return false }
    do {
      let lock = try FolderLock(folder: folder.path)
      return lock == nil
    } catch {
      // Not ours to write: then not ours to lock either.
      return false
    }
  }
}
