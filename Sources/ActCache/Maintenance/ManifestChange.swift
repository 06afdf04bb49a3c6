import Foundation
import Memory

extension Manifest {
  /// Files of the same cache that `old` names and this manifest does not, sorted: they are lost, or their receipts are.
  package func lacks(of old: Manifest) -> [String] {
    guard baseKey == old.baseKey else { return [] }
    return Set(old.shards.flatMap(\.files).map(\.path)).subtracting(shards.flatMap(\.files).map(\.path)).sorted()
  }

  /// Files that it names and that have no receipt (their folders are listed, no file is opened), in order.
  func filesWithoutReceipt(cache: String) throws(ActCacheError) -> [String] {
    var receipts: [String: Set<String>] = [:]
    var lost: [String] = []
    for file in shards.flatMap(\.files) {
      let parts = file.path.split(separator: "/")
      let (folder, name) = (parts.dropLast().joined(separator: "/"), parts.last ?? "")
      if receipts[folder] == nil {
        do { receipts[folder] = Set(try listFolder("\(cache)/receipts/\(folder)")) } catch .system(_, _, let code)
          where code == ENOENT || code == ENOTDIR
        {
          receipts[folder] = []
        } catch { throw .file(error) }
      }
      let receipt = (name.hasSuffix(".zst") ? name.dropLast(4) : name) + ".json"
      if receipts[folder]?.contains(String(receipt)) == false { lost.append(file.path) }
    }
    return lost
  }

  /// A sentence on `files` of the cache at `path`: of which streams they are, and what brings them back.
  package static func lostReceipts(_ files: [String], path: String) -> String {
    let streams = Set(files.map { $0.split(separator: "/").dropLast().joined(separator: "/") }).sorted()
    return
      "receipts of \(streams.joined(separator: ", ")) that the manifest names are gone (\(files.count) in all); run "
      + "actcache repair \(path)"
  }

  /// What this manifest says otherwise than `old`, a clause each; empty if it says the same.
  package func changes(since old: Manifest) -> [String] {
    if self == old { return [] }
    guard baseKey == old.baseKey else {
      return ["it is of the cache \(baseKey.prefix(12)), it was of \(old.baseKey.prefix(12))"]
    }
    var changes: [String] = []
    func change(_ name: String, _ before: some CustomStringConvertible, _ after: some CustomStringConvertible) {
      if "\(before)" != "\(after)" { changes.append("\(name) \(after), it was \(before)") }
    }
    change("generation", old.generation, generation)
    change("sequences", old.nSequences, nSequences)
    change("shards", old.shards.count, shards.count)
    change("held-out sequences", old.heldOut.count, heldOut.count)
    for (before, after) in [(old.hooks, hooks), (old.logits, logits)] {
      for name in Set(before.keys).union(after.keys).sorted() {
        switch (before[name], after[name]) {
        case (nil, _): changes.append("\(name) is new")
        case (_, nil): changes.append("\(name) is gone")
        case (let before?, let after?):
          change("\(name): sequences", before.nSequences, after.nSequences)
          change("\(name): bytes", before.bytes, after.bytes)
        }
      }
    }
    return changes.isEmpty ? ["other digests or statistics"] : changes
  }
}
