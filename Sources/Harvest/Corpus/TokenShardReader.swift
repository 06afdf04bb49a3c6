import ActCache
import Foundation
import Memory

/// What a whole text gives.
struct TextEnd: Equatable, Sendable {
  let nSequences: Int
  /// The token chain over all ranges.
  let chain: TokenChain
  let counts: CorpusCounts
}

/// The sequences of one range as token ids.
struct TokenShard: Sendable {
  let first: Int
  /// [nSequences · context]
  var tokens: [UInt32] = []
  /// How many positions of each sequence are text.
  var lengths: [UInt32] = []
  var chainBefore: TokenChain
  var chainAfter: TokenChain

  var nSequences: Int { lengths.count }
  var range: Range<Int> { first..<(first + nSequences) }

  init(first: Int, chain: TokenChain) {
    self.first = first
    (chainBefore, chainAfter) = (chain, chain)
  }
}

/// Reads corpora from front to back and cuts them into the shards of a cache, the same ones whenever and by whomever
/// they are read. One shard's ids are in memory at a time.
final class TokenShardReader {
  struct Layout {
    let tokens: TokenSpec
    let nVocabulary: Int
    /// The sequence that the range from a given one on ends before, at the latest.
    let rangeEnd: (Int) -> Int
    /// nil for all that the text gives.
    let maxSequences: Int?
    let hasLengths: Bool
  }

  /// Ends the reading early.
  private enum Stop: Error { case limit, notWanted }

  private let corpora: [String]
  private let tokenizer: any TextTokenizer
  private let layout: Layout
  private let deliver: (TokenShard) throws -> Bool
  private let report: (CorpusNotice) -> Void
  private let progress: (_ sequences: Int, _ fractionRead: Double?) throws -> Void

  private let packer: SequencePacker
  private var shard: TokenShard
  private var nSequences = 0
  /// Counts of the files that are done.
  private var doneCounts = CorpusCounts()
  private var documents: DocumentReader?
  private let totalBytes: Int?
  private var doneBytes = 0

  /// - Parameters:
  ///   - baseKey: where the token chain begins.
  ///   - deliver: takes the shards in order; false if no more are wanted.
  ///   - report: told of everything that is left out.
  ///   - progress: called now and then; may throw to end the reading.
  init(
    corpora: [String], separator: String, textField: String, tokenizer: any TextTokenizer, layout: Layout,
    baseKey: String, report: @escaping (CorpusNotice) -> Void,
    progress: @escaping (_ sequences: Int, _ fractionRead: Double?) throws -> Void,
    deliver: @escaping (TokenShard) throws -> Bool
  ) {
    self.corpora = corpora
    self.tokenizer = tokenizer
    self.layout = layout
    self.deliver = deliver
    self.report = report
    self.progress = progress
    self.separator = separator
    self.textField = textField
    packer = SequencePacker(layout.tokens)
    shard = TokenShard(first: 0, chain: TokenChain(baseKey: baseKey))
    let sizes = corpora.map { $0 == "-" ? nil : try? FileDescriptor(readingFrom: $0).size() }
    totalBytes = sizes.contains { $0 == nil } ? nil : sizes.reduce(0) { $0 + ($1 ?? 0) }
  }

  private let separator: String
  private let textField: String

  /// Reads everything. Returns where the text ends, or nil if `deliver` wanted no more.
  func run() throws -> TextEnd? {
    do {
      for path in corpora { try read(path) }
      packer.finish()
    } catch Stop.limit {
      // The sequence that reached the limit is the last.
    } catch Stop.notWanted {
      return nil
    }
    if shard.nSequences > 0 {
      let last = close(shard)
      shard = TokenShard(first: nSequences, chain: last.chainAfter)
      if try !deliver(last) { return nil }
    }
    return TextEnd(nSequences: nSequences, chain: shard.chainAfter, counts: counts)
  }

  private var counts: CorpusCounts { doneCounts + (documents?.counts ?? CorpusCounts()) + packer.counts }

  private func read(_ path: String) throws {
    let source = try openCorpus(path)
    if try CorpusFormat(path: path).content == .tokens {
      try readTokens(source, path)
    } else {
      let reader = try DocumentReader(
        path: path, source: source, separator: separator, textField: textField, report: report)
      documents = reader
      let encode = tokenizer.makeEncoder()
      var ids: [UInt32] = []
      while let piece = try reader.next() {
        ids.removeAll(keepingCapacity: true)
        encode(piece.bytes, &ids)
        if let bad = ids.first(where: { Int($0) >= layout.nVocabulary }) {
          throw HarvestError.mismatch(
            "\(path): the tokenizer gives token \(bad), the model's vocabulary has \(layout.nVocabulary); "
              + "the tokenizer is not the model's")
        }
        if piece.beginsDocument { try packer.beginDocument(emit) }
        try packer.append(ids, emit)
        if piece.endsDocument { try packer.endDocument(emit) }
        try progress(nSequences, fraction(source))
      }
      doneCounts = doneCounts + reader.counts
      documents = nil
    }
    doneBytes += source.bytesConsumed
  }

  private func fraction(_ source: any ByteSource) -> Double? {
    totalBytes.map { min(1, Double(doneBytes + source.bytesConsumed) / Double(max(1, $0))) }
  }

  /// nanoGPT's token files: little-endian u16, documents end in the EOS token.
  private func readTokens(_ source: any ByteSource, _ path: String) throws {
    var offset = 0
    var low: UInt8?
    var isInside = false
    while true {
      let bytes = try source.read()
      if bytes.isEmpty { break }
      var ids: [UInt32] = []
      ids.reserveCapacity(bytes.count / 2 + 1)
      for byte in bytes {
        guard let first = low else {
          low = byte
          continue
        }
        low = nil
        let id = UInt32(first) | UInt32(byte) << 8
        guard Int(id) < layout.nVocabulary else {
          throw HarvestError.mismatch(
            "\(path): token \(id) at byte \(offset + 2 * ids.count) is outside the model's vocabulary of "
              + "\(layout.nVocabulary); the file was made with another tokenizer")
        }
        ids.append(id)
      }
      offset += 2 * ids.count
      doneCounts.bytes += bytes.count
      for part in ids.split(separator: tokenizer.eosID ?? .max, omittingEmptySubsequences: false).enumerated() {
        if part.offset > 0, isInside {
          try packer.endDocument(emit)
          isInside = false
        }
        if !part.element.isEmpty {
          if !isInside { try packer.beginDocument(emit) }
          isInside = true
          try packer.append(part.element, emit)
        }
      }
      try progress(nSequences, fraction(source))
    }
    if isInside { try packer.endDocument(emit) }
    if low != nil {
      report(CorpusNotice(file: path, offset: offset, what: "half a token at the end of the file is left out"))
    }
  }

  private func emit(_ tokens: [UInt32], _ length: Int) throws {
    shard.tokens += tokens
    shard.lengths.append(UInt32(length))
    nSequences += 1
    if nSequences == layout.rangeEnd(shard.first) {
      let full = close(shard)
      shard = TokenShard(first: nSequences, chain: full.chainAfter)
      if try !deliver(full) { throw Stop.notWanted }
    }
    if nSequences == layout.maxSequences { throw Stop.limit }
  }

  private func close(_ shard: TokenShard) -> TokenShard {
    var shard = shard
    shard.chainAfter.append(tokens: shard.tokens, lengths: layout.hasLengths ? shard.lengths : [])
    return shard
  }
}
