import Foundation
import Memory

/// Writes `manifest.json` from what lies in a cache.
package enum CacheIndex {
  /// - Returns: the manifest, and whether the file said something else before.
  /// - Throws: as `Manifest.init`.
  @discardableResult
  package static func write(
    cache: String, files: any FileOperations = RealFiles()
  ) throws -> (manifest: Manifest, isNew: Bool) {
    let manifest = try Manifest(CacheContents(cache: cache, files: files), path: cache)
    let bytes = try manifest.sealed
    let path = cache + "/" + Manifest.name
    return try fileErrors { () throws(MemoryError) in
      if try CacheIndex.bytes(path, atMost: bytes.count, files) == bytes { return (manifest, false) }
      try DurableFile.write(bytes, to: path, files: files)
      return (manifest, true)
    }
  }

  /// nil if there is no such file or it is longer.
  private static func bytes(_ path: String, atMost limit: Int, _ files: any FileOperations) throws(MemoryError)
    -> [UInt8]?
  {
    do { return try readFile(path, atMost: limit, files: files) } catch MemoryError.format {
      return nil
    } catch MemoryError.system(_, _, ENOENT) { return nil }
  }
}
