import ActCache
import ArgumentParser
import Evaluate
import Foundation
import LinearAlgebra
import Report
import SAE
import Train
import Transformer

struct CompareCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "compare", abstract: "Put sweeps of SAEs side by side at equal L0, CE increase and alive latents.",
    discussion: """
      Runs of one hook are grouped (by objective and arch, unless --group-by says otherwise); each group is a sweep, which is
      read off between its runs: linearly between neighbours in what is held equal, L0 by its logarithm, never beyond the
      runs. Brackets are 95 % confidence intervals from resampled held-out sequences, the same for all runs.

      A run's evaluation is kept in its folder (eval.json) and used again for the same SAE, model, cache and number of
      sequences; without --model only such evaluations are used.
      """)

  @Argument(help: "Runs.") var runs: [String]
  @Option(help: "The cache they were trained on.") var cache: String
  @Option(help: "The model that was harvested, for runs that are not evaluated yet.") var model: String?
  @Option(parsing: .upToNextOption, help: "Options of config.yaml whose values make the groups.")
  var groupBy: [String] = ["objective", "arch"]
  @Option(parsing: .upToNextOption, help: "L0 to compare at; by default three that all groups reach.")
  var l0: [Double] = []
  @Option(parsing: .upToNextOption, help: "CE increases (nats) to compare at.") var ceIncrease: [Double] = []
  @Option(parsing: .upToNextOption, help: "Numbers of alive latents to compare at.") var alive: [Double] = []
  @Option(help: "Held-out sequences to use; by default all.") var sequences: Int?
  @Option(help: "Resamples of the sequences; 0: no intervals.") var resamples = 1000
  @Option(help: "Decides the resamples.") var seed: UInt64 = 0
  @OptionGroup var threads: ThreadsOption
  @Flag(help: "Print one JSON object.") var json = false
  @Flag(help: "Print the comparison as CSV, one number with its interval per line.") var csv = false

  func validate() throws {
    if runs.isEmpty { throw ValidationError("no runs given") }
    if Set(runs).count < runs.count { throw ValidationError("a run is given twice") }
    if let sequences, sequences < 1 { throw ValidationError("--sequences \(sequences): at least 1 is needed") }
    if !(0...1_000_000).contains(resamples) {
      throw ValidationError("--resamples \(resamples): 0 to 1,000,000 are allowed")
    }
    for value in l0 + ceIncrease + alive where !value.isFinite {
      throw ValidationError("\(value): a finite number is needed")
    }
    if json && csv { throw ValidationError("--json and --csv are two kinds of output; leave one of them out") }
  }

  func run() throws {
    threads.apply()
    let runs = try runFolders(self.runs)
    let groups = try runs.map { run in
      let folder = RunFolder(run)
      let values = try folder.options(groupBy)
      guard folder.isFinished else {
        throw TrainError.missing("\(run): holds no finished SAE (sae/cfg.json); train it to its end, or leave it out")
      }
      return values.map { $0 ?? "–" }.joined(separator: " ")
    }
    let reader = try CacheReader(path: cache)
    let evaluated = try evaluations(of: runs, reader)
    let values = [Quantity.l0: l0, .ceIncrease: ceIncrease, .alive: alive].filter { !$0.value.isEmpty }
    let comparison = try Comparison(
      zip(groups, evaluated).map { .init(group: $0, run: $1) }, at: values,
      bootstrap: Bootstrap(count: resamples, seed: seed))
    let report = CompareReport(comparison, groups: groups, results: evaluated.map(\.result))
    if json {
      try printJSON(Output(cache: cache, groups: groups, results: evaluated.map(\.result), comparison: comparison))
    } else {
      print(csv ? report.csv : report.text)
    }
  }

  private struct Output: Encodable {
    var cache: String
    /// Of each run.
    var groups: [String]
    var results: [EvaluationResult]
    var comparison: Comparison
  }

  /// From the runs' folders where they are there, the rest anew, in the order of the runs.
  private func evaluations(of runs: [String], _ reader: CacheReader) throws -> [Evaluation.Evaluated] {
    let keys = try runs.map { try StoredEvaluation.Key(run: $0, cache: reader, limit: sequences) }
    var found = zip(runs, keys).map { StoredEvaluation.load(run: $0, key: $1) }
    let opened = try runs.map { try Evaluation.Subject.open($0) }
    let hooks = opened.map { $0.provenance.hookName + ($0.provenance.targetHook.map { " → \($0)" } ?? "") }
    if let other = hooks.indices.first(where: { hooks[$0] != hooks[0] }) {
      throw EvaluateError.invalid(
        "\(runs[0]) is of \(hooks[0]), \(runs[other]) of \(hooks[other]); compare runs of one hook")
    }
    let missing = runs.indices.filter { found[$0] == nil }
    if missing.isEmpty { return found.compactMap(\.self) }
    guard let path = model else {
      throw EvaluateError.missing(
        "\(runs[missing[0]]): not evaluated on this cache yet; add --model MODEL")
    }
    let line = ProgressLine(quiet: json || csv)
    let evaluation = try Evaluation(
      missing.map { opened[$0].subject }, hook: opened[0].provenance.hookName,
      targetHook: opened[0].provenance.targetHook, cache: reader, model: TransformerModel.load(path: path),
      modelPath: path)
    let fresh = try evaluation.run(limit: sequences) { done, all in
      line.update(fraction: Double(done) / Double(all), "\(missing.count) runs: \(done) of \(all) sequences")
    }
    line.finish()
    for (place, evaluated) in zip(missing, fresh) {
      found[place] = evaluated
      keep(evaluated, of: runs[place], keys[place])
    }
    return found.compactMap(\.self)
  }
}
