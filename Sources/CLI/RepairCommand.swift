import ActCache
import ArgumentParser
import Harvest
import LinearAlgebra
import Report
import Transformer

struct RepairCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "repair", abstract: "Move damaged files of a cache aside and harvest again what they held.",
    discussion: """
      Damaged files get the ending .bad. Records that other files repeat are made anew at once: receipts that are gone \
      too, of files that are what the manifest says. With --model the ranges \
      that were lost are harvested again, from the tokens of the cache; where tokens are lost too, --corpus must give \
      the text. The cache is then what it was, byte for byte. Can be repeated. Exit codes: 0 the \
      cache is whole, 69 something is still missing, 65 damaged, 78 the model is another one.
      """)

  @Argument(help: "The cache's folder.") var cache: String
  @Option(help: "The model that was harvested.") var model: String?
  @Option(help: "Tokenizer folder or file; by default the model's own.") var tokenizer: String?
  @Option(parsing: .upToNextOption, help: "The text that was harvested; needed only if tokens are damaged.")
  var corpus: [String] = []
  @Flag(help: "How closely to look for damage: --quick, --frames or --digest (the default), as in verify.")
  var level = Verification.Level.digest
  @OptionGroup var threads: ThreadsOption
  @Flag(help: "Print one JSON object.") var json = false

  func validate() throws {
    if model == nil, !corpus.isEmpty || tokenizer != nil {
      throw ValidationError("--corpus and --tokenizer need --model")
    }
  }

  func run() throws {
    threads.apply()
    var settings = CacheRepair.Configuration()
    settings.cache = cache
    settings.level = level
    settings.corpora = corpus
    settings.threads = Threads.count
    let line = ProgressLine(quiet: json)
    let interruption = Interruption()
    let repair = CacheRepair(
      settings, interrupt: interruption.flag,
      checking: { progress in
        line.update(
          fraction: Double(progress.bytesDone) / Double(max(1, progress.bytesInAll)),
          "\(byteSize(progress.bytesDone)) of \(byteSize(progress.bytesInAll)) checked")
      },
      progress: { progress in
        line.update(fraction: progress.fraction, "\(grouped(progress.nNewTokens)) tokens harvested again")
      })
    let parts = try model.map { path in
      (ModelSource(try TransformerModel.load(path: path)), try ModelTokenizer.load(model: tokenizer ?? path))
    }
    let report = try repair.run(parts.map { ($0, $1) })
    line.finish()
    let left = report.findings.filter { $0.kind != .note }
    // Advice is given only where something is lost.
    let lost: Int32 = report.advice == nil ? 0 : Finding.Kind.incomplete.exitCode
    let status = report.wasInterrupted ? ExitStatus.interrupted : left.gravest?.exitCode ?? lost
    let outcome = report.wasInterrupted ? "interrupted" : left.gravest?.rawValue ?? (lost == 0 ? "fine" : "incomplete")
    if json {
      try printJSON(
        Output(
          cache: cache, outcome: outcome,
          movedAside: report.moved, madeAnew: report.restored, harvestedAgain: report.harvested, advice: report.advice,
          findings: report.findings))
    } else {
      for moved in report.moved { print("moved aside: \(moved.file): \(moved.why)") }
      for path in report.restored { print("made anew: \(path)") }
      for path in report.harvested { print("harvested again: \(path)") }
      if !report.approximate.isEmpty {
        print(
          "note: the statistics in \(grouped(report.approximate.count)) of these receipts are of the values as they are "
            + "stored, not as they were before rounding")
      }
      for finding in left { print(finding) }
      print("\(cache): \(verdict(report, left))")
    }
    if status != 0 { throw ExitCode(status) }
  }

  private func verdict(_ report: CacheRepair.Report, _ left: [Finding]) -> String {
    if report.wasInterrupted { return "interrupted; the same command goes on" }
    if let advice = report.advice { return advice }
    if !left.isEmpty { return "not whole; see above" }
    let hasAside = report.findings.contains { $0.file.hasSuffix(CacheFolder.quarantineSuffix) }
    let nothing = report.moved.isEmpty && report.restored.isEmpty && report.harvested.isEmpty
    return (nothing ? "nothing to repair" : "repaired")
      + (hasAside ? "; actcache gc \(cache) removes the .bad files" : "")
  }

  private struct Output: Encodable {
    var cache, outcome: String
    var movedAside: [Quarantine.Moved]
    var madeAnew, harvestedAgain: [String]
    var advice: String?
    var findings: [Finding]
  }
}
