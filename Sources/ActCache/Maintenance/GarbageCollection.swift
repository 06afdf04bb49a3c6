import Foundation
import Memory

/// Removes from a cache what no reader can reach: files of killed processes, shards without a receipt, files that were
/// moved aside, receipts that belong to no range.
package struct GarbageCollection: Sendable {
  package struct Item: Encodable, Equatable, Sendable {
    /// Path of the file.
    package let file: String
    package let bytes: Int
    package let what: String

    fileprivate var isReceipt: Bool { file.hasSuffix(".json") }
  }

  /// Unfinished files of other machines are kept for so long: nobody here can tell whether their process lives.
  package static let graceSeconds = 3600.0

  /// What was removed, or would be.
  package private(set) var removed: [Item] = []
  /// What looks like garbage and is kept; `what` says why.
  package private(set) var kept: [Item] = []

  package var bytes: Int { removed.reduce(0) { $0 + $1.bytes } }

  /// - Parameter dryRun: removes nothing.
  /// - Throws: `ActCacheError.busy` if a process harvests into the cache, `.file` if a file cannot be removed, and as
  ///   `CacheFolder.init`.
  package init(cache: String, dryRun: Bool) throws {
    let folder = try CacheFolder(cache)
    if dryRun && CacheLock.isHeld(folder) { throw CacheLock.busy(folder) }
    // Held to the end, so that no harvest begins meanwhile.
    let lock = try dryRun ? nil : CacheLock(folder)
    let survey = try CacheSurvey(cache, isLocked: true)
    for file in survey.leftOvers {
      let path = folder.path + "/" + file.file
      let item = Item(file: path, bytes: folder.bytes(of: file.file), what: file.what)
      if let remedy = file.remedy {
        kept.append(Item(file: path, bytes: item.bytes, what: "\(file.what); \(remedy)"))
      } else if GarbageCollection.mayLive(path) {
        kept.append(
          Item(file: path, bytes: item.bytes, what: "unfinished, perhaps another machine's; kept for an hour"))
      } else {
        removed.append(item)
      }
    }
    // Receipts go before their files: a file without its receipt is garbage, the opposite is damage.
    removed.sort { ($0.isReceipt ? 0 : 1, $0.file) < ($1.isReceipt ? 0 : 1, $1.file) }
    if dryRun { return }
    for item in removed {
      do { try removeFile(item.file) } catch .system(_, _, ENOENT) {
        // Gone meanwhile, which is what was wanted.
      } catch { throw ActCacheError.file(error) }
    }
    _ = consume lock
  }

  private static func mayLive(_ path: String) -> Bool {
    let url = URL(fileURLWithPath: path)
    guard let name = TemporaryName(parsing: url.lastPathComponent), !name.ownerIsGone else { return false }
    let changed = (try? FileManager.default.attributesOfItem(atPath: path))?[.modificationDate] as? Date
    return changed.map { Date().timeIntervalSince($0) < graceSeconds } ?? false
  }
}
