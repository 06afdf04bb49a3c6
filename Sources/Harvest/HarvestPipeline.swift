import ActCache
import Dispatch
import Foundation
import Memory
import Synchronization

/// The three stages of a harvest and the two queues between them.
final class HarvestPipeline: Sendable {
  /// A block with the activations of its sequences.
  private struct Computed: Sendable {
    let block: SequenceBlock
    let work: Work
    /// No block of the range follows.
    let isEnd: Bool
  }

  /// A range and what it lacks.
  private struct Work: Sendable {
    let shard: TokenShard
    let missing: Inventory.Missing
  }

  private struct State {
    var progress = HarvestProgress()
    var notices: [CorpusNotice] = []
    /// Notices beyond `maxNotices`.
    var nMoreNotices = 0
    var nNewShards = 0
    /// Tokens of the shards that this run has committed.
    var nCommittedTokens = 0
    var end: TextEnd?
    var start: Date?
    var writerFailure: (any Error)?
    /// Of the stages that have ended.
    var lanes: [Lane] = []
  }

  private let configuration: HarvestConfiguration
  private let spec: CacheSpec
  private let streams: [StreamSpec]
  private let text: TextSource
  private let tokenizer: any TextTokenizer
  private let nVocabulary: Int
  private let worker: WorkerAssignment
  private let writerBox: WriterBox
  private let inventory: Inventory
  private let interrupt: InterruptFlag
  private let report: @Sendable (HarvestProgress) -> Void
  private let notice: @Sendable (String) -> Void
  private let maxNotices: Int
  private let keepsSpans: Bool
  private let origin = LapTimer.now
  private let state = Mutex(State())
  private let shards = BoundedQueue<Work>(capacity: 1)
  private let computed = BoundedQueue<Computed>(capacity: 1)

  /// The writer is used by the writing thread alone, once it runs.
  private struct WriterBox: @unchecked Sendable { let writer: CacheWriter }

  /// Tells the writing stage to give up its shard because an earlier stage failed.
  private struct Upstream: Error {}

  /// Raised inside a stage when the run shall stop.
  private enum Stop: Error { case interrupted }

  init(
    configuration: HarvestConfiguration, nVocabulary: Int, text: TextSource, tokenizer: any TextTokenizer,
    worker: WorkerAssignment, writer: CacheWriter, inventory: Inventory, interrupt: InterruptFlag,
    progress: @escaping @Sendable (HarvestProgress) -> Void, notice: @escaping @Sendable (String) -> Void,
    maxNotices: Int, keepsSpans: Bool
  ) {
    self.configuration = configuration
    spec = writer.spec
    streams = writer.streams
    self.text = text
    self.nVocabulary = nVocabulary
    self.tokenizer = tokenizer
    self.worker = worker
    writerBox = WriterBox(writer: writer)
    self.inventory = inventory
    self.interrupt = interrupt
    report = progress
    self.notice = notice
    self.maxNotices = maxNotices
    self.keepsSpans = keepsSpans
  }

  /// Runs the stages; the model on the calling thread.
  ///
  /// - Returns: where the text ends; nil if the run was interrupted before that was known.
  func run(
    _ source: any ActivationSource
  ) throws -> (summary: HarvestRun.Summary, end: TextEnd?, wasInterrupted: Bool) {
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

    let timer = timer("model")
    var failure: (any Error)?
    do {
      while let work = try shards.pop() {
        timer.lap(.waitsForInput)
        guard try compute(work, source, timer) else { break }
      }
      timer.lap(.waitsForInput)
      if interrupt.isRaised { throw Stop.interrupted }
    } catch {
      failure = error
    }
    shards.cancel()
    computed.finish(failure.map { _ in Upstream() })
    writingDone.wait()
    finish(timer)

    let (summary, end, nMoreNotices, writerFailure) = state.withLock { state in
      let nSequences = state.end?.nSequences ?? 0
      return (
        HarvestRun.Summary(
          nSequences: nSequences, nTokens: nSequences * spec.identity.tokens.context,
          nNewShards: state.nNewShards, nNewTokens: state.nCommittedTokens,
          bytesWritten: state.progress.bytesWritten, seconds: state.progress.seconds, notices: state.notices,
          counts: state.end?.counts ?? CorpusCounts(),
          lanes: ["text", "model", "writer"].compactMap { name in state.lanes.first { $0.name == name } }),
        state.end, state.nMoreNotices, state.writerFailure
      )
    }
    if nMoreNotices > 0 {
      // An interrupted or failed run writes no manifest.
      let place = failure == nil && writerFailure == nil ? "; the manifest counts all that is left out" : ""
      notice("and \(nMoreNotices) more of these\(place)")
    }
    if let writerFailure { throw writerFailure }
    switch failure {
    case .some(Stop.interrupted): return (summary, end, true)
    case .some(let error): throw error
    case .none: return (summary, end, false)
    }
  }

  // MARK: reading

  private func isOurs(_ shard: Int) -> Bool { shard % worker.count == worker.index }

