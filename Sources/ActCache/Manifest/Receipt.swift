import Foundation
import Memory

/// The commit record of one shard file: the file is in the cache if and only if this record is there and the file has
/// the size that it states.
public struct Receipt: Codable, Equatable, Sendable {
  public static let format = "actcache.receipt"

  public let format: String
  public let version: Int
  /// The same in all receipts of a cache.
  public let spec: CacheSpec
  /// The same in all receipts of a stream.
  public let stream: StreamSpec
  /// Sequences `first..<end`.
  public let first: Int
  public let end: Int
  public let file: FileRecord
  /// The token chain before and after this range, hex: which text it is.
  public let chainBefore: String
  public let chainAfter: String
  /// Positions that are text, not padding.
  public let nTextTokens: Int
  /// Values that f16 cannot hold and that were brought to ±65,504.
  public let nSaturated: Int
  /// Of streams of activations.
  public let statistics: StreamStatistics?
  /// Of `logits/` streams: what they lose, measured on a sample.
  public let policyError: PolicyError?

  var range: Range<Int> { first..<end }

  /// Where it lies in the cache.
  package var relativePath: String { Receipt.relativePath(range, of: stream.name) }

  /// `receipts/<stream>/<first>-<end>.json`
  static func relativePath(_ range: Range<Int>, of stream: String) -> String {
    "receipts/\(stream)/\(rangeName(range)).json"
  }

  /// `<stream>/<first>-<end>.zst`
  static func filePath(_ range: Range<Int>, of stream: String) -> String { "\(stream)/\(rangeName(range)).zst" }

  /// "<first>-<end>" with at least 9 digits each, so that names sort as numbers do.
  static func rangeName(_ range: Range<Int>) -> String {
    func padded(_ n: Int) -> String { String(repeating: "0", count: max(0, 9 - "\(n)".count)) + "\(n)" }
    return padded(range.lowerBound) + "-" + padded(range.upperBound)
  }

  private static let remedy = "run actcache repair, or remove it and run the same harvest command again"

  /// Reads and checks the receipt at `relativePath` of the cache at `cache`.
  static func open(cache: String, relativePath: String, files: any FileOperations) throws -> Receipt {
    let path = cache + "/" + relativePath
    let receipt = try SealedJSON.open(Receipt.self, name: "receipt", path: path, remedy: remedy, files: files)
    func damaged(_ what: String) -> ActCacheError { .damaged(file: path, what: what, remedy: remedy) }
    guard receipt.format == Receipt.format, receipt.version == ShardHeader.version else {
      throw damaged(
        "it is \"\(receipt.format)\" version \(receipt.version), this program reads "
          + "\"\(Receipt.format)\" version \(ShardHeader.version)")
    }
    do {
      try receipt.spec.validate()
      try receipt.spec.validate([receipt.stream])
    } catch { throw damaged("\(error)") }
    let stream = receipt.stream.name
    guard receipt.first >= 0, receipt.end > receipt.first, receipt.end <= ShardLimits.maxSequences,
      relativePath == Receipt.relativePath(receipt.range, of: stream),
      receipt.file.path == filePath(receipt.range, of: stream),
      (0...ShardLimits.maxShardBytes).contains(receipt.file.bytes),
      [receipt.nTextTokens, receipt.nSaturated].allSatisfy({ (0...ShardLimits.maxCount).contains($0) })
    else { throw damaged("it is the receipt of \(stream) \(receipt.first)..<\(receipt.end)") }
    if stream == StreamSpec.tokens {
      guard receipt.stream == receipt.spec.tokenStream else {
        throw damaged("its tokens are no \(receipt.spec.tokenType)")
      }
    } else if receipt.stream.type != nil {
      guard let statistics = receipt.statistics, statistics.isConsistent(width: receipt.stream.width) else {
        throw damaged("it has no statistics of \(receipt.stream.hookName ?? stream)")
      }
    }
    guard receipt.policyError?.isConsistent ?? true else {
      throw damaged("nobody can have measured its policyError")
    }
    return receipt
  }
}

extension FileRecord {
  /// Throws `ActCacheError.damaged` unless the file is there with its size.
  func checkSize(cache: String, files: any FileOperations = RealFiles()) throws {
    let remedy = "run actcache repair, or the same harvest command again to write it anew"
    let file = cache + "/" + path
    let size: Int
    do { size = try FileDescriptor(readingFrom: file, files: files).size() } catch .system("open", _, ENOENT) {
      throw ActCacheError.damaged(file: file, what: "the file is gone, its receipt names it", remedy: remedy)
    } catch .format(_, let what) {
      throw ActCacheError.damaged(file: file, what: what, remedy: remedy)
    } catch .system(_, _, EISDIR) {
      throw ActCacheError.damaged(file: file, what: "it is a folder, not a file", remedy: remedy)
    } catch { throw ActCacheError.file(error) }
    if size != bytes {
      throw ActCacheError.damaged(
        file: file, what: "the file has \(size) bytes, its receipt says \(bytes)", remedy: remedy)
    }
  }
}
