import Foundation
import Memory

/// Adds ranges of sequences to a cache.
///
/// A range exists once its receipt exists; receipts are written last. Any number of writers may work on different
/// ranges of one cache, in one process or several.
package final class CacheWriter {
  package let path: String
  package let spec: CacheSpec
  private let encoder: FrameEncoder

  /// Makes the folders. Throws `ActCacheError.mismatch` with both identities if another cache is there.
  package init(path: String, spec: CacheSpec) throws {
    self.path = path
    self.spec = spec
    try spec.validate()
    encoder = try FrameEncoder(spec: spec)
    _ = try existingReceipts()
    try fileErrors { () throws(MemoryError) in
      for folder in ["receipts", "tokens"] + spec.hooks.map({ "hooks/" + $0.name }) {
        try createFolder(path + "/" + folder)
      }
    }
  }

  /// A receipt that is there but does not count.
  package struct Problem: Sendable {
    /// File of the receipt, relative to the cache.
    package let receipt: String
    package let error: ActCacheError
  }

  /// The ranges that are whole, sorted, and the ones that must be written anew.
  /// - Throws: `ActCacheError.mismatch` if a receipt is of another cache.
  package func existingReceipts() throws -> (whole: [Receipt], damaged: [Problem]) {
    let folder = path + "/receipts"
    guard let names = try? FileManager.default.contentsOfDirectory(atPath: folder) else { return ([], []) }
    var whole: [Receipt] = []
    var damaged: [Problem] = []
    for name in names.sorted() where name.hasSuffix(".json") && !name.hasPrefix(".") {
      do {
        let receipt = try Receipt.open(path: folder + "/" + name)
        try receipt.spec.requireSame(as: spec, path: path)
        try FileRecord.checkSizes(receipt.files, cache: path)
        whole.append(receipt)
      } catch let error as ActCacheError {
        guard case .damaged = error else { throw error }
        damaged.append(Problem(receipt: "receipts/" + name, error: error))
      }
    }
    whole.sort { ($0.first, $0.end) < ($1.first, $1.end) }
    return (whole, damaged)
  }

  /// Starts to write sequences `range`.
  package func begin(_ range: Range<Int>) throws -> ShardSetWriter {
    try ShardSetWriter(cache: path, spec: spec, encoder: encoder, range: range)
  }

  /// Derives the manifest from the receipts that are there and writes it. Throws if they have gaps.
  @discardableResult
  package func writeManifest() throws -> Manifest {
    let manifest = try Manifest(receipts: try existingReceipts().whole, path: path)
    try manifest.write(cache: path)
    return manifest
  }

  /// Removes temporaries that nobody has written to for `age` seconds: what killed processes left.
  package func sweepTemporaries(olderThanSeconds age: Double = 3600) {
    let manager = FileManager.default
    for folder in ["", "/receipts", "/tokens"] + spec.hooks.map({ "/hooks/" + $0.name }) {
      for name in (try? manager.contentsOfDirectory(atPath: path + folder)) ?? []
      where name.hasPrefix(".") && name.contains(".tmp.") {
        let file = path + folder + "/" + name
        let changed = (try? manager.attributesOfItem(atPath: file))?[.modificationDate] as? Date
        if let changed, Date().timeIntervalSince(changed) >= age { try? manager.removeItem(atPath: file) }
      }
    }
  }
}
