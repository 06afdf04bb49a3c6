import Memory

/// Writes one range of sequences: the tokens if they are asked for, some streams, and after each file the receipt that
/// makes it part of the cache. A writer that ends without `commit` leaves nothing behind.
package final class ShardSetWriter {
  package let range: Range<Int>
  private let cache: String
  private let spec: CacheSpec
  /// Of activations, and of teacher targets.
  private let streams: [StreamSpec]
  private let targetStreams: [StreamSpec]
  private let files: any FileOperations
  private let encoder: FrameEncoder
  private let tokens: TokenShardWriter?
  private let shards: [ShardWriter]
  private let targetShards: [ShardWriter]
  private let timer: LapTimer?
  private var statistics: [StreamStatistics]
  private var next: Int
  private var nTextTokens = 0
  private var nSaturated: [Int]
  private var policyErrors: [String: PolicyError] = [:]

  init(
    cache: String, spec: CacheSpec, streams: [StreamSpec], writesTokens: Bool, range: Range<Int>,
    saturates: Bool, files: any FileOperations, timer: LapTimer? = nil
  ) throws {
    self.cache = cache
    self.spec = spec
    let all = streams
    let streams = all.filter { $0.type != nil }
    self.streams = streams
    targetStreams = all.filter { $0.type == nil }
    self.files = files
    self.range = range
    encoder = try FrameEncoder(spec: spec, streams: streams, saturates: saturates)
    nSaturated = streams.map { _ in 0 }
    self.timer = timer
    next = range.lowerBound
    statistics = streams.map { StreamStatistics(width: $0.width, squaredError: 0) }
    func start(_ stream: StreamSpec) throws -> ShardWriter {
      try ShardWriter.start(
        folder: cache, relativePath: Receipt.filePath(range, of: stream.name),
        header: ShardHeader(stream, of: spec, range: range), files: files)
    }
    tokens = writesTokens ? try TokenShardWriter(spec: spec, shard: start(spec.tokenStream)) : nil
    shards = try streams.map(start)
    targetShards = try targetStreams.map(start)
    timer?.lap(.write)
  }

  /// Appends the sequences that follow: a whole number of frames, unless they end the range.
  package func append(_ block: SequenceBlock) throws {
    let context = spec.identity.tokens.context
    let end = block.first + block.nSequences
    precondition(block.first == next, "sequences from \(block.first), \(next) is next")
    precondition(
      end <= range.upperBound && (end == range.upperBound || block.nSequences % spec.sequencesPerFrame == 0),
      "\(block.nSequences) sequences are not whole frames of \(spec.sequencesPerFrame)")
    precondition(block.tokens.count == block.nSequences * context, "\(block.tokens.count) tokens")
    precondition(
      block.activations.count == streams.count && block.targets.count == targetStreams.count,
      "\(block.activations.count) + \(block.targets.count) streams")
    for (stream, values) in zip(streams, block.activations) {
      precondition(values.count == block.nSequences * context * stream.width, "\(stream.name): \(values.count) values")
    }
    let frames = try encoder.encode(block)
    timer?.lap(.encode)
    for frame in frames {
      for (i, output) in frame.enumerated() {
        try shards[i].append(output.frame)
        statistics[i].merge(output.statistics)
        nSaturated[i] += output.nSaturated
      }
    }
    timer?.lap(.write)
    for (shard, frames) in zip(targetShards, block.targets) {
      let encoded = try encoder.encode(frames)
      timer?.lap(.encode)
      for frame in encoded { try shard.append(frame) }
      timer?.lap(.write)
    }
    for (name, error) in block.policyErrors { policyErrors[name, default: PolicyError()].merge(error) }
    try tokens?.append(block)
    for length in block.lengths { nTextTokens += Int(length) }
    next = end
    timer?.lap(.write)
  }

  /// Makes the range part of the cache.
  /// - Parameter chain: the token chain before and after this range.
  package func commit(chain: (before: TokenChain, after: TokenChain)) throws -> [Receipt] {
    precondition(next == range.upperBound, "sequences up to \(next) of \(range) written")
    func commit(
      _ stream: StreamSpec, _ file: FileRecord, _ statistics: StreamStatistics? = nil, nSaturated: Int = 0
    ) throws -> Receipt {
      let receipt = Receipt(
        format: Receipt.format, version: ShardHeader.version, spec: spec, stream: stream, first: range.lowerBound,
        end: range.upperBound, file: file, chainBefore: chain.before.hexValue, chainAfter: chain.after.hexValue,
        nTextTokens: nTextTokens, nSaturated: nSaturated, statistics: statistics,
        policyError: policyErrors[stream.name])
      try SealedJSON.write(
        receipt, name: "receipt", to: cache + "/" + Receipt.relativePath(range, of: stream.name), files: files)
      return receipt
    }
    var receipts: [Receipt] = []
    if let tokens { receipts.append(try commit(spec.tokenStream, tokens.commit())) }
    for (i, stream) in streams.enumerated() {
      receipts.append(try commit(stream, shards[i].commit(), statistics[i], nSaturated: nSaturated[i]))
    }
    for (stream, shard) in zip(targetStreams, targetShards) { receipts.append(try commit(stream, shard.commit())) }
    timer?.lap(.sync)
    return receipts
  }
}

extension ShardHeader {
  /// The header of the shard of `stream` that holds `range`.
  init(_ stream: StreamSpec, of spec: CacheSpec, range: Range<Int>) throws {
    let key = try spec.identity.baseKey()
    self.init(
      stream: stream.name, baseKey: key, streamKey: stream.key(baseKey: key), first: range.lowerBound,
      end: range.upperBound, context: spec.identity.tokens.context, width: stream.width, dtype: stream.dtype,
      transforms: stream.name == StreamSpec.tokens || stream.codec == "none" ? [] : ["byteplanes"],
      codec: stream.codec, sequencesPerFrame: spec.sequencesPerFrame(of: stream),
      hasLengths: stream.name == StreamSpec.tokens && spec.hasLengths, steps: stream.stepsDigest)
  }
}
