import Foundation
import Memory

/// The files below a cache's folder, by what their names say they are.
package struct CacheFolder: Sendable {
  /// What a file is, by its path alone.
  package enum Kind: Equatable, Sendable {
    case manifest
    case receipt(stream: String, Range<Int>)
    case generation(Int)
    case shard(stream: String, Range<Int>)
    /// The steps of a fixed-point stream.
    case steps(stream: String)
    /// An unfinished file of one of the kinds above.
    case temporary
    /// One of the kinds above that was moved aside because it is damaged.
    case quarantined
    case lock
    /// Nothing that belongs to a cache.
    case foreign
  }

  package let path: String
  /// Relative to the cache, sorted; folders are left out, pipes and the like are not, and symbolic links not followed.
  package let files: [String]

  /// Behind the name of a file that was moved aside.
  package static let quarantineSuffix = ".bad"

  /// - Throws: `ActCacheError.missing` if there is no folder or nothing of a cache in it, `.file` if it cannot be read.
  package init(_ path: String) throws {
    var path = path
    while path.count > 1, path.hasSuffix("/") { path.removeLast() }
    self.path = path
    files = try CacheFolder.list(path)
    let isCache = files.contains { file in
      switch CacheFolder.kind(of: file) {
      case .manifest, .receipt, .generation, .shard, .quarantined: true
      case .steps, .temporary, .lock, .foreign: false
      }
    }
    guard isCache else {
      throw ActCacheError.missing(
        "\(path): no cache there; give the folder that holds receipts/ and manifest.json (actcache ls \(path) finds "
          + "the caches below it)")
    }
  }

  private static func list(_ path: String) throws -> [String] {
    var isFolder = false
    do { _ = try FileDescriptor(readingFrom: path).size() } catch .system(_, _, EISDIR) {
      isFolder = true
    } catch .system(_, _, ENOENT) {
      throw ActCacheError.missing("\(path): no such folder; check the path")
    } catch { throw ActCacheError.file(error) }
    guard isFolder else {
      throw ActCacheError.missing("\(path): a file, not a folder; give the folder of a cache")
    }
    let manager = FileManager.default
    guard let names = manager.subpaths(atPath: path) else {
      throw ActCacheError.file(.system(call: "opendir", path: path, errno: EACCES))
    }
    return names.filter { name in
      let type = (try? manager.attributesOfItem(atPath: path + "/" + name))?[.type] as? FileAttributeType
      return type != .typeDirectory
    }.sorted()
  }

  /// Bytes of a file; 0 if it is gone meanwhile.
  package func bytes(of file: String) -> Int {
    let size = (try? FileManager.default.attributesOfItem(atPath: path + "/" + file))?[.size] as? NSNumber
    return size?.intValue ?? 0
  }

  package func contains(_ file: String) -> Bool { FileManager.default.fileExists(atPath: path + "/" + file) }

  package static func kind(of file: String) -> Kind {
    var parts = file.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
    let name = parts.removeLast()
    func kind(ofName name: String) -> Kind { self.kind(folder: parts, name: name) }
    if name.hasSuffix(quarantineSuffix) {
      return kind(ofName: String(name.dropLast(quarantineSuffix.count))) == .foreign ? .foreign : .quarantined
    }
    if let temporary = TemporaryName(parsing: name) {
      return kind(ofName: temporary.name) == .foreign ? .foreign : .temporary
    }
    if parts.isEmpty, name.hasPrefix(".lock") { return .lock }
    return kind(ofName: name)
  }

  private static func kind(folder: [String], name: String) -> Kind {
    if folder.isEmpty { return name == Manifest.name ? .manifest : .foreign }
    if folder == [Generation.folder], name.hasSuffix(".json"), let n = Int(name.dropLast(5)), n > 0,
      Generation.relativePath(n) == Generation.folder + "/" + name
    {
      return .generation(n)
    }
    if folder[0] == "receipts", let stream = stream(folder.dropFirst()), let range = range(name, suffix: ".json") {
      return .receipt(stream: stream, range)
    }
    guard let stream = stream(folder[...]) else { return .foreign }
    if let range = range(name, suffix: ".zst") { return .shard(stream: stream, range) }
    return FixedPointSteps.relativePath(stream) == stream + "/" + name ? .steps(stream: stream) : .foreign
  }

  /// "tokens", "hooks/<name>" or "logits/<name>".
  private static func stream(_ folder: ArraySlice<String>) -> String? {
    switch (folder.first, folder.count) {
    case ("tokens", 1): StreamSpec.tokens
    case ("hooks", 2), ("logits", 2): folder.joined(separator: "/")
    default: nil
    }
  }

  /// The sequences of "<first>-<end>" before `suffix`; nil if it is not the name that such a range has.
  private static func range(_ name: String, suffix: String) -> Range<Int>? {
    guard name.hasSuffix(suffix) else { return nil }
    let numbers = name.dropLast(suffix.count).split(separator: "-", omittingEmptySubsequences: false).map { Int($0) }
    guard numbers.count == 2, let first = numbers[0], let end = numbers[1], first >= 0, first < end,
      Receipt.rangeName(first..<end) + suffix == name
    else { return nil }
    return first..<end
  }
}
