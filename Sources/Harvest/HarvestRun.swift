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
    /// Sum over all receipts of the cache.
    package var counts = CorpusCounts()
    /// Receipts that were damaged and have been written anew.
    package var repaired: [String] = []
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
  package let spec: CacheSpec

  private static let maxNotices = 20

  /// Checks the settings against the model and the tokenizer. Touches no file but the weights (for their digest).
  ///
  /// - Parameter minFrameBytes: decoded bytes of a frame; smaller in tests only.
  package init(
    _ configuration: HarvestConfiguration, source: any ActivationSource, tokenizer: any TextTokenizer,
    minFrameBytes: Int = CacheSpec.minFrameBytes
  ) throws {
    try configuration.validate()
    self.configuration = configuration
    self.source = source
    self.tokenizer = tokenizer
    spec = try HarvestRun.spec(configuration, source, tokenizer, minFrameBytes)
  }

  private static func spec(
    _ configuration: HarvestConfiguration, _ source: any ActivationSource, _ tokenizer: any TextTokenizer,
    _ minFrameBytes: Int
  ) throws -> CacheSpec {
    guard configuration.context <= source.maxContext else {
      throw HarvestError.setting(
        name: "context", value: "\(configuration.context)", allowed: "at most \(source.maxContext), the model's context"
      )
    }
    let hooks = try configuration.hooks.map {
      HookSpec(name: $0, width: try source.width(of: $0), dtype: configuration.dtype)
    }
    let usesBOS = configuration.bos ?? tokenizer.addsBOS
    if usesBOS && tokenizer.bosID == nil {
      throw HarvestError.setting(name: "bos", value: "", allowed: "--no-bos: the tokenizer has no BOS token")
    }
    guard !usesBOS || configuration.context >= 2 else {
      throw HarvestError.setting(name: "context", value: "1", allowed: "at least 2 with BOS")
    }
    let bos = usesBOS ? tokenizer.bosID.map { Int($0) } : nil
    let tokens = TokenSpec(
      context: configuration.context, pack: configuration.pack, bos: bos,
      separator: bos == nil ? tokenizer.eosID.map { Int($0) } : nil,
      padding: Int(tokenizer.eosID ?? tokenizer.bosID ?? 0), documentSeparator: configuration.separator,
      textField: configuration.textField)
    let identity = CacheIdentity(
      weights: try source.weightsDigest, modelConfiguration: source.configurationDescription,
      tokenizer: tokenizer.digest, tokens: tokens, numerics: source.numerics)
    // 512 MiB decoded at most, which is about 350 MiB on disk.
    let bytesPerToken = (hooks.map(\.width).max() ?? 1) * (ElementType(rawValue: configuration.dtype)?.byteCount ?? 4)
    return try CacheSpec(
      identity: identity, hooks: hooks, nVocabulary: source.nVocabulary, codec: configuration.codec,
      logits: configuration.logits,
      tokensPerShard: configuration.shardTokens ?? min(1 << 20, max(1, (512 << 20) / bytesPerToken)),
      heldOut: HeldOutRule(fraction: configuration.heldOutFraction, seed: configuration.seed),
      minFrameBytes: minFrameBytes)
  }

  /// Harvests what is missing.
  ///
  /// - Parameters:
  ///   - interrupt: raised from outside to stop; the run then ends with `.interrupted`.
  ///   - notice: told of text that is left out and of damage that is mended.
  ///   - progress: told after every forward pass; called from several threads, one at a time.
  /// - Throws: `HarvestError`, `ActCacheError`, `MemoryError`, and whatever the model throws. Everything committed
  ///   before stays good.
  package func run(
    interrupt: InterruptFlag = InterruptFlag(), notice: @escaping @Sendable (String) -> Void = { _ in },
    progress: @escaping @Sendable (HarvestProgress) -> Void = { _ in }
  ) throws -> Outcome {
    let writer = try CacheWriter(path: configuration.out, spec: spec)
    let (index, count) = try configuration.workerIndexAndCount
    guard let lock = try FolderLock(folder: configuration.out, name: lockName) else {
      throw HarvestError.busy(path: configuration.out)
    }
    let outcome = try runLocked(writer, (index, count), interrupt, notice, progress)
    _ = consume lock
    return outcome
  }

  private func runLocked(
    _ writer: CacheWriter, _ worker: (index: Int, count: Int), _ interrupt: InterruptFlag,
    _ notice: @escaping @Sendable (String) -> Void, _ progress: @escaping @Sendable (HarvestProgress) -> Void
  ) throws -> Outcome {
    writer.sweepTemporaries()
    let existing = try writer.existingReceipts()
    for problem in existing.damaged {
      guard case .damaged(let file, let what, _) = problem.error else { continue }
      // The remedy that the error names is this very run.
      let remedy = worker.count == 1 ? "it is written anew" : "the worker that it belongs to writes it anew"
      notice("\(ActCacheError.damaged(file: file, what: what, remedy: remedy))")
    }
    try checkFreeSpace(existing: existing.whole)

    let pipeline = HarvestPipeline(
      configuration: configuration, spec: spec, nVocabulary: source.nVocabulary, tokenizer: tokenizer, worker: worker,
      writer: writer,
      existing: existing.whole, interrupt: interrupt, progress: progress,
      notice: notice, maxNotices: HarvestRun.maxNotices)
    var (summary, wasInterrupted) = try pipeline.run(source)
    let (receipts, stillDamaged) = try writer.existingReceipts()
    let bad = Set(stillDamaged.map(\.receipt))
    summary.repaired = existing.damaged.map(\.receipt).filter { !bad.contains($0) }
    summary.counts = receipts.reduce(CorpusCounts()) { $0 + $1.counts }
    if wasInterrupted {
      summary.nSequences = receipts.reduce(0) { $0 + $1.end - $1.first }
      summary.nTokens = summary.nSequences * spec.identity.tokens.context
      return .interrupted(summary)
    }
    guard summary.nSequences > 0 else {
      throw HarvestError.missing(
        "\(configuration.corpora.joined(separator: ", ")): no sequence of \(spec.identity.tokens.context) tokens in it; "
          + "choose a shorter --context or more text")
    }
    return try finish(summary, receipts, writer)
  }

  private func finish(_ summary: Summary, _ receipts: [Receipt], _ writer: CacheWriter) throws -> Outcome {
    var end = 0
    for receipt in receipts where receipt.first == end { end = receipt.end }
    guard end == summary.nSequences, receipts.last?.isLast == true else { return .workerDone(summary) }
    // Nothing is missing, so a temporary that no running worker owns is what a killed one left.
    if !othersAreRunning { writer.sweepTemporaries(olderThanSeconds: 0) }
    let manifest = configuration.out + "/manifest.json"
    if summary.nNewShards == 0, FileManager.default.fileExists(atPath: manifest),
      (try? CacheReader(path: configuration.out)) != nil
    {
      return .alreadyComplete(summary)
    }
    try writer.writeManifest()
    return .finished(summary)
  }

  private var lockName: String {
    get throws {
      let (index, count) = try configuration.workerIndexAndCount
      return count == 1 ? ".lock" : ".lock.worker-\(index)-of-\(count)"
    }
  }

  /// Workers of a complete cache may still be at its manifest, or at shards that a different --worker N also covers.
  /// True too if nobody can tell.
  private var othersAreRunning: Bool {
    do {
      let own = try lockName
      for name in try FileManager.default.contentsOfDirectory(atPath: configuration.out)
      where name.hasPrefix(".lock") && name != own {
        let lock = try FolderLock(folder: configuration.out, name: name)
        if lock == nil { return true }
      }
      return false
    } catch {
      return true
    }
  }

  /// Bytes that `nTokens` tokens will take on disk, about: bf16 takes 70 % of its bytes, f16 and f32 85 %, tokens all
  /// of 4. `Int.max` if there is no such number.
  static func expectedBytes(nTokens: Int, hooks: [HookSpec]) -> Int {
    let bytesPerHundred = hooks.reduce(400) { sum, hook in
      let type = ElementType(rawValue: hook.dtype)
      return sum + hook.width * (type?.byteCount ?? 4) * (type == .bf16 ? 70 : 85)
    }
    let (total, overflow) = nTokens.multipliedReportingOverflow(by: bytesPerHundred)
    return overflow ? Int.max : total / 100
  }

  /// With --tokens the size is known beforehand.
  private func checkFreeSpace(existing: [Receipt]) throws {
    guard let tokens = configuration.tokens else { return }
    let done = existing.reduce(0) { $0 + ($1.end - $1.first) * spec.identity.tokens.context }
    let (_, count) = try configuration.workerIndexAndCount
    let needed = HarvestRun.expectedBytes(nTokens: max(0, tokens - done), hooks: spec.hooks) / count
    let attributes = try? FileManager.default.attributesOfFileSystem(forPath: configuration.out)
    guard let free = (attributes?[.systemFreeSize] as? NSNumber)?.intValue, free < needed else { return }
    throw HarvestError.diskFull(path: configuration.out, neededBytes: needed, freeBytes: free)
  }
}
