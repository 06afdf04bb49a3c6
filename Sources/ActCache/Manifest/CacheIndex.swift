import Foundation
import Memory

/// Writes `manifest.json` from what lies in a cache.
package enum CacheIndex {
  package struct Outcome: Sendable {
    /// As the receipts say.
    package let manifest: Manifest
    /// Whether the file said something else before.
    package let isNew: Bool
    /// Files that the manifest on disk names and the receipts do not. If there are any, it was left as it is: it may be
    /// the only record of them.
    package let lost: [String]
  }

  /// - Parameter forgets: write the manifest even if it then says less than it did.
  /// - Throws: as `Manifest.init`.
  @discardableResult
  package static func write(
    cache: String, forgets: Bool = false, files: any FileOperations = RealFiles()
  ) throws -> Outcome {
    let manifest = try Manifest(CacheContents(cache: cache, files: files), path: cache)
    let bytes = try manifest.sealed
    let path = cache + "/" + Manifest.name
    let there = try fileErrors { () throws(MemoryError) in
      do throws(MemoryError) { return try CacheIndex.bytes(path, files) } catch .system(_, _, EISDIR) {
        // No file can be put in the place of a folder.
        try moveFile(path, to: path + CacheFolder.quarantineSuffix, files: files)
        return nil
      }
    }
    if there == bytes { return Outcome(manifest: manifest, isNew: false, lost: []) }
    if let there, !forgets, let former = try? Manifest(sealed: there, path: path) {
      let lost = manifest.lacks(of: former)
      if !lost.isEmpty { return Outcome(manifest: manifest, isNew: false, lost: lost) }
    }
    try fileErrors { () throws(MemoryError) in try DurableFile.write(bytes, to: path, files: files) }
    return Outcome(manifest: manifest, isNew: true, lost: [])
  }

  /// nil if there is no such file, or none that could be a manifest.
  private static func bytes(_ path: String, _ files: any FileOperations) throws(MemoryError) -> [UInt8]? {
    do { return try readFile(path, atMost: ShardLimits.maxManifestBytes, files: files) } catch MemoryError.format {
      return nil
    } catch MemoryError.system(_, _, ENOENT) { return nil }
  }
}
