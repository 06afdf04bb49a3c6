import Foundation
import Memory

/// One line on a cache, for finding it among others.
package struct CacheListing: Encodable, Sendable {
  package enum State: String, Encodable, Sendable {
    case complete, incomplete
    /// A process is at work on it.
    case harvesting
    /// It cannot be opened; `problem` says why.
    case damaged
  }

  package let path: String
  package let state: State
  package var problem: String?
  package var generation: Int?
  package var sequences: Int?
  package var tokens: Int?
  package var hooks: [String] = []
  package var logits: [String] = []
  /// Of the shards.
  package var bytes: Int?
  package var baseKey: String?

  /// The cache in a folder that holds one, from its manifest and the sizes of its files.
  package init(cache path: String) {
    self.path = path
    do {
      let reader = try CacheReader(path: path, allowIncomplete: true)
      let manifest = reader.manifest
      let isBusy = try CacheLock.isHeld(CacheFolder(path))
      state = isBusy ? .harvesting : manifest.isComplete && reader.lost.isEmpty ? .complete : .incomplete
      generation = manifest.generation
      sequences = manifest.nSequences
      tokens = manifest.nTokens
      hooks = manifest.hooks.keys.sorted()
      logits = manifest.logits.keys.sorted()
      bytes = manifest.shards.flatMap(\.files).reduce(0) { $0 + $1.bytes }
      baseKey = manifest.baseKey
    } catch ActCacheError.incomplete {
      state = (try? CacheLock.isHeld(CacheFolder(path))) == true ? .harvesting : .incomplete
    } catch {
      state = .damaged
      problem = "\(error)"
    }
  }

  /// The caches at or below a folder, by path. Hidden folders and symbolic links are not entered, nor are caches.
  /// - Throws: `ActCacheError.missing` if there is no such folder, `.file` if it cannot be read.
  package static func below(_ folder: String) throws -> [CacheListing] {
    var folder = folder
    while folder.count > 1, folder.hasSuffix("/") { folder.removeLast() }
    do { _ = try FileDescriptor(readingFrom: folder).size() } catch .system(_, _, EISDIR) {
      return try fileErrors { () throws(MemoryError) in try listFolder(folder) }.isEmpty ? [] : search(folder)
    } catch .system(_, _, ENOENT) {
      throw ActCacheError.missing("\(folder): no such folder; check the path")
    } catch { throw ActCacheError.file(error) }
    throw ActCacheError.missing("\(folder): a file, not a folder; give a folder with caches in it")
  }

  private static func search(_ folder: String) -> [CacheListing] {
    if isCache(folder) { return [CacheListing(cache: folder)] }
    let names = ((try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []).sorted()
    return names.filter { !$0.hasPrefix(".") }.flatMap { name -> [CacheListing] in
      let path = folder == "." ? name : folder + (folder.hasSuffix("/") ? "" : "/") + name
      let type = (try? FileManager.default.attributesOfItem(atPath: path))?[.type] as? FileAttributeType
      return type == .typeDirectory ? search(path) : []
    }
  }

  private static func isCache(_ folder: String) -> Bool {
    let streams = (try? FileManager.default.contentsOfDirectory(atPath: folder + "/receipts")) ?? []
    if streams.contains(where: { ["tokens", "hooks", "logits"].contains($0) }) { return true }
    let head = Array("{\"manifest\":".utf8)
    let start = try? FileDescriptor(readingFrom: folder + "/" + Manifest.name).read(at: 0, count: head.count)
    return start == head
  }
}
