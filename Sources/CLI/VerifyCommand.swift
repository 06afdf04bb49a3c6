import ActCache
import ArgumentParser
import Foundation
import Harvest
import LinearAlgebra
import Report
import Transformer

struct VerifyCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "verify", abstract: "Check every file of a cache, and with the model that the cache is the model's.",
    discussion: """
      Says of each problem which file it is in and what to do. Exit codes: 0 nothing is wrong, 65 something is damaged, \
      69 something is missing, 78 the cache is another model's. A stream that ends with an earlier text of a cache that has \
      grown is whole: a note says how to add the rest.
      """)

  @Argument(help: "The cache's folder.") var cache: String
  @Flag(
    help: """
      --quick: sizes, receipts, heads of shards. --frames: also decode everything (the default). --digest: also SHA-256 \
      of every file.
      """)
  var level = Verification.Level.frames
  @Option(help: "Also put so many sequences through --model again and compare every value of them.") var recompute: Int?
  @Option(help: "The model that was harvested, for --recompute.") var model: String?
  @Option(help: "Which sequences --recompute takes.") var seed: UInt64 = 0
  @OptionGroup var threads: ThreadsOption
  @Flag(help: "Print one JSON object.") var json = false

  func validate() throws {
    if let recompute, recompute < 1 { throw ValidationError("--recompute \(recompute): at least 1 is needed") }
    guard (recompute == nil) == (model == nil) else {
      throw ValidationError("--recompute K and --model go together")
    }
  }

  func run() throws {
    threads.apply()
    let line = ProgressLine(quiet: json)
    let interruption = Interruption()
    let checked = try Verification(
      cache: cache, level: level, threads: Threads.count,
      isInterrupted: { [flag = interruption.flag] in flag.isRaised },
      progress: { progress in
        line.update(
          fraction: Double(progress.bytesDone) / Double(max(1, progress.bytesInAll)),
          "\(byteSize(progress.bytesDone)) of \(byteSize(progress.bytesInAll)) checked")
      })
    var findings = checked.findings
    var recomputed: Recomputation?
    // What cannot be read cannot be compared.
    let isReadable = findings.allSatisfy { [.note, .incomplete].contains($0.kind) }
    if let model, let recompute, isReadable, !checked.wasInterrupted {
      recomputed = try Recomputation(
        cache: CacheReader(path: checked.survey.folder.path, allowIncomplete: true),
        source: ModelSource(TransformerModel.load(path: model)), count: recompute, seed: seed,
        isInterrupted: { interruption.isRaised },
        progress: { line.update(fraction: Double($0) / Double($1), "\($0) of \($1) sequences recomputed") })
      findings = findings.merging(recomputed?.findings ?? [])
    }
    line.finish()
    let wasInterrupted = checked.wasInterrupted || recomputed?.wasInterrupted == true
    let gravest = findings.gravest
    let status = wasInterrupted ? ExitStatus.interrupted : gravest?.exitCode ?? 0
    if json {
      try printJSON(
        Output(
          cache: cache, outcome: wasInterrupted ? "interrupted" : status == 0 ? "fine" : gravest?.rawValue ?? "fine",
          level: level, shards: checked.nShards, frames: checked.nFrames, bytes: checked.bytes, findings: findings,
          recomputedSequences: recomputed?.sequences, recomputedStreams: recomputed?.streams,
          notRecomputed: recomputed?.notCompared))
    } else {
      for finding in findings { print(finding) }
      if let recomputed { report(recomputed) }
      if recompute != nil, recomputed == nil, !wasInterrupted {
        print("nothing was recomputed: mend first what is damaged")
      }
      let problems = findings.filter { $0.kind != .note }.count
      let isPartial = recomputed.map { !$0.notCompared.isEmpty } ?? false
      let nothing = isPartial ? "nothing is wrong with what was checked" : "nothing is wrong"
      let verdict = problems == 0 ? nothing : problems == 1 ? "1 problem" : "\(grouped(problems)) problems"
      let frames = level == .quick ? "" : ", \(grouped(checked.nFrames)) frames"
      print(
        "\(cache): \(wasInterrupted ? "interrupted; so far " : "")\(verdict) (\(level.rawValue): "
          + "\(grouped(checked.nShards)) shards\(frames), \(byteSize(checked.bytes)))")
    }
    if status != 0 { throw ExitCode(status) }
  }

  private func report(_ recomputed: Recomputation) {
    for stream in recomputed.streams where stream.values > 0 {
      let same = stream.equal == stream.values ? "all" : grouped(stream.equal)
      let scale = stream.dtype == "targets" ? "nats of log p" : "of the token's largest value"
      let error = String(format: "%.1e", stream.largestError)
      let rest = stream.equal == stream.values ? "" : "; largest error \(error) \(scale)"
      print(
        "recomputed: \(stream.name) (\(stream.dtype)): \(same) of \(grouped(stream.values)) values of "
          + "\(grouped(recomputed.sequences.count)) sequences are exactly the model's\(rest)")
    }
    for reason in recomputed.notCompared { print("not recomputed: \(reason)") }
  }

  private struct Output: Encodable {
    var cache, outcome: String
    var level: Verification.Level
    var shards, frames, bytes: Int
    var findings: [Finding]
    var recomputedSequences: [Int]?
    var recomputedStreams: [Recomputation.Stream]?
    var notRecomputed: [String]?
  }
}

extension Verification.Level: EnumerableFlag {}
