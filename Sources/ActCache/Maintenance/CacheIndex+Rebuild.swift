import Foundation

extension CacheIndex {
  /// What making the manifest anew changed.
  package struct Update: Sendable {
    package let manifest: Manifest
    /// A clause each; empty if the file was right before.
    package let changes: [String]
  }

  /// Makes `manifest.json` anew, whatever state it is in.
  ///
  /// - Parameter forgets: also if the manifest names files whose receipts are gone; nothing then tells of them any more.
  /// - Throws: `ActCacheError.busy` while a process harvests, `.damaged` if a record is damaged (the manifest would then
  ///   hide what it records), `.incomplete` if receipts are gone, as `CacheFolder.init` and `Manifest.init`.
  @discardableResult
  package static func rebuild(cache: String, forgets: Bool = false) throws -> Update {
    let folder = try CacheFolder(cache)
    let lock = try CacheLock(folder)
    try CacheContents(cache: folder.path).requireWhole()
    var changes: [String] = []
    var former: Manifest?
    do {
      former = try Manifest.open(cache: folder.path)
      if former == nil { changes = ["there was no manifest"] }
    } catch ActCacheError.damaged(_, let what, _) { changes = ["the manifest was damaged: \(what)"] }
    if let former, !forgets {
      let lost = try former.filesWithoutReceipt(cache: folder.path)
      guard lost.isEmpty else {
        throw ActCacheError.incomplete(
          "\(folder.path): \(Manifest.lostReceipts(lost, path: folder.path)); actcache index --forget gives up what is not "
            + "there")
      }
    }
    let written = try write(cache: folder.path, forgets: true)
    let manifest = written.manifest
    if let former { changes = manifest.changes(since: former) }
    if written.isNew, changes.isEmpty { changes = ["the manifest was written in another way"] }
    _ = consume lock
    return Update(manifest: manifest, changes: changes)
  }
}
