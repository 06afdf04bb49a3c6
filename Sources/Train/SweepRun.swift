import ActCache
import Foundation
import LinearAlgebra
import Memory
import SAE

/// All runs of a sweep, from as few reads of the cache as possible: members of one hook, batch size and order of tokens
/// share every batch. Each ends byte for byte as it would alone.
///
///     <out>/<member>/                the member's run (see `RunFolder`)
///     <out>/sweep.csv, sweep.jsonl   one line per member (see `SweepTable`)
package final class SweepRun {
  package struct Progress: Sendable {
    /// Steps taken of the members that are trained together now, and those there are to take.
    package var steps, nSteps: Int
    /// Of all members together.
    package var tokensPerSecond: Double
    /// Members in training.
    package var nTraining: Int
  }

  private let grid: SweepGrid
  private let memoryBytes: Double
  private let open: (inout TrainConfiguration) throws -> RunData
  private var results: [String: SweepResult] = [:]
  /// Data of the group that is trained first, if `check` has opened it.
  private var opened: (first: TrainConfiguration, data: RunData)?

  /// - Parameters:
  ///   - memoryBytes: for the SAEs that are trained at once; more of them are trained in parts, one after the other. By
  ///     default 70 % of the machine's.
  ///   - open: the data of a run; sets its generation and teacher.
  /// - Throws: `TrainError.invalid` naming every member whose settings make no sense.
  package init(
    _ grid: SweepGrid, memoryBytes: Double? = nil,
    open: @escaping (inout TrainConfiguration) throws -> RunData = { try RunData(for: &$0) }
  ) throws {
    self.grid = grid
    self.memoryBytes = memoryBytes ?? 0.7 * Double(ProcessInfo.processInfo.physicalMemory)
    self.open = open
    try refuse(grid.members) { try $0.configuration.validate() }
  }

  /// Throws `TrainError.invalid` naming every one of `members` that `check` throws for.
  private func refuse(_ members: [SweepGrid.Member], unless check: (SweepGrid.Member) throws -> Void) throws {
    let problems = members.compactMap { member -> String? in
      do { try check(member) } catch { return grid.members.count > 1 ? "run \(member.name): \(error)" : "\(error)" }
      return nil
    }
    if !problems.isEmpty { throw TrainError.invalid(problems.joined(separator: "\n")) }
  }

  /// Opens the data of every member, and checks its settings against them. `run` does so before anything is trained.
  ///
  /// - Throws: `TrainError.invalid` naming every member whose settings do not fit its activations, or what `open` throws.
  package func check() throws {
    var problems: [String: any Error] = [:]
    // The first group's data are kept; those of others would take too much memory together.
    for group in groups().reversed() {
      var first = group[0].configuration
      let data = try open(&first)
      for member in group {
        do {
          try member.configuration.check(
            width: data.source.width, targetWidth: data.source.target?.width, objective: data.steps?.objective)
        } catch { problems[member.name] = error }
      }
      opened = (first, data)
    }
    try refuse(grid.members) { if let problem = problems[$0.name] { throw problem } }
  }

  private func data(of group: [SweepGrid.Member]) throws -> (first: TrainConfiguration, data: RunData) {
    if let opened {
      self.opened = nil
      return opened
    }
    var first = group[0].configuration
    let data = try open(&first)
    return (first, data)
  }

  /// Trains every member that is not finished; returns what became of each, in the order of the grid.
  ///
  /// A member that diverges, or whose folder cannot be used, is stopped and does not stop the others; a cache that cannot
  /// be read stops all, and settings that do not fit are refused before anything is trained.
  ///
  /// - Parameter noting: gets the data of members that are trained next.
  package func run(
    resuming: Bool, noting: (RunData) -> Void = { _ in }, progress: (Progress) -> Void = { _ in },
    isInterrupted: () -> Bool = { false }
  ) throws -> [SweepResult] {
    try check()
    for group in groups() where !isInterrupted() {
      let (first, data) = try data(of: group)
      noting(data)
      for part in try parts(of: group, of: data.source) where !isInterrupted() {
        let members = part.compactMap { begin($0, like: first, data, resuming: resuming) }
        defer { for member in members { results[member.name] = member.result } }
        try train(members, from: data, progress: progress, isInterrupted: isInterrupted)
      }
    }
    return grid.members.map {
      results[$0.name] ?? SweepResult($0.name, outcome: .notStarted, configuration: $0.configuration)
    }
  }

  /// Writes a member's config.yaml and returns the command that trains it by itself.
  package func command(for member: SweepGrid.Member) throws -> String {
    var configuration = member.configuration
    let cache = try CacheReader(path: configuration.cache, generation: configuration.generation)
    configuration.generation = cache.manifest.generation
    let folder = RunFolder(configuration.out)
    try createFolder(folder.path)
    try folder.agree(on: configuration)
    let file = "\(folder.path)/config.yaml"
    return "actcache train --resume --config \(shellWord(file))"
  }

  /// Members that can share every batch.
  private func groups() -> [[SweepGrid.Member]] {
    var groups: [[SweepGrid.Member]] = []
    for member in grid.members {
      if let i = groups.firstIndex(where: { $0[0].configuration.sharesBatches(with: member.configuration) }) {
        groups[i].append(member)
      } else {
        groups.append([member])
      }
    }
    return groups
  }

  /// Cuts a group into parts whose SAEs fit into memory together; one that does not fit is a part of its own.
  private func parts(of group: [SweepGrid.Member], of source: any BatchSource) throws -> [[SweepGrid.Member]] {
    var parts: [[SweepGrid.Member]] = []
    var bytes = Double.infinity
    for member in group {
      let needed = try member.configuration.memoryBytes(
        width: source.width, targetWidth: source.target?.width)
      if bytes + needed > memoryBytes {
        parts.append([])
        bytes = 0
      }
      parts[parts.count - 1].append(member)
      bytes += needed
    }
    return parts
  }

  /// The member, ready to train; nil, with its result noted, if there is nothing to do or nothing can be done.
  private func begin(
    _ member: SweepGrid.Member, like first: TrainConfiguration, _ data: RunData, resuming: Bool
  ) -> SweepMember? {
    var configuration = member.configuration
    configuration.generation = first.generation
    configuration.teacher = first.teacher
    do {
      if let begun = try SweepMember(member.name, configuration, data, resuming: resuming) { return begun }
      results[member.name] = SweepResult(member.name, outcome: .finished, configuration: configuration)
    } catch {
      results[member.name] = SweepResult(
        member.name, outcome: .failed("\(error)"), error: error, configuration: configuration)
    }
    return nil
  }

  private func train(
    _ members: [SweepMember], from data: RunData, progress: (Progress) -> Void, isInterrupted: () -> Bool
  ) throws {
    let source = data.source
    guard let first = members.map(\.step).min(), let end = members.map(\.nSteps).max() else { return }
    let start = ContinuousClock.now
    let (before, nSteps) = (members.reduce(0) { $0 + $1.step }, members.reduce(0) { $0 + $1.nSteps })
    let batch = members[0].batch
    // A small SAE does not fill several threads: each gets one, and goes through some batches before it waits for others.
    let isSmall = members.count > 1 && members.allSatisfy { $0.nWeights <= 1 << 20 }
    let block = (0..<(isSmall ? 8 : 1)).map { _ in SharedBatch(batch, source) }
    var step = first
    func report() {
      let done = members.reduce(0) { $0 + $1.step }
      let seconds = (ContinuousClock.now - start) / .seconds(1)
      progress(
        Progress(
          steps: done, nSteps: nSteps, tokensPerSecond: Double((done - before) * batch) / max(seconds, 1e-9),
          nTraining: members.count(where: \.isTraining)))
    }
    while step < end, members.contains(where: \.isTraining) {
      if isInterrupted() { break }
      if let steps = data.steps, let now = members.first(where: { $0.isTraining && $0.step == step }),
        steps.needsModel(at: now.session.progress)
      {
        try steps.train(members.filter { $0.isTraining && $0.step == step }, source)
        step += 1
        report()
        continue
      }
      // With the model a term may begin at the next step.
      let range = step..<min(step + (data.steps == nil ? block.count : 1), end)
      for i in range { try block[i - step].read(i, from: source) }
      for units in Set(members.filter(\.isTraining).map(\.units)) {
        for shared in block { shared.scale(to: units) }
        let active = members.filter { $0.isTraining && $0.units == units }
        if isSmall {
          Threads.forEachChain(active.map(\.seconds), steps: range.count) {
            active[$0].train(range.lowerBound + $1, on: block[$1], of: source)
          }
        } else {
          for i in range {
            for member in active { member.train(i, on: block[i - range.lowerBound], of: source) }
          }
        }
      }
      step = range.upperBound
      report()
    }
    for member in members where member.isTraining { member.interrupt() }
  }
}

/// A batch as it was read, and as SAEs are trained on it.
final class SharedBatch {
  private let raw: RawBatch
  let scaled: ScaledBatch

  init(_ rows: Int, _ source: any BatchSource) {
    raw = RawBatch(rows, source)
    scaled = ScaledBatch(raw, in: .init(input: .factor(1), target: nil))
  }

  func read(_ index: Int, from source: any BatchSource) throws { try raw.read(index, from: source) }

  func scale(to units: ScaledBatch.Units) { scaled.assign(raw, in: units) }
}
