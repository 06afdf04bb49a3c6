import Foundation
import Memory

/// What lies in the folder of a cache: its receipts and generations, and those that do not count.
package struct CacheContents: Sendable {
  /// A record that is there but does not count.
  package struct Problem: Sendable {
    /// Relative to the cache.
    package let record: String
    package let error: ActCacheError
  }

  /// By stream, in the order of their ranges.
  package private(set) var receipts: [String: [Receipt]] = [:]
  /// In the order of their lengths.
  package private(set) var generations: [Generation] = []
  /// Damaged records and those whose file is gone or has another size.
  package private(set) var problems: [Problem] = []

  /// What all receipts say of the cache; nil if there is none.
  package var spec: CacheSpec? { (receipts[StreamSpec.tokens]?.first ?? receipts.values.first?.first)?.spec }

  package var tokenReceipts: [Receipt] { receipts[StreamSpec.tokens] ?? [] }

  /// Reads the folders. Temporaries, folders and files of other names are passed over.
  /// - Throws: `ActCacheError.mismatch` if two records are of different caches, `.file` if a folder cannot be read.
  package init(cache: String, files: any FileOperations = RealFiles()) throws {
    let folders = try CacheContents.streamFolders(cache: cache, below: "receipts", files)
    for relativePath in try folders.flatMap({ try CacheContents.records(cache: cache, folder: $0, files) }) {
      do {
        let receipt = try Receipt.open(cache: cache, relativePath: relativePath, files: files)
        try receipt.file.checkSize(cache: cache, files: files)
        if let spec { try spec.requireSame(as: receipt.spec, path: cache) }
        let stream = receipt.stream
        if let other = receipts[stream.name]?.first?.stream, other != stream {
          throw ActCacheError.mismatch(
            "\(cache): two kinds of \(stream.name) (\(other.differences(from: stream).joined(separator: "; "))); remove "
              + "\(relativePath) or the other receipts beside it")
        }
        receipts[stream.name, default: []].append(receipt)
      } catch let error as ActCacheError {
        guard case .damaged = error else { throw error }
        problems.append(Problem(record: relativePath, error: error))
      }
    }
    for (name, list) in receipts {
      receipts[name] = list.sorted { ($0.first, $0.end) < ($1.first, $1.end) }
    }
    for relativePath in try CacheContents.records(cache: cache, folder: Generation.folder, files) {
      do {
        generations.append(try Generation.open(cache: cache, relativePath: relativePath, files: files))
      } catch let error as ActCacheError {
        guard case .damaged = error else { throw error }
        problems.append(Problem(record: relativePath, error: error))
      }
    }
    generations.sort { $0.nSequences < $1.nSequences }
  }

  /// The folders of the streams, relative to the cache: `<root>tokens`, `<root>hooks/<name>`, `<root>logits/<policy>`.
  static func streamFolders(cache: String, below root: String = "", _ files: any FileOperations) throws -> [String] {
    let root = root.isEmpty ? "" : root + "/"
    var folders = [root + StreamSpec.tokens]
    for kind in ["hooks", "logits"] {
      folders += try names(cache: cache, folder: root + kind, files).map { "\(root)\(kind)/\($0)" }
    }
    return folders
  }

  /// `.json` files in `folder`, relative to the cache, sorted.
  private static func records(cache: String, folder: String, _ files: any FileOperations) throws -> [String] {
    try names(cache: cache, folder: folder, files).filter { $0.hasSuffix(".json") }.map { folder + "/" + $0 }
  }

  /// What is in a folder, sorted; nothing if it is not there. Hidden names are temporaries and locks.
  private static func names(cache: String, folder: String, _ files: any FileOperations) throws -> [String] {
    do { return try listFolder(cache + "/" + folder, files: files).filter { !$0.hasPrefix(".") } } catch .system(
      _, _, let code) where code == ENOENT || code == ENOTDIR
    {
      return []
    } catch { throw ActCacheError.file(error) }
  }

  /// The first problem, as the error that a reader stops with.
  func requireWhole() throws { if let problem = problems.first { throw problem.error } }

  /// The receipts of the tokens that follow each other from sequence 0 on.
  ///
  /// - Throws: `ActCacheError.mismatch` if two ranges overlap or the text of one does not continue that before it.
  package func tokenRanges(path: String) throws -> [Receipt] {
    guard let spec else { return [] }
    var ranges: [Receipt] = []
    var chain = TokenChain(baseKey: try spec.identity.baseKey()).hexValue
    var end = 0
    for receipt in tokenReceipts {
      guard receipt.first >= end else {
        throw ActCacheError.mismatch(
          "\(path): the ranges \(receipt.first)..<\(receipt.end) and ..<\(end) of the tokens overlap; remove "
            + "\(Receipt.relativePath(receipt.range, of: StreamSpec.tokens)) and run the same harvest command again")
      }
      // Another worker's range; what lies between is not there yet.
      if receipt.first > end { break }
      guard receipt.chainBefore == chain else {
        throw ActCacheError.mismatch(
          "\(path): the text of sequences \(receipt.first)..<\(receipt.end) does not continue that before it; "
            + "remove \(Receipt.relativePath(receipt.range, of: StreamSpec.tokens)) and harvest again")
      }
      ranges.append(receipt)
      end = receipt.end
      chain = receipt.chainAfter
    }
    return ranges
  }

  /// The receipt of `stream` for the same range and text as `tokens`; nil if there is none.
  package func receipt(of stream: String, matching tokens: Receipt) -> Receipt? {
    receipts[stream]?.first { $0.first == tokens.first && $0.end == tokens.end && $0.chainAfter == tokens.chainAfter }
  }
}
