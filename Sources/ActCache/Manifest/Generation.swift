import Foundation
import Memory

/// The end of a text: sequences `0..<nSequences` are all that it gives. Written when every range below is there.
///
/// A cache that grows has one generation per text; a run that began on an earlier one can be replayed on it. Generations
/// are numbered from 1 in the order of their lengths.
public struct Generation: Codable, Equatable, Sendable {
  static let format = "actcache.generation"

  let format: String
  let version: Int
  public let baseKey: String
  public let nSequences: Int
  /// The token chain over all of its ranges, hex: which text it is.
  public let chain: String
  /// Base names of the corpora.
  public let corpora: [String]
  public let counts: CorpusCounts

  init(baseKey: String, nSequences: Int, chain: String, corpora: [String], counts: CorpusCounts) {
    format = Generation.format
    version = ShardHeader.version
    self.baseKey = baseKey
    self.nSequences = nSequences
    self.chain = chain
    self.corpora = corpora
    self.counts = counts
  }

  static let folder = "generations"

  static func relativePath(_ nSequences: Int) -> String { "\(folder)/\(nSequences).json" }

  static func open(cache: String, relativePath: String, files: any FileOperations) throws -> Generation {
    let path = cache + "/" + relativePath
    let remedy = "remove it and run the same harvest command again"
    let generation = try SealedJSON.open(
      Generation.self, name: "generation", path: path, remedy: remedy, files: files)
    guard generation.format == format, generation.version == ShardHeader.version,
      (1...ShardLimits.maxSequences).contains(generation.nSequences),
      relativePath == Generation.relativePath(generation.nSequences)
    else {
      throw ActCacheError.damaged(
        file: path,
        what: "it is \"\(generation.format)\" version \(generation.version) of \(generation.nSequences) sequences",
        remedy: remedy)
    }
    return generation
  }
}
