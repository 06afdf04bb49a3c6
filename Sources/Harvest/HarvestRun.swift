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
    /// Sequences and tokens of the whole text that is asked for.
    package var nSequences = 0
    package var nTokens = 0
    /// What this run did.
    package var nNewShards = 0
    package var nNewTokens = 0
    package var bytesWritten = 0
    package var seconds = 0.0
    /// The first notices on what was left out; `counts` in the manifest has them all.
    package var notices: [CorpusNotice] = []
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
    guard
      let lock = try FolderLock(
        folder: configuration.out, name: count == 1 ? ".lock" : ".lock.worker-\(index)-of-\(count)")
    else { throw HarvestError.busy(path: configuration.out) }
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
    for problem in existing.damaged { notice("\(problem.error)") }
    try checkFreeSpace(existing: existing.whole)

    let pipeline = HarvestPipeline(
      configuration: configuration, spec: spec, nVocabulary: source.nVocabulary, tokenizer: tokenizer, worker: worker,
      writer: writer,
      existing: existing.whole, interrupt: interrupt, progress: progress,
      notice: notice, maxNotices: HarvestRun.maxNotices)
    var (summary, wasInterrupted) = try pipeline.run(source)
    summary.repaired = existing.damaged.map(\.receipt)
    if wasInterrupted { return .interrupted(summary) }
    guard summary.nSequences > 0 else {
      throw HarvestError.missing(
        "\(configuration.corpora.joined(separator: ", ")): no sequence of \(spec.identity.tokens.context) tokens in it; "
          + "choose a shorter --context or more text")
    }
    return try finish(summary, writer)
  }

  private func finish(_ summary: Summary, _ writer: CacheWriter) throws -> Outcome {
    let receipts = try writer.existingReceipts().whole
    var end = 0
    for receipt in receipts where receipt.first == end { end = receipt.end }
    guard end == summary.nSequences, receipts.last?.isLast == true else { return .workerDone(summary) }
    let manifest = configuration.out + "/manifest.json"
    if summary.nNewShards == 0, FileManager.default.fileExists(atPath: manifest),
      (try? CacheReader(path: configuration.out)) != nil
    {
      return .alreadyComplete(summary)
    }
    try writer.writeManifest()
    return .finished(summary)
  }

  /// With --tokens the size is known beforehand: bf16 takes about 70 % of its bytes, f32 85 %.
  private func checkFreeSpace(existing: [Receipt]) throws {
    guard let tokens = configuration.tokens else { return }
    let done = existing.reduce(0) { $0 + ($1.end - $1.first) * spec.identity.tokens.context }
    let bytesPerToken = spec.hooks.reduce(4) { $0 + $1.width * (ElementType(rawValue: $1.dtype)?.byteCount ?? 4) }
    let (_, count) = try configuration.workerIndexAndCount
    let (total, overflow) = max(0, tokens - done).multipliedReportingOverflow(by: bytesPerToken)
    let needed = overflow ? Int.max : total / 10 * 7 / count
    let attributes = try? FileManager.default.attributesOfFileSystem(forPath: configuration.out)
    guard let free = (attributes?[.systemFreeSize] as? NSNumber)?.intValue, free < needed else { return }
    throw HarvestError.diskFull(path: configuration.out, neededBytes: needed, freeBytes: free)
  }
}
