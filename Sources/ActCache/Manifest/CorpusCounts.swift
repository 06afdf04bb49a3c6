/// What was read to fill a cache. Nothing is left out silently: everything that is not in a sequence is
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
}
