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
  /// - Throws: `ActCacheError.busy` while a process harvests, `.damaged` if a record is damaged (the manifest would then
  ///   hide what it records), as `CacheFolder.init` and `Manifest.init`.
  @discardableResult
  package static func rebuild(cache: String) throws -> Update {
    let folder = try CacheFolder(cache)
    let lock = try CacheLock(folder)
    try CacheContents(cache: folder.path).requireWhole()
    var changes: [String] = []
    var former: Manifest?
    do {
      former = try Manifest.open(cache: folder.path)
      if former == nil { changes = ["there was no manifest"] }
    } catch ActCacheError.damaged(_, let what, _) { changes = ["the manifest was damaged: \(what)"] }
    let (manifest, isNew) = try write(cache: folder.path)
    if let former { changes = manifest.changes(since: former) }
    if isNew, changes.isEmpty { changes = ["the manifest was written in another way"] }
    _ = consume lock
    return Update(manifest: manifest, changes: changes)
  }
}
