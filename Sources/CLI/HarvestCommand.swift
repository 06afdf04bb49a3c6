import ActCache
import ArgumentParser
import Foundation
import Harvest
import LinearAlgebra
import Report
import Transformer

struct HarvestCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "harvest", abstract: "Run a model over text and write its activations to a cache.",
    discussion: """
      The same command continues an interrupted harvest and does nothing on a complete one. With more text, other hooks \
      or policies it adds what is missing.
      """)

  @Option(help: "Model: a folder with config.json and safetensors, or a .gguf file.") var model: String
  @Option(help: "Tokenizer folder or file; by default the model's own.") var tokenizer: String?
  @Option(
    parsing: .upToNextOption,
    help: """
      Text: .txt, .jsonl (each also .gz, .zst), .bin (u16 ids), or - for standard input; none: the text that the cache \
      has already, to add hooks.
      """)
  var corpus: [String] = []
  @Option(
    parsing: .upToNextOption,
    help: "TransformerLens hook points, such as blocks.3.hook_resid_post; by default those that the cache has.")
  var hook: [String] = []
  @Option(help: "Folder of the cache.") var out: String
  @Option(help: "Tokens per sequence.") var context = 128
  @Option(help: "Tokens to harvest; by default all of the text.") var tokens: Int?
  @Option(help: "How activations are stored: \(StorageType.allowed).") var dtype = "bf16"
  @Flag(help: "f16: bring values beyond ±65,504 to it instead of stopping; they are counted.") var saturate = false
  @Option(help: "Compression, \(ShardCodec.allowed); higher levels gain nothing.") var codec = "zstd:1"
  @Option(
    parsing: .upToNextOption,
    help:
      "Teacher logits to keep: \(LogitPolicy.allowed); several at once. Without --hook by default those of the cache.")
  var logits = ["none"]
  @Option(help: "Tokens per shard, the most that an interruption loses.") var shardTokens: Int?
  @Option(
    help: """
      I/N: this process harvests every N-th shard from the I-th on (0 ≤ I < N); by default what Slurm, Kubernetes, MPI or \
      torchrun say, see docs/cluster.md.
      """)
  var worker: String?
  @Option(help: "Decides which sequences are held out; by default 0.") var seed: UInt64?
  @Flag(inversion: .prefixedNo, help: "Begin sequences with BOS; by default as the tokenizer says.") var bos: Bool?
  @Option(help: "concatenate documents, or none: one document per sequence, padded.") var pack = "concatenate"
  @Option(help: "What parts documents in .txt files.") var separator = "<|endoftext|>"
  @Option(help: "The member of a .jsonl line that holds its text.") var textField = "text"
  @Option(help: "Share of the sequences that is kept from training; by default 0.02.") var heldOut: Double?
  @OptionGroup var threads: ThreadsOption
  @Flag(help: "Print one JSON object.") var json = false

  private var settings: HarvestConfiguration {
    var settings = HarvestConfiguration()
    settings.model = model
    settings.corpora = corpus
    settings.hooks = hook
    settings.out = out
    settings.context = context
    settings.tokens = tokens
    settings.dtype = dtype
    settings.codec = codec
    settings.saturate = saturate
    settings.logits = logits
    settings.shardTokens = shardTokens
    settings.worker = worker
    settings.seed = seed
    settings.bos = bos
    settings.pack = pack
    settings.separator = separator
    settings.textField = textField
    settings.heldOutFraction = heldOut
    return settings
  }

  func run() throws {
    threads.apply()
    try settings.validate()
    let environment = ProcessInfo.processInfo.environment
    let worker = try WorkerAssignment(option: worker, environment: environment)
    if worker.origin != nil { printError("\(worker)") }
    let run = try HarvestRun(
      settings, source: ModelSource(TransformerModel.load(path: model)),
      tokenizer: ModelTokenizer.load(model: tokenizer ?? model), environment: environment)
    let line = ProgressLine(quiet: json)
    let interruption = Interruption()
    let outcome = try run.run(
      interrupt: interruption.flag,
      notice: { notice in
        line.finish()
        printError(notice)
      },
      progress: { progress in
        let left = progress.secondsLeft.map { ", \(duration($0)) left" } ?? ""
        line.update(
          fraction: progress.fraction,
          progress.nNewTokens == 0
            ? "\(progress.phase.rawValue) \(grouped(progress.nTokens)) tokens"
            : "\(progress.phase.rawValue) \(grouped(progress.nTokens)) tokens, "
              + "\(grouped(Int(progress.tokensPerSecond))) tokens/s, \(byteSize(progress.bytesWritten)) written\(left)")
      })
    line.finish()
    try report(outcome)
  }

  private struct Output: Encodable {
    var cache, outcome: String
    var sequences, tokens, newTokens, bytesWritten: Int
    var seconds, tokensPerSecond: Double
  }

  private func report(_ outcome: HarvestRun.Outcome) throws {
    let (word, summary, sentence): (String, HarvestRun.Summary, String) =
      switch outcome {
      case .finished(let summary): ("finished", summary, "complete")
      case .alreadyComplete(let summary): ("alreadyComplete", summary, "was complete before; nothing to do")
      case .workerDone(let summary): ("workerDone", summary, "this worker's shards are there; others are missing")
      case .interrupted(let summary):
        ("interrupted", summary, "interrupted; what is committed stays, the same command continues")
      }
    let rate = summary.seconds > 0 ? Double(summary.nNewTokens) / summary.seconds : 0
    if json {
      try printJSON(
        Output(
          cache: out, outcome: word, sequences: summary.nSequences, tokens: summary.nTokens,
          newTokens: summary.nNewTokens, bytesWritten: summary.bytesWritten, seconds: summary.seconds,
          tokensPerSecond: rate))
    } else {
      print("\(out): \(sentence)")
      print(
        "\(grouped(summary.nSequences)) sequences, \(grouped(summary.nTokens)) tokens; new: "
          + "\(grouped(summary.nNewTokens)) tokens in \(duration(summary.seconds)) (\(grouped(Int(rate))) tokens/s), "
          + "\(byteSize(summary.bytesWritten)) in \(summary.nNewShards) shards")
      // An interrupted run has not counted its text to the end.
      if outcome != .interrupted(summary) {
        print(summary.counts.sentence)
      }
    }
    if case .interrupted = outcome { throw ExitCode(ExitStatus.interrupted) }
  }
}
