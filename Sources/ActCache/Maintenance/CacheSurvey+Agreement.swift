import Memory

/// The records of a cache against each other.
extension CacheSurvey {
  mutating func judge(_ all: [Receipt], _ generations: [Generation], _ baseKey: String) {
    let own = generations.filter { generation in
      if generation.baseKey == baseKey { return true }
      let file = Generation.relativePath(generation.nSequences)
      add(
        .corrupt, file, "it is of another cache (\(generation.baseKey.prefix(12)), not \(baseKey.prefix(12)))",
        remedy: repair, moves: [file])
      return false
    }
    let witness = TextWitness(baseKey: baseKey, receipts: all, generations: own)
    self.witness = witness
    for receipt in all where !witness.agrees(with: receipt) {
      reject(receipt, "it is of another text than the records beside it", andFile: true)
    }
    let agreed = Dictionary(grouping: all.filter(witness.agrees)) { $0.stream.name }
    let others = agreed.filter { $0.key != StreamSpec.tokens }.values.joined()
    cut = TokenCut(
      tokens: agreed[StreamSpec.tokens] ?? [], damaged: damaged[StreamSpec.tokens] ?? [],
      followers: Dictionary(grouping: others, by: \.range).mapValues(\.count), ends: Set(own.map(\.nSequences)))
    for (name, list) in agreed {
      for receipt in list.sorted(by: { ($0.first, $0.end) < ($1.first, $1.end) }) {
        // In a gap of the tokens it is as good as ever: the tokens can come back.
        if cut.contains(receipt.range) || name != StreamSpec.tokens && !cut.overlaps(receipt.range) {
          receipts[name, default: []].append(receipt)
        } else if name == StreamSpec.tokens {
          reject(receipt, "its sequences overlap those of other receipts of the tokens", andFile: true)
        } else {
          unused += [Receipt.relativePath(receipt.range, of: name), receipt.file.path]
        }
      }
    }
    judgeGenerations(own, witness)
    judgeReach()
    judgeSteps(baseKey)
  }

  private mutating func judgeGenerations(_ own: [Generation], _ witness: TextWitness) {
    for generation in own {
      let n = generation.nSequences
      let file = Generation.relativePath(n)
      if n > cut.end, lost(StreamSpec.tokens).isEmpty {
        add(
          .incomplete, file, "of its \(n) sequences those from \(cut.end) on are missing",
          remedy: "run the same harvest command again")
      } else if n > cut.end || cut.isDamaged(at: n - 1) {
        // Said of the tokens themselves.
      } else if !cut.pieces.contains(where: { $0.range.upperBound == n }) || witness.chain(at: n) != generation.chain {
        add(.corrupt, file, "it is of another text than the receipts", remedy: repair, moves: [file])
      } else {
        generations.append(generation)
      }
    }
  }

  /// What the streams lack up to the end of the text, or of what is there of it.
  private mutating func judgeReach() {
    let again = "run the same harvest command again"
    let lostTokens = lost(StreamSpec.tokens).filter { damaged[StreamSpec.tokens]?.contains($0) != true }
    if lostTokens.isEmpty {
      for gap in cut.gaps { add(.incomplete, StreamSpec.tokens, "sequences \(gap) are missing", remedy: again) }
    } else {
      let list = CacheSurvey.joined((cut.gaps + lostTokens).sorted { $0.lowerBound < $1.lowerBound })
      add(.incomplete, StreamSpec.tokens, "sequences \(CacheSurvey.sentence(list)) are missing", remedy: repair)
    }
    let end = generations.last?.nSequences ?? cut.end
    if cut.gaps.isEmpty, lostTokens.isEmpty, cut.end > end || generations.isEmpty {
      let text = generations.isEmpty ? "" : " of the longer text"
      add(
        .incomplete, Generation.folder, "the harvest\(text) is not finished; \(cut.end) sequences are there",
        remedy: again)
    }
    for name in Set(receipts.keys).union(damaged.keys).union(promised.keys).sorted() where name != StreamSpec.tokens {
      let there = Set((receipts[name] ?? []).map(\.range)).union(damaged[name] ?? [])
      let lost = lost(name).filter { damaged[name]?.contains($0) != true }
      let missing = cut.pieces.map(\.range).filter { $0.upperBound <= end && !there.contains($0) }
      // A stream that ends where a text does was not asked for beyond it.
      let reach = there.union(lost).map(\.upperBound).max() ?? 0
      let isShort = reach < end && generations.contains { $0.nSequences == reach }
      if isShort, let stream = receipts[name]?.first?.stream {
        add(
          .note, name, "it ends with an earlier text, at sequence \(reach) of \(end)",
          remedy: "\(stream.harvestCommand(cache: folder.path)) adds the rest")
      }
      let all = Set(isShort ? missing.filter { $0.upperBound <= reach } : missing).union(lost)
      if all.isEmpty { continue }
      let text = max(end, manifest?.nSequences ?? 0)
      let list = CacheSurvey.joined(all.sorted { $0.lowerBound < $1.lowerBound })
      add(
        .incomplete, name, "sequences \(CacheSurvey.sentence(list)) of \(text) are missing",
        remedy: lost.isEmpty ? "\(again), or actcache repair \(folder.path)" : repair)
    }
  }

