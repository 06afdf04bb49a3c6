import Foundation
import Memory

/// Who may write into a cache: one process alone, or any number of workers with different numbers.
///
///     .lock                     exclusive for a process alone (harvest, repair, gc), shared among workers
///     .lock.worker-<I>-of-<N>   exclusive for worker I
struct HarvestLock: ~Copyable {
  private let folder: FolderLock
  private let worker: FolderLock?

  /// nil if another process holds it. `count` 1 for a process alone.
  init?(folder path: String, worker index: Int, of count: Int) throws(MemoryError) {
    guard let folder = try FolderLock(folder: path, mode: count == 1 ? .exclusive : .shared) else { return nil }
    if count == 1 {
      worker = nil
    } else {
      guard let own = try FolderLock(folder: path, name: HarvestLock.name(index, count)) else { return nil }
      worker = consume own
    }
    self.folder = consume folder
  }

  /// Removes the files of workers' locks that nobody holds but this process, which is number `index` of `count`.
  borrowing func removeIdle(_ path: String, _ index: Int, of count: Int) {
    for other in (try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []
    where other.hasPrefix(".lock.worker-") {
      if count > 1 && other == HarvestLock.name(index, count) { continue }
      if let lock = try? FolderLock(folder: path, name: other) { try? lock.removeFile() }
    }
    try? worker?.removeFile()
  }

  /// Removes the folders of a cache that never came to be, as far as nothing is in them, with its lock.
  borrowing func removeEmptyCache(_ path: String, streams: [String], withFolder: Bool) {
    let folders =
      streams.flatMap { [$0, "receipts/" + $0] } + [
        "hooks", "logits", "receipts/hooks", "receipts/logits", "receipts", "generations",
      ]
    for name in folders { removeEmptyFolder(path + "/" + name) }
    let rest = (try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []
    guard worker == nil, rest.allSatisfy({ $0.hasPrefix(".lock") }) else { return }
    try? folder.removeFile()
    if withFolder { removeEmptyFolder(path) }
  }

  private static func name(_ index: Int, _ count: Int) -> String { ".lock.worker-\(index)-of-\(count)" }

  /// Whether workers beside number `index` of `count` hold their locks. True too if nobody can tell.
  static func othersAreRunning(_ path: String, beside index: Int, of count: Int) -> Bool {
    // A process alone has made sure of it.
    if count == 1 { return false }
    do {
      for other in try FileManager.default.contentsOfDirectory(atPath: path)
      where other.hasPrefix(".lock.worker-") && other != name(index, count) {
        let lock = try FolderLock(folder: path, name: other)
        if lock == nil { return true }
      }
      return false
    } catch {
      return true
    }
  }
}
