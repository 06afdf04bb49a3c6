import Foundation
import Memory

/// Writes `manifest.json` from what lies in a cache.
package enum CacheIndex {
  /// - Returns: the manifest, and whether the file said something else before.
  /// - Throws: as `Manifest.init`.
  @discardableResult
  package static func write(cache: String) throws -> (manifest: Manifest, isNew: Bool) {
    let manifest = try Manifest(CacheContents(cache: cache), path: cache)
    let bytes = try manifest.sealed
    let path = cache + "/" + Manifest.name
    if let there = FileManager.default.contents(atPath: path), [UInt8](there) == bytes { return (manifest, false) }
    try fileErrors { () throws(MemoryError) in try DurableFile.write(bytes, to: path) }
    return (manifest, true)
  }
}
