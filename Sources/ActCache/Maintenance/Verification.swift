/// What is wrong with a cache: every file that is not what was written, and everything that is missing.
package struct Verification: Sendable {
  package enum Level: String, Encodable, CaseIterable, Sendable {
    /// Sizes, records and their agreement, header, index and seek table of every shard.
    case quick
    /// Also every frame: digest, checksum, token ids, token chain, lengths, padding, finite values.
    case frames
    /// Also SHA-256 of every file.
    case digest
  }

  package struct Progress: Sendable {
    package var bytesDone = 0
    package var bytesInAll = 0
  }

  package let survey: CacheSurvey
  /// The gravest first.
  package let findings: [Finding]
  package let nShards: Int
  package let nFrames: Int
  /// Of the shards.
  package let bytes: Int
  package let wasInterrupted: Bool

  /// - Parameter isLocked: the caller sees to it that nobody harvests meanwhile.
  /// - Throws: as `CacheFolder.init`; whatever is wrong with the files is a finding.
  package init(
    cache: String, level: Level, threads: Int, isLocked: Bool = false,
    isInterrupted: @escaping @Sendable () -> Bool = { false },
    progress: @escaping @Sendable (Progress) -> Void = { _ in }
  ) throws {
    survey = try CacheSurvey(cache, isLocked: isLocked)
    let work = ShardWork(survey, level, isInterrupted, progress)
    work.run(threads: threads)
    findings = survey.findings.merging(work.findings)
    nShards = work.receipts.count
    nFrames = work.nFrames
    bytes = work.receipts.reduce(0) { $0 + $1.file.bytes }
    wasInterrupted = isInterrupted()
  }
}

extension [Finding] {
  /// Both, the gravest first, each kind by file.
  package func merging(_ others: [Finding]) -> [Finding] {
    Finding.Kind.allCases.flatMap { kind in
      (self + others).filter { $0.kind == kind }.sorted { ($0.file, $0.what) < ($1.file, $1.what) }
    }
  }
}
