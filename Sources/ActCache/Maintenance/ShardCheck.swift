import Crypto
import Memory

/// One shard against its receipt.
struct ShardCheck: Sendable {
  let receipt: Receipt
  let shard: ShardReader
  private let spec: CacheSpec

  /// Checks header, index and seek table.
  /// - Throws: `ActCacheError.damaged` if they are not those of the receipt, `.file`.
  init(cache: String, receipt: Receipt) throws {
    self.receipt = receipt
    spec = receipt.spec
    // Not mapped: whatever a failing disk does shall be a finding.
    shard = try ShardReader(path: cache + "/" + receipt.file.path, bytes: receipt.file.bytes, io: .pread)
    let expected = try ShardHeader(receipt.stream, of: receipt.spec, range: receipt.range)
    let header = shard.header
    guard header == expected else {
      throw shard.damaged(
        "it holds \(header.stream) \(header.first)..<\(header.end) of stream \(header.streamKey.prefix(12)), not "
          + "\(expected.stream) \(expected.first)..<\(expected.end) of \(expected.streamKey.prefix(12))")
    }
  }

  /// What the tokens of a shard say.
  struct Tokens: Sendable {
    /// How many positions of each sequence are text.
    var lengths: [UInt32] = []
    var chainAfter: TokenChain
  }

  /// Reads all tokens: ids inside the vocabulary, lengths inside the context, the token chain.
  /// - Parameters:
  ///   - comparesCounts: whether the receipt knows how many positions are text.
  ///   - comparesChain: whether it knows the token chain after them.
  /// - Throws: `ActCacheError.damaged` for the first thing that is wrong.
  func tokens(nVocabulary: Int?, comparesCounts: Bool = true, comparesChain: Bool = true) throws -> Tokens {
    let contents = try FrameContents(shard)
    let context = spec.identity.tokens.context
    var ids: [UInt32] = []
    var lengths: [UInt32] = []
    for frame in 0..<shard.header.nFrames {
      let (frameIDs, frameLengths) = try contents.tokens(of: frame)
      ids += frameIDs
      lengths += frameLengths
    }
    if let nVocabulary, let i = ids.firstIndex(where: { Int($0) >= nVocabulary }) {
      throw shard.damaged(
        "token \(ids[i]) of sequence \(receipt.first + i / context), position \(i % context), is outside the "
          + "vocabulary of \(nVocabulary)")
    }
    if let i = lengths.firstIndex(where: { $0 > context }) {
      throw shard.damaged("sequence \(receipt.first + i) has \(lengths[i]) tokens of text in \(context) positions")
    }
    let all = spec.hasLengths ? lengths : [UInt32](repeating: UInt32(context), count: receipt.end - receipt.first)
    let nText = all.reduce(0) { $0 + Int($1) }
    guard !comparesCounts || nText == receipt.nTextTokens else {
      throw shard.damaged("\(nText) of its positions are text, its receipt says \(receipt.nTextTokens)")
    }
    guard var chain = TokenChain(hexValue: receipt.chainBefore) else {
      throw shard.damaged("its receipt has no token chain")
    }
    chain.append(tokens: ids, lengths: lengths)
    guard !comparesChain || chain.hexValue == receipt.chainAfter else {
      throw shard.damaged(
        "its tokens give the chain \(chain.hexValue.prefix(12)), its receipt says \(receipt.chainAfter.prefix(12))")
    }
    return Tokens(lengths: all, chainAfter: chain)
  }

  /// Decodes frames of activations: all values finite, and zero where `lengths` (of the shard's sequences) says padding.
  /// - Parameters:
  ///   - onFault: told the first thing that is wrong with a frame; if it returns, the next frame follows.
  ///   - use: lent the values of each frame that is right; nothing of targets.
  func checkFrames(
    _ frames: Range<Int>, lengths: [UInt32]?, onFault: (Int, ActCacheError) throws -> Void,
    use: (_ frame: Int, Span<Float>) -> Void = { _, _ in }
  ) throws {
    let contents = try FrameContents(shard)
    var values: [Float] = []
    for frame in frames {
      do {
        try check(frame, contents, lengths, &values)
        if receipt.stream.type != nil { use(frame, values.span) }
      } catch let error as ActCacheError { try onFault(frame, error) }
    }
  }

