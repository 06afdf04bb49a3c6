import ActCache
import Dispatch
import Foundation
import Synchronization

/// The three stages of a harvest and the two queues between them.
final class HarvestPipeline: Sendable {
  /// A block with the activations of its sequences.
  private struct Computed: Sendable {
    let block: SequenceBlock
    /// Of the whole shard.
    let range: Range<Int>
    /// Set in the last block of a shard.
    let end: TokenShard?
  }

  private struct State {
    var progress = HarvestProgress()
    var notices: [CorpusNotice] = []
    /// Notices beyond `maxNotices`.
    var nMoreNotices = 0
    var nNewShards = 0
    /// Tokens of the shards that this run has committed.
    var nCommittedTokens = 0
    var nSequences: Int?
    var start: Date?
    var writerFailure: (any Error)?
  }

  private let configuration: HarvestConfiguration
  private let spec: CacheSpec
  private let tokenizer: any TextTokenizer
  private let nVocabulary: Int
  private let worker: (index: Int, count: Int)
  private let writerBox: WriterBox
  /// By first sequence.
  private let existing: [Int: Receipt]
  private let interrupt: InterruptFlag
  private let report: @Sendable (HarvestProgress) -> Void
  private let notice: @Sendable (String) -> Void
  private let maxNotices: Int
  private let state = Mutex(State())
  private let shards = BoundedQueue<TokenShard>(capacity: 1)
  private let computed = BoundedQueue<Computed>(capacity: 1)

  /// The writer is used by the writing thread alone, once it runs.
  private struct WriterBox: @unchecked Sendable { let writer: CacheWriter }

  /// Tells the writing stage to give up its shard because an earlier stage failed.
  private struct Upstream: Error {}

  /// Raised inside a stage when the run shall stop.
  private enum Stop: Error { case interrupted }

  init(
    configuration: HarvestConfiguration, spec: CacheSpec, nVocabulary: Int, tokenizer: any TextTokenizer,
    worker: (index: Int, count: Int), writer: CacheWriter, existing: [Receipt], interrupt: InterruptFlag,
    progress: @escaping @Sendable (HarvestProgress) -> Void, notice: @escaping @Sendable (String) -> Void,
    maxNotices: Int
  ) {
    self.configuration = configuration
    self.spec = spec
    self.nVocabulary = nVocabulary
    self.tokenizer = tokenizer
    self.worker = worker
    writerBox = WriterBox(writer: writer)
    self.existing = Dictionary(existing.map { ($0.first, $0) }, uniquingKeysWith: { first, _ in first })
    self.interrupt = interrupt
    report = progress
    self.notice = notice
    self.maxNotices = maxNotices
  }

  /// Runs the stages; the model on the calling thread.
  func run(_ source: any ActivationSource) throws -> (summary: HarvestRun.Summary, wasInterrupted: Bool) {
    let reading = Thread { [self] in read() }
    let writingDone = DispatchSemaphore(value: 0)
    let writing = Thread { [self] in
      write()
      writingDone.signal()
    }
    // Tokenizers and JSON parsers recurse; the default of 512 KiB is little for them.
    reading.stackSize = 8 << 20
    reading.start()
    writing.start()

    var failure: (any Error)?
    do {
      while let shard = try shards.pop() {
        guard try compute(shard, source) else { break }
      }
      if interrupt.isRaised { throw Stop.interrupted }
    } catch {
      failure = error
    }
    shards.cancel()
    computed.finish(failure.map { _ in Upstream() })
    writingDone.wait()

    let (summary, nMoreNotices, writerFailure) = state.withLock { state in
      (
        HarvestRun.Summary(
          nSequences: state.nSequences ?? 0, nTokens: (state.nSequences ?? 0) * spec.identity.tokens.context,
          nNewShards: state.nNewShards, nNewTokens: state.nCommittedTokens,
          bytesWritten: state.progress.bytesWritten, seconds: state.progress.seconds, notices: state.notices),
        state.nMoreNotices, state.writerFailure
      )
    }
    if nMoreNotices > 0 {
      // An interrupted or failed run writes no manifest.
      let place = failure == nil && writerFailure == nil ? "; the manifest counts all that is left out" : ""
      notice("and \(nMoreNotices) more of these\(place)")
    }
    if let writerFailure { throw writerFailure }
    switch failure {
    case .some(Stop.interrupted): return (summary, true)
    case .some(let error): throw error
    case .none: return (summary, false)
    }
  }

  // MARK: reading

  private func isOurs(_ shard: Int) -> Bool { shard % worker.count == worker.index }

  private func read() {
    let context = spec.identity.tokens.context
    let maxSequences = configuration.tokens.map { max(1, $0 / context) }
    do {
      let baseKey = try spec.identity.baseKey()
      let reader = TokenShardReader(
        corpora: configuration.corpora, separator: configuration.separator, textField: configuration.textField,
        tokenizer: tokenizer,
        layout: TokenShardReader.Layout(
          tokens: spec.identity.tokens, nVocabulary: nVocabulary, sequencesPerShard: spec.sequencesPerShard,
          maxSequences: maxSequences,
          hasLengths: spec.identity.tokens.pack == "none"),
        baseKey: baseKey,
        report: { [self] text in
          let isFirst = state.withLock { state in
            guard state.notices.count < maxNotices else {
              state.nMoreNotices += 1
              return false
            }
            state.notices.append(text)
            return true
          }
          if isFirst { notice("\(text)") }
        },
        progress: { [self] sequences, fractionRead in
          if interrupt.isRaised { throw Stop.interrupted }
          let total = maxSequences ?? fractionRead.map { $0 > 0 ? Int(Double(sequences) / $0) : 0 }
          state.withLock { $0.progress.nTotal = total.map { $0 * context } }
        },
        deliver: { [self] in try deliver($0) })
      let nSequences = try reader.run()
      if let nSequences { try checkEnd(nSequences) }
      state.withLock { state in
        state.nSequences = nSequences
        state.progress.nTotal = nSequences.map { $0 * context }
      }
      shards.finish()
    } catch {
      shards.finish(error)
    }
  }