  private func read() {
    let context = spec.identity.tokens.context
    let maxSequences = configuration.tokens.map { max(1, $0 / context) }
    let timer = timer("text")
    do {
      let end = try text.read(
        configuration, tokenizer: tokenizer,
        layout: TokenShardReader.Layout(
          tokens: spec.identity.tokens, nVocabulary: nVocabulary,
          rangeEnd: { [inventory] in inventory.rangeEnd(from: $0) }, maxSequences: maxSequences,
          hasLengths: spec.hasLengths),
        baseKey: try spec.identity.baseKey(),
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
        deliver: { [self] in try deliver($0, timer) })
      if let end { try inventory.checkEnd(end, cache: configuration.out) }
      state.withLock { state in
        state.end = end
        state.progress.nTotal = end.map { $0.nSequences * context }
      }
      timer.lap(.tokenize)
      finish(timer)
      shards.finish()
    } catch {
      finish(timer)
      shards.finish(error)
    }
  }

  private func deliver(_ shard: TokenShard, _ timer: LapTimer) throws -> Bool {
    if interrupt.isRaised { throw Stop.interrupted }
    let missing = try inventory.missing(shard, cache: configuration.out)
    guard isOurs(shard.first / spec.sequencesPerShard), !missing.isEmpty else {
      state.withLock { $0.progress.nTokens += shard.tokens.count }
      reportProgress()
      return true
    }
    timer.lap(.tokenize)
    defer { timer.lap(.waitsForRoom) }
    return shards.push(Work(shard: shard, missing: missing))
  }

  // MARK: forward

  /// Puts a shard through the model, block by block. False if nobody wants the result.
  private func compute(_ work: Work, _ source: any ActivationSource, _ timer: LapTimer) throws -> Bool {
    let shard = work.shard
    let all = work.missing.streams.map { self.streams[$0] }
    let streams = all.filter { $0.type != nil }
    let teacher = all.filter { $0.type == nil }.compactMap { stream in
      stream.policy.flatMap { TargetFrameShape(policy: $0, nVocabulary: stream.width) }
        .map { TeacherPass.Stream($0, sequencesPerFrame: spec.sequencesPerFrame(of: stream)) }
    }
    let hidden = streams.first { $0.policy == .hidden }
    var hiddenType: ElementType?
    if case .float(let type) = hidden?.type { hiddenType = type }
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
      var activations = streams.map { _ in [Float]() }
      var output: TeacherOutput?
      if !all.isEmpty {
        let request = TeacherRequest(
          streams: teacher, hidden: hiddenType,
          block: TeacherPass.Block(first: shard.first + start, context: context, lengths: lengths))
        output = try source.run(
          tokens: tokens, nSequences: range.count, hooks: streams.map(\.sourceHook),
          teacher: teacher.isEmpty && hidden == nil ? nil : request
        ) { i, values in
          activations[i] = FloatRows.copy(values, width: streams[i].width, context: context, lengths: lengths)
        }
      }
      for (stream, values) in zip(streams, activations) where values.isEmpty {
        throw HarvestError.system("the model gave no values at \(stream.sourceHook)")
      }
      var errors: [String: PolicyError] = [:]
      for (stream, error) in zip(teacher, output?.errors ?? []) { errors[stream.shape.policy.stream] = error }
      if let hidden { errors[hidden.name] = output?.hiddenError }
      let block = SequenceBlock(
        first: shard.first + start, tokens: tokens, lengths: lengths, activations: activations,
        targets: output?.frames ?? [], policyErrors: errors)
      let isEnd = range.upperBound == shard.nSequences
      timer.lap(.forward)
      guard computed.push(Computed(block: block, work: work, isEnd: isEnd)) else { return false }
      timer.lap(.waitsForRoom)
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
    let timer = timer("writer")
    defer { finish(timer) }
    do {
      var shard: ShardSetWriter?
      while let next = try computed.pop() {
        timer.lap(.waitsForInput)
        let (text, missing) = (next.work.shard, next.work.missing)
        let whole =
          try shard
          ?? writerBox.writer.begin(
            text.range, streams: missing.streams.map { streams[$0] }, writesTokens: missing.tokens,
            saturates: configuration.saturate, timer: timer)
        shard = whole
        try whole.append(next.block)
        guard next.isEnd else { continue }
        let receipts = try whole.commit(chain: (text.chainBefore, text.chainAfter))
        shard = nil
        state.withLock { state in
          state.nNewShards += 1
          state.nCommittedTokens += text.tokens.count
          state.progress.bytesWritten += receipts.reduce(0) { $0 + $1.file.bytes }
        }
        reportProgress()
      }
      timer.lap(.waitsForInput)
    } catch {
      // An error that came down the queue is the caller's own.
      if !(error is Upstream) { state.withLock { $0.writerFailure = error } }
      computed.cancel()
      shards.cancel()
    }
  }

  // MARK: timing

  private func timer(_ lane: String) -> LapTimer { LapTimer(lane, origin: origin, keepsSpans: keepsSpans) }

  private func finish(_ timer: LapTimer) {
    let lane = timer.lane
    state.withLock { $0.lanes.append(lane) }
  }

  private func reportProgress() {
    state.withLock { state in
      if let start = state.start { state.progress.seconds = Date().timeIntervalSince(start) }
      report(state.progress)
    }
  }
}

extension Activity {
  /// Reading, decompressing and tokenizing text, and chaining its digest.
  package static let tokenize = Activity(rawValue: "tokenize")
  /// The model up to the last hook, and the copy of what it gives.
  package static let forward = Activity(rawValue: "forward")
}
