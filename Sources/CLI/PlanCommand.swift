import ActCache
import ArgumentParser
import Foundation
import Harvest
import Measure
import Train

struct PlanCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "plan", abstract: "Say what a cache for some training would take, and whether it pays.",
    discussion: """
      Measures on this machine: a small harvest beside the cache, training steps, the model in the loop. Writes nothing \
      that stays.
      """)

  @Option(help: "Training configuration: YAML with the names of train's options.") var config: String
  @Option(help: "The model, to measure a harvest and training without a cache.") var model: String?
  @Option(help: "Tokenizer folder or file; by default the model's own.") var tokenizer: String?
  @Option(
    parsing: .upToNextOption, help: "Text to try; by default what the cache's tokens say, or the embedded stories.")
  var corpus: [String] = []
  @Option(help: "Tokens that the cache is to have; by default what it has, or those of one run.") var harvestTokens:
    Int?
  @Option(help: "How many such runs.") var runs: Int?
  @Flag(help: "Values of the configuration that are lists span a grid of runs.") var sweep = false
  @Option(help: "Tokens per sequence; by default the cache's, or 128.") var context: Int?
  @Option(help: "How activations would be stored: \(StorageType.allowed).") var dtype = "bf16"
  @Option(help: "Compression, \(ShardCodec.allowed).") var codec = "zstd:1"
  @Option(help: "Existing folder for what is written only to be measured; by default beside the cache.")
  var scratch: String?
  @OptionGroup var threads: ThreadsOption
  @Flag(help: "Print one JSON object.") var json = false

  func validate() throws {
    if let runs, !(1...SweepGrid.maxRuns).contains(runs) {
      throw ValidationError("--runs \(runs): allowed are 1 to \(SweepGrid.maxRuns)")
    }
    if runs != nil && sweep { throw ValidationError("--runs and --sweep both say how many runs; give one") }
    if let context, !(1...1 << 20).contains(context) {
      throw ValidationError("--context \(context): allowed are 1 to 1,048,576")
    }
  }

  func run() throws {
    threads.apply()
    guard let text = FileManager.default.contents(atPath: config) else {
      throw TrainError.missing("\(config): no such file; check --config")
    }
    let yaml = String(decoding: text, as: UTF8.self)
    let all =
      sweep
      ? try SweepGrid(yaml: yaml, path: config).members.map(\.configuration)
      : Array(repeating: try TrainConfiguration(yaml: yaml, path: config), count: runs ?? 1)
    guard let path = all.first?.cache, !path.isEmpty, all.allSatisfy({ $0.cache == path }) else {
      throw ValidationError("\(config): names no cache, or several; give one, which need not exist")
    }
    let isThere = FileManager.default.fileExists(atPath: path + "/receipts")
    if !isThere && model == nil {
      throw ValidationError("\(path): no cache there yet; add --model to measure what it takes")
    }
    let subject = try Subject(
      cache: isThere ? path : nil, model: model, tokenizer: tokenizer, corpora: corpus, context: context,
      scratch: scratch ?? Subject.nearestFolder(beside: path))
    let plan = try Planner(
      all, subject, harvestTokens: harvestTokens, dtype: dtype, codec: codec, interrupt: Interruption().flag
    ).run()
    if json { try printJSON(plan) } else { print(plan.text) }
  }
}
