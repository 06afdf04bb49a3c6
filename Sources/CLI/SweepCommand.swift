import ArgumentParser
import Foundation
import Report
import SAE
import Train

struct SweepCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "sweep", abstract: "Train many sparse autoencoders from one read of a cache.",
    discussion: """
      The file is that of train --config, with lists for what varies: k: [16, 32, 64] with lr: [1e-3, 3e-4] are six runs.
      Under runs: there may be a list of such mappings, each put over the rest of the file. Each run lies in its own folder
      below out:, equal to what train makes of it; sweep.csv and sweep.jsonl list them. If options of some make no sense,
      they are named and nothing is trained. The same command goes on where it was interrupted.
      """)

  @Option(help: "YAML with the names of train's options.") var config: String
  @Option(help: "Folder of the sweep; wins over the file's out:.") var out: String?
  @Option(help: "The cache's folder; wins over the file's cache:.") var cache: String?
  @Option(help: "Folder or GGUF file of the model, for runs whose objective runs it; wins over the file's model:.")
  var model: String?
  @Option(help: "Bytes for the SAEs trained at once, such as 8GiB; by default 70 % of the machine's memory.")
  var memory: String?
  @Flag(help: "Train nothing: write each run's config.yaml, and print the commands that train them, for a job array.")
  var array = false
  @OptionGroup var threads: ThreadsOption
  @Flag(help: "Print one JSON object.") var json = false

  func run() throws {
    threads.apply()
    guard let text = FileManager.default.contents(atPath: config) else {
      throw TrainError.missing("\(config): no file that can be read; check --config")
    }
    let grid = try SweepGrid(
      yaml: String(decoding: text, as: UTF8.self), path: config, cache: cache, out: out,
      model: model)
    let sweep = try SweepRun(
      grid, memoryBytes: memory.map { Double(try TrainConfiguration.byteCount($0, of: "memory")) })
    if array {
      try sweep.check()
      for member in grid.members { print(try sweep.command(for: member)) }
      return
    }
    let line = ProgressLine(quiet: json)
    let interruption = Interruption()
    let results = try sweep.run(
      resuming: true, noting: { note($0) },
      progress: { progress in
        let left = Double(progress.nSteps - progress.steps) / Double(max(1, progress.nSteps))
        line.update(
          fraction: 1 - left,
          "\(grouped(progress.nTraining)) runs in training, \(grouped(Int(progress.tokensPerSecond))) tokens/s of all "
            + "together")
      }, isInterrupted: { interruption.isRaised })
    line.finish()
    let table = SweepTable(results, of: grid)
    try table.write(to: grid.out)
    try report(results, of: grid)
    if results.contains(where: { $0.outcome.isUnfinished }) { throw ExitCode(ExitStatus.interrupted) }
    // What is wrong with the machine, such as a full disk, is above what is wrong with a run.
    let failures = results.compactMap(\.error).map { exitStatus(of: $0) ?? 1 }
    if let status = failures.max() { throw ExitCode(status) }
  }

  private struct Output: Encodable {
    struct Run: Encodable {
      var run, outcome: String
      var reason: String?
      var metrics: StepMetrics?
      var seconds: Double
      /// Of steps that ran the model.
      var costs: StepCosts?
    }
    var sweep: String
    var runs: [Run]
  }

  private func report(_ results: [SweepResult], of grid: SweepGrid) throws {
    if json {
      return try printJSON(
        Output(
          sweep: grid.out,
          runs: results.map {
            .init(
              run: $0.name, outcome: $0.outcome.word, reason: $0.outcome.reason, metrics: $0.metrics,
              seconds: $0.seconds, costs: $0.costs)
          }))
    }
    let runsModel = results.contains { $0.costs != nil }
    var columns: [(String, TextTable.Alignment)] = [
      ("run", .left), ("outcome", .left), ("L0", .right), ("FVU", .right), ("loss", .right), ("dead", .right),
      ("seconds", .right),
    ]
    if runsModel { columns.append(("× local", .right)) }
    var table = TextTable(columns)
    var points: [TextScatter.Point] = []
    for result in results {
      let metrics = result.metrics
      var cells = [
        result.name, result.outcome.word, metrics.map { fixed($0.l0, 1) } ?? "", metrics.map { fixed($0.fvu, 4) } ?? "",
        metrics.map { fixed($0.loss, 4) } ?? "", metrics.map { grouped($0.dead) } ?? "", fixed(result.seconds, 1),
      ]
      if runsModel { cells.append(result.costs?.relativeToLocal.map { fixed($0, 1) } ?? "") }
      table.add(cells)
      if let metrics {
        let mark = result.configuration.arch.rawValue.first ?? "o"
        points.append(TextScatter.Point(x: metrics.l0, y: metrics.fvu, mark: mark))
      }
    }
    print(table.text)
    if runsModel {
      print(
        "× local: time per token over that of \(StepCosts.localSteps); what runs share counts in equal parts")
    }
    let kinds = Set(results.map(\.configuration.arch.rawValue)).sorted().map { "\($0.prefix(1)): \($0)" }
    let plot = TextScatter(x: "L0", y: "FVU of the last step, \(kinds.joined(separator: ", "))", points).text()
    if !plot.isEmpty { print("\n\(plot)") }
    for result in results {
      if let reason = result.outcome.reason { printError("\(result.name): \(reason)") }
    }
    print("\n\(grid.out)/sweep.csv, \(grid.out)/sweep.jsonl")
  }
}