  private static func sentence(_ ranges: [Range<Int>]) -> String {
    ranges.map { "\($0)" }.joined(separator: ", ")
  }

  static func joined(_ ranges: [Range<Int>]) -> [Range<Int>] {
    var result: [Range<Int>] = []
    for range in ranges {
      if let last = result.last, last.upperBound == range.lowerBound {
        result[result.count - 1] = last.lowerBound..<range.upperBound
      } else {
        result.append(range)
      }
    }
    return result
  }

  /// The steps of fixed point, which the receipts repeat.
  private mutating func judgeSteps(_ baseKey: String) {
    for (name, list) in receipts {
      guard let stream = list.first?.stream, let steps = stream.steps else { continue }
      let file = FixedPointSteps.relativePath(name)
      do {
        let there = try FixedPointSteps.open(
          cache: folder.path, stream: name, dtype: stream.dtype, baseKey: baseKey, files: RealFiles())
        if there == nil { add(.note, file, "it is missing; the receipts repeat what it says", remedy: repair) }
        guard let there, there != steps else { continue }
        add(.corrupt, file, "its steps are not those of the receipts", remedy: repair, moves: [file])
      } catch let error as ActCacheError {
        if case .damaged(_, let what, _) = error {
          add(.corrupt, file, what, remedy: repair, moves: [file])
        } else {
          add(.corrupt, file, "its steps are not those of the receipts", remedy: repair, moves: [file])
        }
      } catch { add(.unreadable, file, "\(error)", remedy: CacheSurvey.mend) }
    }
  }

  mutating func judgeManifest(_ result: Result<Manifest?, any Error>) {
    let file = Manifest.name
    let index = "run actcache index \(folder.path)"
    let written: Manifest?
    do { written = try result.get() } catch let error as ActCacheError {
      if case .damaged(_, let what, _) = error {
        // No file can be put in the place of a folder.
        let isFile = folder.files.contains(file)
        return add(.corrupt, file, what, remedy: isFile ? index : repair, moves: isFile ? [] : [file])
      }
      return add(.unreadable, file, "\(error)", remedy: CacheSurvey.mend)
    } catch { return add(.unreadable, file, "\(error)", remedy: CacheSurvey.mend) }
    // What the records say can be known only if they are whole; while they are written, it changes.
    guard !isBusy, findings.gravest != .corrupt, findings.gravest != .unreadable, spec != nil,
      let derived = try? Manifest(CacheContents(cache: folder.path), path: folder.path)
    else { return }
    if let written {
      let changes = derived.changes(since: written)
      // What it says beyond the receipts is lost, and said of the streams themselves.
      guard !changes.isEmpty, derived.lacks(of: written).isEmpty else { return }
      add(.incomplete, file, "it does not say what the receipts say: \(changes.joined(separator: "; "))", remedy: index)
    } else if derived.generation > 0 {
      add(.note, file, "it is missing; readers make it anew each time", remedy: index)
    }
  }
}