  private func deliver(_ shard: TokenShard) throws -> Bool {
    if interrupt.isRaised { throw Stop.interrupted }
    let receipt = existing[shard.first]
    if let receipt { try check(receipt, against: shard) }
    guard isOurs(shard.first / spec.sequencesPerShard), receipt == nil else {
      state.withLock { $0.progress.nTokens += shard.tokens.count }
      reportProgress()
      return true
    }
    return shards.push(shard)
  }

  private func check(_ receipt: Receipt, against shard: TokenShard) throws {
    let out = configuration.out
    guard receipt.end == shard.range.upperBound, receipt.isLast == shard.isLast else {
      let there = receipt.isLast ? "ends with sequence \(receipt.end)" : "goes on beyond sequence \(receipt.end)"
      let asked = shard.isLast ? "ends with sequence \(shard.range.upperBound)" : "goes on beyond it"
      throw HarvestError.mismatch(
        "\(out): the text of this cache \(there), the text of this command \(asked); repeat the command that made the "
          + "cache (the same --tokens and --corpus), or choose another --out")
    }
    guard receipt.chainBefore == shard.chainBefore.hexValue, receipt.chainAfter == shard.chainAfter.hexValue else {
      throw HarvestError.mismatch(
        "\(out): sequences \(shard.range.lowerBound)..<\(shard.range.upperBound) were made from another text (token "
          + "chain \(receipt.chainAfter.prefix(12)), this text gives \(shard.chainAfter.hexValue.prefix(12))); repeat the "
          + "command that made the cache, or choose another --out")
    }
  }

  /// Receipts beyond the end of the text belong to another one.
  private func checkEnd(_ nSequences: Int) throws {
    guard let beyond = existing.values.map(\.end).max(), beyond > nSequences else { return }
    throw HarvestError.mismatch(
      "\(configuration.out): this cache holds sequences up to \(beyond), the text of this command ends with "
        + "\(nSequences); repeat the command that made the cache, or choose another --out")
  }

  // MARK: forward

  /// Puts a shard through the model, block by block. False if nobody wants the result.
  private func compute(_ shard: TokenShard, _ source: any ActivationSource) throws -> Bool {
    let context = spec.identity.tokens.context
    let perBlock = max(1, configuration.batchTokens / (context * spec.sequencesPerFrame)) * spec.sequencesPerFrame
    state.withLock { state in
      state.progress.phase = .harvesting
      if state.start == nil { state.start = Date() }
    }
    for start in stride(from: 0, to: shard.nSequences, by: perBlock) {
      if interrupt.isRaised { throw Stop.interrupted }
      let range = start..<min(start + perBlock, shard.nSequences)
      let tokens = Array(shard.tokens[(range.lowerBound * context)..<(range.upperBound * context)])
      let lengths = Array(shard.lengths[range])
      var activations = spec.hooks.map { _ in [Float]() }
      try source.run(tokens: tokens, nSequences: range.count, hooks: spec.hooks.map(\.name)) { hook, values in
        activations[hook] = FloatRows.copy(values, width: spec.hooks[hook].width, context: context, lengths: lengths)
      }
      for (hook, values) in zip(spec.hooks, activations) where values.isEmpty {
        throw HarvestError.system("the model gave no values at \(hook.name)")
      }
      let block = SequenceBlock(
        first: shard.first + start, tokens: tokens, lengths: lengths, activations: activations)
      let isEnd = range.upperBound == shard.nSequences
      guard computed.push(Computed(block: block, range: shard.range, end: isEnd ? shard : nil)) else { return false }
      state.withLock { state in
        state.progress.nNewTokens += tokens.count
        state.progress.nTokens += tokens.count
      }
      reportProgress()
    }
    return true
  }

  // MARK: writing

  private func write() {
    do {
      var shard: ShardSetWriter?
      while let next = try computed.pop() {
        let whole = try shard ?? writerBox.writer.begin(next.range)
        shard = whole
        try whole.append(next.block)
        guard let end = next.end else { continue }
        let receipt = try whole.commit(
          isLast: end.isLast, chain: (end.chainBefore, end.chainAfter),
          corpora: configuration.corpora.map { URL(fileURLWithPath: $0).lastPathComponent }, counts: end.counts)
        shard = nil
        state.withLock { state in
          state.nNewShards += 1
          state.nCommittedTokens += end.tokens.count
          state.progress.bytesWritten += receipt.files.reduce(0) { $0 + $1.bytes }
        }
        reportProgress()
      }
    } catch {
      // An error that came down the queue is the caller's own.
      if !(error is Upstream) { state.withLock { $0.writerFailure = error } }
      computed.cancel()
      shards.cancel()
    }
  }

  private func reportProgress() {
    state.withLock { state in
      if let start = state.start { state.progress.seconds = Date().timeIntervalSince(start) }
      report(state.progress)
    }
  }
}