  private func check(
    _ frame: Int, _ contents: FrameContents, _ lengths: [UInt32]?, _ values: inout [Float]
  ) throws {
    if let shape = shard.header.targetShape { return try check(frame, contents.targets(of: frame, shape), lengths) }
    guard let type = receipt.stream.type, let codec = ShardCodec(receipt.stream.codec) else {
      throw ActCacheError.unsupported("\(receipt.stream.name): dtype \(receipt.stream.dtype)")
    }
    let coding = try ValueCoding(type: type, width: receipt.stream.width, steps: receipt.stream.steps, codec: codec)
    try contents.values(of: frame, coding, into: &values)
    let (context, width) = (spec.identity.tokens.context, receipt.stream.width)
    let first = frame * spec.sequencesPerFrame
    func fault(_ i: Int, _ what: String) -> ActCacheError {
      let (row, channel) = i.quotientAndRemainder(dividingBy: width)
      return shard.damaged(
        "frame \(frame): the value of sequence \(receipt.first + first + row / context), position \(row % context), "
          + "channel \(channel) is \(what)")
    }
    if let i = ShardCheck.firstNonFinite(values.span) { throw fault(i, "not finite") }
    guard let lengths, spec.hasLengths else { return }
    for i in 0..<shard.header.sequences(inFrame: frame) where Int(lengths[first + i]) < context {
      let padding = ((i * context + Int(lengths[first + i])) * width)..<((i + 1) * context * width)
      if let bad = padding.first(where: { values[$0] != 0 }) { throw fault(bad, "\(values[bad]), but it is padding") }
    }
  }

  /// Checks all frames and adds up what a receipt says of the values, as they are stored.
  /// - Parameters:
  ///   - lengths: how many positions of each sequence are text.
  ///   - isExact: whether storing changed no value; what it cost otherwise, stored values do not tell.
  func statistics(lengths: [UInt32], isExact: Bool) throws -> StreamStatistics {
    let squaredError = isExact ? 0.0 : nil
    var sums = StreamStatistics(width: receipt.stream.width, squaredError: squaredError)
    try checkFrames(0..<shard.header.nFrames, lengths: lengths, onFault: { throw $1 }) { frame, values in
      // Frame by frame, as they were added up when they were written.
      var statistics = StreamStatistics(width: receipt.stream.width, squaredError: squaredError)
      let (context, first) = (spec.identity.tokens.context, frame * spec.sequencesPerFrame)
      for i in 0..<shard.header.sequences(inFrame: frame) {
        _ = statistics.add(values, from: i * context * receipt.stream.width, nRows: Int(lengths[first + i]))
      }
      sums.merge(statistics)
    }
    return sums
  }

  /// Targets of text have entries, those of padding none.
  private func check(_ frame: Int, _ targets: TeacherTargets, _ lengths: [UInt32]?) throws {
    guard let lengths else { return }
    let context = spec.identity.tokens.context
    for token in 0..<targets.nTokens {
      // Of targets, which may have fewer sequences in a frame than the hooks.
      let first = frame * shard.header.sequencesPerFrame
      let (sequence, position) = (first + token / context, token % context)
      let isText = position < Int(lengths[sequence])
      guard isText == (targets.starts[token] < targets.starts[token + 1]) else {
        throw shard.damaged(
          "frame \(frame): sequence \(receipt.first + sequence), position \(position) has "
            + (isText ? "no targets" : "targets, but it is padding"))
      }
    }
  }

  private static func firstNonFinite(_ values: Span<Float>) -> Int? {
    // The largest pattern of a magnitude says whether there is one: a loop without branches.
    var top: UInt32 = 0
    for i in values.indices { top = max(top, values[i].magnitude.bitPattern) }
    return top < 0x7F80_0000 ? nil : values.indices.first { !values[$0].isFinite }
  }

  /// SHA-256 of the whole file against the receipt.
  /// - Throws: `ActCacheError.damaged`, `.file`.
  static func checkDigest(cache: String, _ record: FileRecord) throws {
    let path = cache + "/" + record.path
    let digest = try fileErrors { () throws(MemoryError) in try sha256(ofFile: path) }
    guard digest == record.sha256 else {
      throw ActCacheError.damaged(
        file: path, what: "its SHA-256 is \(digest.prefix(12)), its receipt says \(record.sha256.prefix(12))",
        remedy: "")
    }
  }
}

/// SHA-256 of a file, as 64 hex digits.
package func sha256(ofFile path: String) throws(MemoryError) -> String {
  let file = try FileDescriptor(readingFrom: path)
  let size = try file.size()
  var sha = SHA256()
  var offset = 0
  while offset < size {
    let piece = try file.read(at: offset, count: min(1 << 20, size - offset))
    sha.update(data: piece)
    offset += piece.count
  }
  return hex(sha.finalize())
}
