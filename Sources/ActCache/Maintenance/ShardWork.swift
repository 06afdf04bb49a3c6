import Memory
import Synchronization

/// The shards of a cache on their way through a verification.
final class ShardWork: Sendable {
  /// What is wrong with one file.
  private struct Faults {
    var ofFile: [String] = []
    var ofFrames: [Int: String] = [:]
    var unreadable: String?

    var sentence: String {
      let first = ofFrames.min { $0.key < $1.key }.map { [$0.value] } ?? []
      let others = ofFrames.count > 1 ? ["\(ofFrames.count - 1) more of its frames are damaged"] : []
      return (ofFile + first + others).joined(separator: "; ")
    }
  }

  private struct State {
    var faults: [Int: Faults] = [:]
    var open: [Int: ShardCheck] = [:]
    var lengths: [Range<Int>: [UInt32]] = [:]
    var nFrames = 0
    var progress = Verification.Progress()
  }

  private enum Unit { case tokens(Int), frames(Int, Range<Int>), digest(Int) }

  let receipts: [Receipt]
  private let folder: CacheFolder
  private let level: Verification.Level
  private let nVocabulary: Int?
  private let isInterrupted: @Sendable () -> Bool
  private let report: @Sendable (Verification.Progress) -> Void
  private let state = Mutex(State())

  init(
    _ survey: CacheSurvey, _ level: Verification.Level, _ isInterrupted: @escaping @Sendable () -> Bool,
    _ report: @escaping @Sendable (Verification.Progress) -> Void
  ) {
    folder = survey.folder
    self.level = level
    self.isInterrupted = isInterrupted
    self.report = report
    nVocabulary = survey.spec?.identity.nVocabulary
    receipts = survey.receipts.sorted { $0.key < $1.key }.flatMap(\.value)
  }

  func run(threads: Int) {
    inParallel(receipts.count, threads: threads, isInterrupted: isInterrupted) { i in
      attempt(i) {
        let check = try ShardCheck(cache: folder.path, receipt: receipts[i])
        state.withLock { $0.open[i] = check }
      }
    }
    if level == .quick { return }
    let passes = level == .digest ? 2 : 1
    state.withLock { $0.progress.bytesInAll = passes * receipts.reduce(0) { $0 + $1.file.bytes } }
    // The values need the lengths, so the tokens come first.
    let isTokens = receipts.indices.filter { receipts[$0].stream.name == StreamSpec.tokens }
    run(isTokens.map { .tokens($0) }, threads)
    let others = receipts.indices.filter { receipts[$0].stream.name != StreamSpec.tokens }
    run(others.flatMap(frameUnits), threads)
    if level == .digest { run(receipts.indices.map { .digest($0) }, threads) }
  }

  /// Pieces of a shard that are worth a thread each.
  private func frameUnits(_ i: Int) -> [Unit] {
    guard let shard = state.withLock({ $0.open[i]?.shard }) else { return [] }
    let n = shard.header.nFrames
    let perUnit = max(1, (16 << 20) / max(1, shard.contentBytes(ofFrame: 0)))
    return stride(from: 0, to: n, by: perUnit).map { .frames(i, $0..<min($0 + perUnit, n)) }
  }

  private func run(_ units: [Unit], _ threads: Int) {
    inParallel(units.count, threads: threads, isInterrupted: isInterrupted) { run(units[$0]) }
  }

  private func run(_ unit: Unit) {
    switch unit {
    case .tokens(let i):
      guard let check = state.withLock({ $0.open[i] }) else { return }
      attempt(i) {
        let tokens = try check.tokens(nVocabulary: nVocabulary)
        state.withLock { $0.lengths[receipts[i].range] = tokens.lengths }
      }
      done(i, check.shard.header.nFrames, receipts[i].file.bytes)
    case .frames(let i, let frames):
      guard let (check, lengths) = state.withLock({ s in s.open[i].map { ($0, s.lengths[receipts[i].range]) } }) else {
        return
      }
      attempt(i) {
        try check.checkFrames(frames, lengths: lengths) { frame, error in
          guard case .damaged(_, let what, _) = error else { throw error }
          state.withLock { $0.faults[i, default: Faults()].ofFrames[frame] = what }
        }
      }
      let n = max(1, check.shard.header.nFrames)
      done(
        i, frames.count, receipts[i].file.bytes * frames.upperBound / n - receipts[i].file.bytes * frames.lowerBound / n
      )
    case .digest(let i):
      guard state.withLock({ $0.open[i] }) != nil else { return }
      attempt(i) { try ShardCheck.checkDigest(cache: folder.path, receipts[i].file) }
      done(i, 0, receipts[i].file.bytes)
    }
  }

  private func done(_ i: Int, _ frames: Int, _ bytes: Int) {
    let progress = state.withLock { state in
      state.nFrames += frames
      state.progress.bytesDone += bytes
      return state.progress
    }
    report(progress)
  }

  private func attempt(_ i: Int, _ body: () throws -> Void) {
    do { try body() } catch ActCacheError.damaged(_, let what, _) {
      state.withLock { $0.faults[i, default: Faults()].ofFile.append(what) }
    } catch {
      state.withLock { $0.faults[i, default: Faults()].unreadable = "\(error)" }
    }
  }

  var nFrames: Int { state.withLock { $0.nFrames } }

  var findings: [Finding] {
    let faults = state.withLock { $0.faults }
    return faults.map { i, faults in
      let (receipt, path) = (receipts[i], folder.path + "/" + receipts[i].file.path)
      if faults.sentence.isEmpty, let unreadable = faults.unreadable {
        return Finding(.unreadable, path, unreadable, remedy: CacheSurvey.mend)
      }
      return Finding(
        .corrupt, path, faults.sentence, remedy: "run actcache repair \(folder.path)",
        moves: [Receipt.relativePath(receipt.range, of: receipt.stream.name), receipt.file.path])
    }
  }
}

extension CacheIdentity {
  /// Of the model, if its configuration says so.
  var nVocabulary: Int? {
    guard case .object(let members)? = try? CanonicalJSON(parsing: Array(modelConfiguration.utf8)),
      case .integer(let n)? = members["dVocab"], n > 0
    else { return nil }
    return n
  }
}
