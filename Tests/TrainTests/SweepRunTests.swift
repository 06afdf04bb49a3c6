import Foundation
import LinearAlgebra
import TestSupport
import Testing
import Train

@Suite struct SweepRunTests {
  private let settings = """
    cache: toy
    hook: h
    latents: 3x
    batch: 32
    tokens: 1280
    dead-tokens: 100
    log-steps: 4
    checkpoint-steps: 7
    """

  private func grid(_ folder: String, _ more: String) throws -> SweepGrid {
    try SweepGrid(yaml: "\(settings)\nout: \(folder)/sweep\n\(more)\n", path: "s.yaml")
  }

  private func weights(_ folder: String) throws -> Data {
    try #require(FileManager.default.contents(atPath: "\(folder)/sae/sae_weights.safetensors"), "\(folder)")
  }

  /// Members of different kinds, lengths, batch sizes and scales: groups, and members that end before others.
  private let runs = """
    runs:
    - {k: [1, 3, 5], lr: 0.003}
    - {arch: relu, l1: 0.3, lr: 0.003, seed: [0, 1]}
    - {k: 2, lr: 0.003, tokens: 700, batch: 16}
    - {k: 2, lr: 0.003, tokens: 960, normalization: none}
    - {k: 2, lr: 0.003, tokens: 960, normalization: unit}
    """

  @Test func transcodersOfASweepEqualRunsOfTheirOwn() throws {
    let folder = try TemporaryFolder()
    let source = ToyBatches(target: TargetShape(width: 9, normalizationScale: 0.4))
    let grid = try grid(
      folder.path, "target-hook: t\nskip: true\nlr: 0.003\nk: [1, 3]\nnormalization: [scale, none]\n")
    let results = try SweepRun(grid, open: { _ in RunData(source: source) }).run(resuming: false)
    #expect(results.count == 4 && results.allSatisfy { $0.outcome == .finished }, "\(results)")
    for member in grid.members {
      var alone = member.configuration
      alone.out = "\(folder.path)/alone-\(member.name)"
      #expect(try TrainRun(alone, source: source).run(resuming: false) == .finished)
      #expect(try weights(alone.out) == weights(member.configuration.out), "\(member.name)")
    }
  }

  @Test func membersEqualRunsOfTheirOwn() throws {
    let folder = try TemporaryFolder()
    let grid = try grid(folder.path, runs)
    let results = try SweepRun(grid, open: { _ in RunData(source: ToyBatches()) }).run(resuming: false)
    #expect(results.count == 8 && results.allSatisfy { $0.outcome == .finished && $0.costs == nil }, "\(results)")
    for member in grid.members {
      var alone = member.configuration
      alone.out = "\(folder.path)/alone-\(member.name)"
      #expect(try TrainRun(alone, source: ToyBatches()).run(resuming: false) == .finished)
      #expect(try weights(alone.out) == weights(member.configuration.out), "\(member.name)")
    }
    // A second run has nothing to do.
    let again = try SweepRun(grid, open: { _ in RunData(source: ToyBatches()) }).run(resuming: false)
    #expect(again.allSatisfy { $0.outcome == .finished && $0.seconds == 0 && $0.metrics != nil })
  }

  @Test func anInterruptedSweepGoesOnToTheSameEnd() throws {
    let folder = try TemporaryFolder()
    let whole = try SweepGrid(yaml: "\(settings)\nout: \(folder.path)/whole\n\(runs)\n", path: "s.yaml")
    _ = try SweepRun(whole, open: { _ in RunData(source: ToyBatches()) }).run(resuming: false)
    let parts = try grid(folder.path, runs)
    var asked = 0
    let first = try SweepRun(parts, memoryBytes: 30_000, open: { _ in RunData(source: ToyBatches()) }).run(
      resuming: true,
      isInterrupted: {
        asked += 1
        return asked > 12
      })
    #expect(first.contains { $0.outcome.isUnfinished })
    let second = try SweepRun(parts, open: { _ in RunData(source: ToyBatches()) }).run(resuming: true)
    #expect(second.allSatisfy { $0.outcome == .finished }, "\(second)")
    for (a, b) in zip(whole.members, parts.members) {
      #expect(try weights(a.configuration.out) == weights(b.configuration.out), "\(a.name)")
    }
  }

