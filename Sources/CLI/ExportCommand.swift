import ActCache
import ArgumentParser
import Report

struct ExportCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "export",
    abstract: "Copy activations or tokens of a range of sequences into a numpy or safetensors file.",
    discussion: """
      Writes [sequences, context, width], unscaled, zero where a sequence has padding; of --tokens without --hook \
      [sequences, context]. Beside it go the numbers of the \
      sequences and which of them are held out (never train on those; --training-only leaves them out): in safetensors \
      as tensors of the same file, for npy as NAME.sequences.npy and NAME.held_out.npy. Of a harvest that is not finished, \
      --sequences gives what is there, all marked as held out: which will be is not decided yet.
      """)

  enum Values: String, CaseIterable, ExpressibleByArgument { case f32, native }

  @Argument(help: "The cache's folder.") var cache: String
  @Option(help: "The hook point; hidden for the final hidden states of that logit policy.") var hook: String?
  @Option(help: "a-b: sequences from a up to but not including b, as in the names of shards; by default all.")
  var sequences: String?
  @Option(help: "npy or safetensors.") var to: SequenceExport.Format
  @Option(help: "The file to write.") var out: String
  @Option(help: "Generation of a cache that has grown; by default the newest.") var generation: Int?
  @Flag(help: "Token ids and lengths; without --hook nothing else.") var tokens = false
  @Option(help: "f32, or native: bf16 (safetensors only) and f16 as they are stored.") var dtype = Values.f32
  @Flag(help: "Leave held-out sequences out.") var trainingOnly = false
  @Flag(help: "Print one JSON object.") var json = false

  func run() throws {
    var settings = SequenceExport.Configuration()
    settings.hook = hook
    settings.sequences = sequences
    settings.format = to
    settings.out = out
    settings.tokens = tokens
    settings.native = dtype == .native
    settings.trainingOnly = trainingOnly
    let export = try SequenceExport(
      settings, cache: CacheReader(path: CacheFolder(cache).path, generation: generation, allowIncomplete: true))
    let line = ProgressLine(quiet: json)
    let interruption = Interruption()
    let summary = try export.write(
      isInterrupted: { interruption.isRaised },
      progress: { line.update(fraction: Double($0) / Double($1), "\(grouped($0)) of \(grouped($1)) sequences") })
    line.finish()
    if summary.wasInterrupted {
      printError("\(out): interrupted; nothing was written under this name")
      throw ExitCode(ExitStatus.interrupted)
    }
    if !summary.heldOut.isEmpty {
      let first = summary.heldOut.prefix(8).map(String.init).joined(separator: ", ")
      printError(
        "note: \(grouped(summary.heldOut.count)) of these sequences are held out (\(first)"
          + "\(summary.heldOut.count > 8 ? ", …" : "")): not for training; --training-only leaves them out")
    }
    if json { return try printJSON(summary) }
    print(
      "\(summary.files.joined(separator: "\n"))\n\(summary.shape.map(String.init).joined(separator: " × ")) "
        + "\(summary.dtype), \(byteSize(summary.bytes))")
  }
}

extension SequenceExport.Format: ExpressibleByArgument {}
