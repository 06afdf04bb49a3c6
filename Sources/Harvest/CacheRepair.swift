import ActCache
import Foundation
import Memory

/// `actcache repair`: damaged files are moved aside, records that others repeat are made anew, and with the model the
/// ranges that were lost are harvested again, and no others. The cache then is what it was, byte for byte.
package struct CacheRepair {
  package struct Configuration: Sendable {
    package var cache = ""
    /// How closely to look for damage.
    package var level = Verification.Level.digest
    /// The text, needed only where tokens are lost.
    package var corpora: [String] = []
    package var threads = 1

    package init() {}
  }

  /// The model and its tokenizer.
  package typealias Model = (source: any ActivationSource, tokenizer: any TextTokenizer)

  package struct Report: Sendable {
    /// The files that now end in `.bad`.
    package var moved: [Quarantine.Moved] = []
    /// Paths of the records that were made anew without the model.
    package var restored: [String] = []
    /// Of these, receipts whose statistics are of the values as stored.
    package var approximate: [String] = []
    /// Paths of the shards that were harvested again.
    package var harvested: [String] = []
    /// What is still wrong or missing.
    package var findings: [Finding] = []
    /// What to do next, if something of the cache is still lost.
    package var advice: String?
    package var wasInterrupted = false
  }

  private let configuration: Configuration
  private let interrupt: InterruptFlag
  private let checking: @Sendable (Verification.Progress) -> Void
  private let progress: @Sendable (HarvestProgress) -> Void

  package init(
    _ configuration: Configuration, interrupt: InterruptFlag = InterruptFlag(),
    checking: @escaping @Sendable (Verification.Progress) -> Void = { _ in },
    progress: @escaping @Sendable (HarvestProgress) -> Void = { _ in }
  ) {
    self.configuration = configuration
    self.interrupt = interrupt
    self.checking = checking
    self.progress = progress
  }

  /// - Parameter model: nil to move damaged files aside and no more.
  /// - Throws: `ActCacheError.busy` if another process harvests, `.mismatch` if the model is another one (then nothing
  ///   was touched), and what harvesting throws.
  package func run(_ model: Model? = nil) throws -> Report {
    var report = Report()
    let cache = try CacheFolder(configuration.cache).path
    var before = Set<String>()
    let losses = try locked(cache) { () -> Losses? in
      let verification = try Verification(
        cache: cache, level: configuration.level, threads: configuration.threads, isLocked: true,
        isInterrupted: { [interrupt] in interrupt.isRaised }, progress: checking)
      report.findings = verification.findings
      report.wasInterrupted = verification.wasInterrupted
      let isReadable = !verification.findings.contains { $0.kind == .unreadable }
      guard isReadable, !verification.wasInterrupted else { return nil }
      if let model, let spec = verification.survey.spec {
        try spec.identity.require(model.source, model.tokenizer, path: cache)
      }
      let quarantine = try Quarantine(verification, hasModel: model != nil)
      report.moved = quarantine.moved
      report.restored = quarantine.restored
      report.approximate = quarantine.approximate
      before = Set(quarantine.survey.folder.files)
      return Losses(quarantine)
    }
    guard let losses else { return report }
    if !losses.isEmpty {
      report.advice = try advice(losses, cache, hasModel: model != nil)
      if report.advice == nil, let model { report.wasInterrupted = try harvest(losses, model, cache) }
    }
    let survey = try CacheSurvey(cache)
    report.findings = survey.findings
    report.harvested = survey.receipts.sorted { $0.key < $1.key }.flatMap(\.value).filter {
      !before.contains($0.relativePath)
    }.map { cache + "/" + $0.file.path }
    return report
  }

  private func locked<R>(_ cache: String, _ body: () throws -> R) throws -> R {
    let lock = try CacheLock(CacheFolder(cache))
    let result = try body()
    _ = consume lock
    return result
  }

  /// What is needed before anything can be harvested again; nil if all is there.
  private func advice(_ losses: Losses, _ cache: String, hasModel: Bool) throws -> String? {
    let contents = try CacheContents(cache: cache)
    guard losses.unknown.isEmpty, contents.spec != nil else {
      let names = losses.unknown.isEmpty ? "" : " of \(losses.unknown.joined(separator: ", "))"
      return "no whole record\(names) is left; run the command again that harvested it"
    }
    let needsText = !losses.tokens.isEmpty
    guard needsText || contents.generations.contains(where: { $0.nSequences >= losses.end }) else {
      return "the harvest is not finished; the command that began it also makes anew what was damaged"
    }
    let text = contents.generations.last.map { $0.corpora.joined(separator: " ") } ?? "TEXT"
    let flags = [
      hasModel ? nil : "--model MODEL", needsText && configuration.corpora.isEmpty ? "--corpus \(text)" : nil,
    ]
    let missing = flags.compactMap { $0 }
    guard !missing.isEmpty else { return nil }
    let why = needsText ? "tokens are damaged, so the text is needed: " : "to harvest again what was damaged: "
    return why + (["actcache repair \(cache)"] + (hasModel ? ["--model MODEL"] : []) + missing).joined(separator: " ")
  }

  /// - Returns: true if it was interrupted.
  private func harvest(_ losses: Losses, _ model: Model, _ cache: String) throws -> Bool {
    let contents = try CacheContents(cache: cache)
    guard let spec = contents.spec else { return false }
    var configuration = HarvestConfiguration()
    configuration.model = "-"
    configuration.out = cache
    configuration.corpora = losses.tokens.isEmpty ? [] : self.configuration.corpora
    let tokens = spec.identity.tokens
    configuration.context = tokens.context
    configuration.pack = tokens.pack
    configuration.bos = tokens.bos != nil
    configuration.separator = tokens.documentSeparator
    configuration.textField = tokens.textField
    // Not beyond the text that the cache had.
    configuration.tokens = contents.generations.first { $0.nSequences >= losses.end }.map {
      $0.nSequences * tokens.context
    }
    let wanted: @Sendable (String, Range<Int>) -> Bool = { name, range in
      if name == StreamSpec.tokens { return range.upperBound <= losses.end }
      return losses.streams.contains { $0.stream.name == name && $0.contains(range) }
    }
    // Where nothing but tokens is lost, any stream will do to name.
    let streams = losses.streams.map(\.stream) + (losses.streams.isEmpty ? contents.streams.prefix(1) : [])
    let groups = Dictionary(grouping: streams) { [$0.dtype, $0.codec] }
    for (kind, group) in groups.sorted(by: { $0.key.lexicographicallyPrecedes($1.key) }) {
      // Of teacher targets neither type nor codec can be chosen.
      if StorageType(kind[0]) != nil { (configuration.dtype, configuration.codec) = (kind[0], kind[1]) }
      configuration.hooks = group.compactMap(\.hookName)
      let policies = group.compactMap(\.policyName)
      configuration.logits = policies.isEmpty ? ["none"] : policies
      // What was saturated before is so again; where nothing was, this changes nothing.
      configuration.saturate = true
      let run = try HarvestRun(configuration, source: model.source, tokenizer: model.tokenizer, only: wanted)
      if case .interrupted = try run.run(interrupt: interrupt, progress: progress) { return true }
    }
    try CacheIndex.write(cache: cache)
    return false
  }
}

extension CacheContents {
  /// The streams beside the tokens, by name.
  var streams: [StreamSpec] {
    receipts.sorted { $0.key < $1.key }.compactMap { $0.value.first?.stream }.filter { $0.name != StreamSpec.tokens }
  }
}
