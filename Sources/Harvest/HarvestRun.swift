import ActCache
import Foundation
import Memory
import Synchronization

/// One run of `actcache harvest`.
///
///     text ─ read, tokenize, pack ─► blocks ─ forward ─► activations ─ encode, write ─► shard, receipt
///            own thread              queue    caller     queue          own thread
///
/// The same command continues where an earlier run stopped: ranges with a receipt are compared with the text (by the
/// token chain) and skipped. An interrupted run loses the shard that it was working on.
package final class HarvestRun {
  package struct Summary: Equatable, Sendable {
    /// Sequences and tokens of the whole text that is asked for; of an interrupted run, those that are committed, by
    /// whichever run.
    package var nSequences = 0
    package var nTokens = 0
    /// What this run committed.
    package var nNewShards = 0
    package var nNewTokens = 0
    package var bytesWritten = 0
    package var seconds = 0.0
    /// The first notices on the text; `counts` has all that was left out.
    package var notices: [CorpusNotice] = []
    /// What was read of the whole text; zero if the run was interrupted before its end.
    package var counts = CorpusCounts()
    /// Records that were damaged and have been written anew.
    package var repaired: [String] = []
    /// Where the time of the three stages went: "text", "model", "writer".
    package var lanes: [Lane] = []
  }

  package enum Outcome: Equatable, Sendable {
    /// The cache is complete.
    case finished(Summary)
    /// It was complete before; nothing was done.
    case alreadyComplete(Summary)
    /// This worker is done, others are not.
    case workerDone(Summary)
    /// Stopped on request; the same command continues.
    case interrupted(Summary)
  }

  private let configuration: HarvestConfiguration
  private let source: any ActivationSource
  private let tokenizer: any TextTokenizer
  private let text: TextSource
  private let files: any FileOperations
  /// Which share of the shards is this run's.
  package let worker: WorkerAssignment
  package let spec: CacheSpec
  /// What is harvested beside the tokens; of fixed-point streams the steps are not chosen yet.
  package let streams: [StreamSpec]

  private static let maxNotices = 20
  private let wanted: Inventory.Filter?

  /// Checks the settings against the model, the tokenizer and the cache that is there, if any, whose layout is kept.
  ///
  /// - Parameters:
  ///   - environment: of the process; says which worker this is if the settings do not.
  ///   - minFrameBytes: decoded bytes of a frame; smaller in tests only.
  ///   - wanted: of what is missing, the ranges of streams to harvest; nil for all.
  package init(
    _ configuration: HarvestConfiguration, source: any ActivationSource, tokenizer: any TextTokenizer,
    environment: [String: String] = [:], minFrameBytes: Int = CacheSpec.minFrameBytes,
    only wanted: Inventory.Filter? = nil,
    files: any FileOperations = RealFiles()
  ) throws {
    try configuration.validate()
    worker = try WorkerAssignment(option: configuration.worker, environment: environment)
    self.configuration = configuration
    self.wanted = wanted
    self.source = source
    self.tokenizer = tokenizer
    self.files = files
    text = configuration.corpora.isEmpty ? .cache(path: configuration.out) : .corpora
    let there = try CacheContents(cache: configuration.out, files: files)
    streams = try HarvestSpec.streams(configuration, source, there)
    spec = try HarvestSpec.cache(configuration, source, tokenizer, streams, there.spec, minFrameBytes)
  }

  /// Harvests what is missing.
  ///
  /// - Parameters:
  ///   - interrupt: raised from outside to stop; the run then ends with `.interrupted`.
  ///   - keepsSpans: the summary's lanes say when everything was done, not only how long it took.
  ///   - notice: told of text that is left out and of damage that is mended.
  ///   - progress: told after every forward pass; called from several threads, one at a time.
  /// - Throws: `HarvestError`, `ActCacheError`, `MemoryError`, and whatever the model throws. Everything committed
  ///   before stays good.
  package func run(
    interrupt: InterruptFlag = InterruptFlag(), keepsSpans: Bool = false,
    notice: @escaping @Sendable (String) -> Void = { _ in },
    progress: @escaping @Sendable (HarvestProgress) -> Void = { _ in }
  ) throws -> Outcome {
    let isNew = !FileManager.default.fileExists(atPath: configuration.out)
    do { try createFolder(configuration.out, files: files) } catch { throw ActCacheError.file(error) }
    guard let lock = try HarvestLock(folder: configuration.out, worker: worker.index, of: worker.count) else {
      throw HarvestError.busy(path: configuration.out)
    }
    do {
      let calibration = Calibration(
        configuration: configuration, source: source, tokenizer: tokenizer, text: text, spec: spec,
        files: files)
      let streams = try calibration.resolve(streams, CacheContents(cache: configuration.out, files: files))
      let writer = try CacheWriter(path: configuration.out, spec: spec, streams: streams, files: files)
      let outcome = try runLocked(writer, interrupt, keepsSpans, notice, progress)
      switch outcome {
      case .finished, .alreadyComplete: lock.removeIdle(configuration.out, worker.index, of: worker.count)
      case .workerDone, .interrupted: break
      }
      return outcome
    } catch {
      lock.removeEmptyCache(
        configuration.out, streams: [StreamSpec.tokens] + streams.map(\.name), withFolder: isNew)
      throw error
    }
  }

  private func runLocked(
    _ writer: CacheWriter, _ interrupt: InterruptFlag, _ keepsSpans: Bool,
    _ notice: @escaping @Sendable (String) -> Void, _ progress: @escaping @Sendable (HarvestProgress) -> Void
  ) throws -> Outcome {
    try writer.sweepTemporaries()
    let contents = try writer.contents()
    for problem in contents.problems {
      guard case .damaged(let file, let what, _) = problem.error else { continue }
      // The remedy that the error names is this very run.
      let remedy = worker.count == 1 ? "it is written anew" : "the worker that it belongs to writes it anew"
      notice("\(ActCacheError.damaged(file: file, what: what, remedy: remedy))")
    }
    let inventory = Inventory(contents, spec: spec, streams: writer.streams, wanted: wanted)
    try checkFreeSpace(inventory)

    let pipeline = HarvestPipeline(
      configuration: configuration, nVocabulary: source.nVocabulary, text: text, tokenizer: tokenizer, worker: worker,
      writer: writer, inventory: inventory, interrupt: interrupt, progress: progress, notice: notice,
      maxNotices: HarvestRun.maxNotices, keepsSpans: keepsSpans)
    var (summary, end, wasInterrupted) = try pipeline.run(source)
    let now = try writer.contents()
    let bad = Set(now.problems.map(\.record))
    summary.repaired = contents.problems.map(\.record).filter { !bad.contains($0) }
    guard !wasInterrupted, let end else {
      let done = Inventory(now, spec: spec, streams: writer.streams).nTokensDone(below: .max)
      summary.nSequences = done / spec.identity.tokens.context
      summary.nTokens = done
      return .interrupted(summary)
    }
    guard end.nSequences > 0 else {
      throw HarvestError.missing(
        "\(configuration.corpora.joined(separator: ", ")): no sequence of \(spec.identity.tokens.context) tokens in it; "
          + "choose a shorter --context or more text")
    }
    return try finish(summary, end, now, writer, notice)
  }

  /// Writes generation and manifest if nothing is missing up to the end of the text.
  private func finish(
    _ summary: Summary, _ end: TextEnd, _ contents: CacheContents, _ writer: CacheWriter,
    _ notice: (String) -> Void
  ) throws -> Outcome {
    let done = Inventory(contents, spec: spec, streams: writer.streams).nTokensDone(below: end.nSequences)
    guard done == end.nSequences * spec.identity.tokens.context else { return .workerDone(summary) }
    let isKnown = contents.generations.contains { $0.nSequences == end.nSequences && $0.chain == end.chain.hexValue }
    if !isKnown {
      try writer.writeGeneration(
        nSequences: end.nSequences, chain: end.chain,
        corpora: configuration.corpora.map { URL(fileURLWithPath: $0).lastPathComponent }, counts: end.counts)
    }
    // Nothing is missing, so a temporary that no running worker owns is what a killed one left.
    if !HarvestLock.othersAreRunning(configuration.out, beside: worker.index, of: worker.count) {
      try writer.sweepTemporaries(olderThanSeconds: 0)
    }
    let index = try writer.writeManifest()
    if !index.lost.isEmpty {
      notice(
        "\(configuration.out): \(Manifest.lostReceipts(index.lost, path: configuration.out))"
          + ", or actcache index --forget \(configuration.out) to give them up")
    }
    for (stream, nSequences) in index.manifest.shortStreams {
      notice(
        "\(configuration.out): \(stream.name) ends with an earlier text, at sequence \(nSequences) of "
          + "\(index.manifest.nSequences); \(stream.harvestCommand(cache: configuration.out)) adds the rest")
    }
    return index.isNew || summary.nNewShards > 0 ? .finished(summary) : .alreadyComplete(summary)
  }

  /// With --tokens the size is known beforehand.
  private func checkFreeSpace(_ inventory: Inventory) throws {
    guard let tokens = configuration.tokens else { return }
    let done = inventory.nTokensDone(below: tokens / spec.identity.tokens.context)
    let needed = HarvestSpec.expectedBytes(nTokens: max(0, tokens - done), streams: streams) / worker.count
    let attributes = try? FileManager.default.attributesOfFileSystem(forPath: configuration.out)
    guard let free = (attributes?[.systemFreeSize] as? NSNumber)?.intValue, free < needed else { return }
    throw HarvestError.diskFull(path: configuration.out, neededBytes: needed, freeBytes: free)
  }
}
