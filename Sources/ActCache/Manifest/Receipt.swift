import Crypto
import Foundation
import Memory

/// What was read to fill a range of sequences. Nothing is left out silently: everything that is not in a sequence is
/// counted here.
public struct CorpusCounts: Codable, Equatable, Sendable {
  /// Documents that gave at least one token.
  public var documents = 0
  public var emptyDocuments = 0
  /// Documents left out because they are not UTF-8.
  public var invalidDocuments = 0
  /// Lines left out because they are too long or not the JSON they should be.
  public var invalidLines = 0
  /// Tokens of documents that did not get into any sequence (ends of long documents with pack "none", and the rest
  /// that fills no whole sequence at the end of the text).
  public var droppedTokens = 0
  /// Bytes of text read.
  public var bytes = 0

  public init() {}

  public static func + (a: CorpusCounts, b: CorpusCounts) -> CorpusCounts {
    var sum = a
    sum.documents += b.documents
    sum.emptyDocuments += b.emptyDocuments
    sum.invalidDocuments += b.invalidDocuments
    sum.invalidLines += b.invalidLines
    sum.droppedTokens += b.droppedTokens
    sum.bytes += b.bytes
    return sum
  }

  public static func - (a: CorpusCounts, b: CorpusCounts) -> CorpusCounts {
    var rest = a
    rest.documents -= b.documents
    rest.emptyDocuments -= b.emptyDocuments
    rest.invalidDocuments -= b.invalidDocuments
    rest.invalidLines -= b.invalidLines
    rest.droppedTokens -= b.droppedTokens
    rest.bytes -= b.bytes
    return rest
  }
}

/// The chain over the token blocks of the shards: h = SHA-256(h before ‖ token ids as little-endian u32). A longer text
/// with the same beginning has the same first links.
package struct TokenChain: Equatable, Sendable {
  package private(set) var value: [UInt8]

  /// The start of a chain: the bytes of the base key.
  package init(baseKey: String) { value = Array(SHA256.hash(data: Array(baseKey.utf8))) }

  package var hexValue: String { hex(value) }

  /// Adds the token ids (and, with pack "none", the text lengths) of one shard.
  package mutating func append(tokens: [UInt32], lengths: [UInt32]) {
    var block = value
    block.reserveCapacity(32 + 4 * (tokens.count + lengths.count))
    for token in tokens { block.append(u32: token) }
    for length in lengths { block.append(u32: length) }
    value = Array(SHA256.hash(data: block))
  }
}

/// The commit record of sequences `first..<end`: they are in the cache if and only if this file is there and the files
/// that it names have the sizes that it states.
public struct Receipt: Codable, Equatable, Sendable {
  public static let format = "actcache.receipt"

  public let format: String
  public let version: Int
  public let spec: CacheSpec
  public let first: Int
  public let end: Int
  /// True if no sequences follow.
  public let isLast: Bool
  public let files: [FileRecord]
  /// The token chain before and after this range, hex.
  public let chainBefore: String
  public let chainAfter: String
  /// Positions that are text, not padding.
  public let nTextTokens: Int
  /// Base names of the corpora.
  public let corpora: [String]
  public let counts: CorpusCounts
  /// By hook name.
  public let statistics: [String: StreamStatistics]

  static func relativePath(_ range: Range<Int>) -> String { "receipts/\(rangeName(range)).json" }

  /// "<first>-<end>" with at least 9 digits each, so that names sort as numbers do.
  static func rangeName(_ range: Range<Int>) -> String {
    func padded(_ n: Int) -> String { String(repeating: "0", count: max(0, 9 - "\(n)".count)) + "\(n)" }
    return padded(range.lowerBound) + "-" + padded(range.upperBound)
  }

  private static let remedy = "remove it and run the same harvest command again to write the range anew"

  static func open(path: String) throws -> Receipt {
    let receipt = try SealedJSON.open(Receipt.self, name: "receipt", path: path, remedy: remedy)
    guard receipt.format == Receipt.format, receipt.version == ShardHeader.version else {
      throw ActCacheError.damaged(
        file: path,
        what: "it is \"\(receipt.format)\" version \(receipt.version), this program reads "
          + "\"\(Receipt.format)\" version \(ShardHeader.version)", remedy: remedy)
    }
    do { try receipt.spec.validate() } catch {
      throw ActCacheError.damaged(file: path, what: "\(error)", remedy: remedy)
    }
    let name = relativePath(receipt.first..<max(receipt.first, receipt.end))
    guard receipt.end > receipt.first, receipt.first >= 0, path.hasSuffix(name) else {
      throw ActCacheError.damaged(
        file: path, what: "it is the receipt of \(receipt.first)..<\(receipt.end)", remedy: remedy)
    }
    for hook in receipt.spec.hooks {
      let statistics = receipt.statistics[hook.name]
      guard statistics?.sums.count == hook.width, statistics?.squares.count == hook.width else {
        throw ActCacheError.damaged(file: path, what: "it has no statistics of \(hook.name)", remedy: remedy)
      }
    }
    for file in receipt.files where file.path.hasPrefix("/") || file.path.split(separator: "/").contains("..") {
      throw ActCacheError.damaged(file: path, what: "it names a file outside the cache, \(file.path)", remedy: remedy)
    }
    return receipt
  }
}

extension FileRecord {
  /// Throws `ActCacheError.damaged` unless every file is there with its size.
  static func checkSizes(_ files: [FileRecord], cache: String) throws {
    let remedy = "run the same harvest command again to write it anew"
    for record in files {
      let path = cache + "/" + record.path
      let size: Int
      do { size = try FileDescriptor(readingFrom: path).size() } catch .system("open", _, ENOENT) {
        throw ActCacheError.damaged(file: path, what: "the file is gone, its receipt names it", remedy: remedy)
      } catch { throw ActCacheError.file(error) }
      if size != record.bytes {
        throw ActCacheError.damaged(
          file: path, what: "the file has \(size) bytes, its receipt says \(record.bytes)", remedy: remedy)
      }
    }
  }
}

/// The receipts of a cache.
enum ReceiptFolder {
  /// All receipts, in the order of their ranges. Temporaries and other files are passed over.
  static func receipts(cache: String) throws -> [Receipt] {
    let folder = cache + "/receipts"
    guard let names = try? FileManager.default.contentsOfDirectory(atPath: folder) else { return [] }
    return try names.filter { $0.hasSuffix(".json") && !$0.hasPrefix(".") }.sorted()
      .map { try Receipt.open(path: folder + "/" + $0) }
      .sorted { ($0.first, $0.end) < ($1.first, $1.end) }
  }
}
