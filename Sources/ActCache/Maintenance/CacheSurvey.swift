import Foundation
import Memory

/// All that the records of a cache say, each judged by itself and against the others, and what lies beside them. Opens
/// no shard, unless they disagree about which cache it is, and goes on after every fault.
package struct CacheSurvey: Sendable {
  package let folder: CacheFolder
  /// Another process harvests: unfinished files are no left-overs then.
  package internal(set) var isBusy = false
  package internal(set) var findings: [Finding] = []
  /// What most receipts say of the cache; nil if none is whole.
  package internal(set) var spec: CacheSpec?
  /// Whole receipts of this cache and text whose files have the size that they state; by stream, in order.
  package internal(set) var receipts: [String: [Receipt]] = [:]
  /// Generations that count, in order.
  package internal(set) var generations: [Generation] = []
  /// What the sealed manifest says, if it is whole and of this cache: it remembers what was there even where every
  /// receipt of it is gone.
  package internal(set) var manifest: Manifest?
  /// The files that the manifest names, by stream.
  var promised: [String: [Range<Int>: FileRecord]] = [:]
  /// Whole receipts, and their files, of ranges that the tokens are not cut into.
  var unused: [String] = []
  var witness: TextWitness?
  var cut = TokenCut(tokens: [], damaged: [], followers: [:], ends: [])
  /// Ranges of which there is something, but nothing whole; by stream.
  var damaged: [String: Set<Range<Int>>] = [:]

  /// - Parameters:
  ///   - isLocked: the caller sees to it that nobody harvests meanwhile.
  ///   - spec: what is known of the cache if no receipt is left that says it.
  /// - Throws: as `CacheFolder.init`.
  package init(_ path: String, isLocked: Bool = false, spec known: CacheSpec? = nil) throws {
    // Asked before and after the files are read: what a harvest makes meanwhile is no left-over.
    let wasBusy = try !isLocked && CacheLock.isHeld(CacheFolder(path))
    folder = try CacheFolder(path)
    let written = Result { try Manifest.open(cache: path) }
    var all: [Receipt] = []
    for file in folder.files where CacheSurvey.isRecord(file, in: "receipts") {
      if let receipt = read(file, { try Receipt.open(cache: $0, relativePath: file, files: RealFiles()) }) {
        all.append(receipt)
      }
    }
    let former = try? written.get()
    all = ofOneCache(all, former)
    if spec == nil { spec = known }
    all = ofOneKindPerStream(all).filter { hasItsFile($0) }
    var generations: [Generation] = []
    for file in folder.files where CacheSurvey.isRecord(file, in: Generation.folder) {
      if let generation = read(file, { try Generation.open(cache: $0, relativePath: file, files: RealFiles()) }) {
        generations.append(generation)
      }
    }
    if let former, former.spec == spec { remember(former) }
    if let spec {
      try judge(all, generations.sorted { $0.nSequences < $1.nSequences }, spec.identity.baseKey())
    } else {
      add(.incomplete, "receipts", "no whole receipt is there", remedy: "run the same harvest command again")
    }
    isBusy = wasBusy || !isLocked && CacheLock.isHeld(folder)
    if !isBusy {
      for file in leftOvers {
        add(.note, file.file, file.what, remedy: file.remedy ?? "actcache gc \(folder.path) removes it")
      }
    }
    judgeManifest(written)
    findings = findings.merging([])
  }

  private mutating func remember(_ manifest: Manifest) {
    self.manifest = manifest
    for record in manifest.shards.flatMap(\.files) {
      guard case .shard(let stream, let range) = CacheFolder.kind(of: record.path) else { continue }
      promised[stream, default: [:]][range] = record
    }
  }

  /// Ranges of a stream that the manifest names and that have no whole receipt, ascending.
  func lost(_ stream: String) -> [Range<Int>] {
    let there = Set((receipts[stream] ?? []).map(\.range))
    return (promised[stream] ?? [:]).keys.filter { range in
      if there.contains(range) { return false }
      let isCutOtherwise = cut.overlaps(range) && !cut.contains(range)
      return !isCutOtherwise && (stream != StreamSpec.tokens || !cut.hasReceipt(range))
    }.sorted { $0.lowerBound < $1.lowerBound }
  }

  /// What is there of each stream, by name; neighbours are joined.
  package var ranges: [(stream: String, ranges: [Range<Int>])] {
    receipts.sorted { $0.key < $1.key }.map { ($0.key, CacheSurvey.joined($0.value.map(\.range))) }
  }

  /// The token chain after `n` sequences; nil if no record says.
  func chain(at n: Int) -> String? { witness?.chain(at: n) }

  /// As `CacheContents` reads them: whatever their names, in the folders where they belong.
  private static func isRecord(_ file: String, in folder: String) -> Bool {
    let parts = file.split(separator: "/")
    guard file.hasSuffix(".json"), !parts.contains(where: { $0.hasPrefix(".") }), parts[0] == folder else {
      return false
    }
    switch parts.count {
    case 2: return folder == Generation.folder
    case 3: return folder == "receipts" && parts[1] == StreamSpec.tokens
    case 4: return folder == "receipts" && ["hooks", "logits"].contains(parts[1])
    default: return false
    }
  }

  private func path(_ file: String) -> String { folder.path + "/" + file }
  /// The remedy for what the system refuses.
  static let mend = "mend this and run the same command again"
  var repair: String { "run actcache repair \(folder.path)" }

  mutating func add(
    _ kind: Finding.Kind, _ file: String, _ what: String, remedy: String, moves: [String] = []
  ) {
    findings.append(Finding(kind, path(file), what, remedy: remedy, moves: moves))
  }

  mutating func markDamaged(_ file: String) {
    switch CacheFolder.kind(of: file) {
    case .receipt(let stream, let range), .shard(let stream, let range): damaged[stream, default: []].insert(range)
    default: break
    }
  }

  // MARK: records by themselves

  private mutating func read<T>(_ file: String, _ open: (_ cache: String) throws -> T) -> T? {
    do { return try open(folder.path) } catch let error as ActCacheError {
      switch error {
      case .damaged(_, let what, _): add(.corrupt, file, what, remedy: repair, moves: [file])
      // Gone meanwhile: somebody repairs or collects.
      case .file(.system("open", _, ENOENT)): break
      default: add(.unreadable, file, "\(error)", remedy: CacheSurvey.mend)
      }
    } catch { add(.unreadable, file, "\(error)", remedy: CacheSurvey.mend) }
    markDamaged(file)
    return nil
  }

  /// Drops what is of another cache than most. Where records disagree about that, the shards themselves say it.
  private mutating func ofOneCache(_ receipts: [Receipt], _ manifest: Manifest?) -> [Receipt] {
    var kinds: [(spec: CacheSpec, count: Int)] = manifest.map { [($0.spec, 0)] } ?? []
    for receipt in receipts {
      if let i = kinds.firstIndex(where: { $0.spec == receipt.spec }) {
        kinds[i].count += 1
      } else {
        kinds.append((receipt.spec, 1))
      }
    }
    let keys = kinds.count > 1 ? shardKeys() : [:]
    let weights = kinds.map { (keys[(try? $0.spec.identity.baseKey()) ?? ""] ?? 0, $0.count) }
    // The first of equals.
    guard let most = weights.max(by: <), let i = weights.firstIndex(where: { $0 == most }) else { return [] }
    let spec = kinds[i].spec
    self.spec = spec
    return receipts.filter { receipt in
      if receipt.spec == spec { return true }
      reject(receipt, "it is of another cache: \(receipt.spec.differences(from: spec).joined(separator: "; "))")
      return false
    }
  }

  /// How many shards say that they are of which cache.
  private func shardKeys() -> [String: Int] {
    var counts: [String: Int] = [:]
    for file in folder.files {
      guard case .shard = CacheFolder.kind(of: file),
        let shard = try? ShardReader(path: path(file), bytes: nil, io: .pread)
      else { continue }
      counts[shard.header.baseKey, default: 0] += 1
    }
    return counts
  }

  private mutating func ofOneKindPerStream(_ receipts: [Receipt]) -> [Receipt] {
    var kinds: [String: [(stream: StreamSpec, count: Int)]] = [:]
    for receipt in receipts {
      let name = receipt.stream.name
      if let i = kinds[name]?.firstIndex(where: { $0.stream == receipt.stream }) {
        kinds[name]?[i].count += 1
      } else {
        kinds[name, default: []].append((receipt.stream, 1))
      }
    }
    let chosen = kinds.mapValues { list in list.first { $0.count == list.map(\.count).max() }?.stream }
    return receipts.filter { receipt in
      guard let stream = chosen[receipt.stream.name] ?? nil, stream != receipt.stream else { return true }
      reject(
        receipt,
        "it keeps its stream in another way: \(receipt.stream.differences(from: stream).joined(separator: "; "))"
      )
      return false
    }
  }

  mutating func reject(_ receipt: Receipt, _ what: String, andFile: Bool = false) {
    let record = Receipt.relativePath(receipt.range, of: receipt.stream.name)
    add(.corrupt, record, what, remedy: repair, moves: [record] + (andFile ? [receipt.file.path] : []))
    markDamaged(record)
  }

  private mutating func hasItsFile(_ receipt: Receipt) -> Bool {
    let file = receipt.file.path
    do {
      try receipt.file.checkSize(cache: folder.path)
      return true
    } catch let error as ActCacheError {
      if case .damaged(_, let what, _) = error {
        let record = Receipt.relativePath(receipt.range, of: receipt.stream.name)
        add(.corrupt, file, what, remedy: repair, moves: [record] + (folder.contains(file) ? [file] : []))
      } else {
        add(.unreadable, file, "\(error)", remedy: CacheSurvey.mend)
      }
    } catch {}
    markDamaged(file)
    return false
  }
}