  @Test func aMemberThatDivergesDoesNotStopTheOthers() throws {
    let folder = try TemporaryFolder()
    let grid = try grid(folder.path, "arch: relu\nl1: 0.3\nlr: [0.003, 1e30]")
    let results = try SweepRun(grid, open: { _ in RunData(source: ToyBatches()) }).run(resuming: false)
    #expect(results[0].outcome == .finished)
    let reason = try #require(results[1].outcome.reason)
    #expect(reason.contains("lower --lr (now 1e+30)"), "\(reason)")
    let table = SweepTable(results, of: grid)
    let lines = table.csv.split(separator: "\n")
    #expect(lines.count == 3 && lines[0].hasPrefix("run,lr,outcome,step,tokens,loss"))
    #expect(lines[1].hasPrefix("lr-0.003,0.003,finished,40,1280,") && lines[2].hasPrefix("lr-1e30,1e30,failed,"))
    #expect(try table.jsonl.split(separator: "\n").count == 2)
  }

  @Test func badMembersAreFoundBeforeAnyWork() throws {
    let grid = try grid("/nowhere", "lr: [0.003, -1, -2]")
    #expect(
      throws: TrainError.invalid(
        "run lr--1: lr is -1.0; it must be positive, or auto\nrun lr--2: lr is -2.0; it must be positive, or auto")
    ) {
      _ = try SweepRun(grid, open: { _ in RunData(source: ToyBatches()) })
    }
  }

  /// What can only be judged with the activations' width, in several groups.
  @Test func membersThatDoNotFitTheirActivationsAreFoundBeforeAnyWork() throws {
    let folder = try TemporaryFolder()
    let grid = try grid(folder.path, "lr: 0.003\nk: [3, 0, 1000]\norder-seed: [1, 2]")
    var nOpened = 0
    let sweep = try SweepRun(
      grid,
      open: { _ in
        nOpened += 1
        return RunData(source: ToyBatches())
      })
    let n = 3 * ToyBatches().width
    func problem(_ k: Int, _ seed: Int) -> String {
      "run k-\(k)_order-seed-\(seed): k is \(k); it must be from 1 to the number of latents, \(n)"
    }
    #expect(throws: TrainError.invalid([(0, 1), (0, 2), (1000, 1), (1000, 2)].map(problem).joined(separator: "\n"))) {
      try sweep.run(resuming: true)
    }
    #expect(nOpened == 2 && !FileManager.default.fileExists(atPath: folder.path + "/sweep"))
  }

  @Test func aMemberLargerThanItsTokensIsFoundBeforeAnyWork() throws {
    let grid = try grid("/nowhere", "runs: [{batch: 32}, {batch: 4096}]")
    #expect(
      throws: TrainError.invalid(
        "run batch-4096: batch is 4096, but the run has 1280 tokens; a batch of 1 to 1280 is allowed, or give more tokens"
      )
    ) { _ = try SweepRun(grid, open: { _ in RunData(source: ToyBatches()) }) }
  }

  @Test func commandsForAnArrayAreWordsOfAShell() throws {
    let cache = try TinyModelCache(hooks: ["blocks.1.hook_resid_post"])
    let out = cache.folder.path + "/it's"
    let grid = try SweepGrid(
      yaml: """
        cache: \(cache.path)
        hook: blocks.1.hook_resid_post
        out: \(out)
        k: [3, 4]
        """, path: "s.yaml")
    let command = try SweepRun(grid).command(for: grid.members[0])
    #expect(
      command == "actcache train --resume --config '\(cache.folder.path)/it'\\''s/k-3/config.yaml'", "\(command)")
  }
}
