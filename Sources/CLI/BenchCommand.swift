import ActCache
import ArgumentParser
import Foundation
import Harvest
import LinearAlgebra
import Measure
import Memory
import Report
import SAE
import Train

struct BenchCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bench", abstract: "Measure this machine on ActCache's own work: the disk or the arithmetic?",
    discussion: "Without a subcommand, all that applies to the cache and the model given.",
    subcommands: [
      BenchAllCommand.self, BenchCodecCommand.self, BenchReadCommand.self, BenchHarvestCommand.self,
      BenchTrainCommand.self, BenchLiveCommand.self, BenchTokenizeCommand.self, BenchForwardCommand.self,
    ], defaultSubcommand: BenchAllCommand.self)
}

/// What is measured, and where the result goes; for all of `bench` but tokenize and forward.
struct BenchOptions: ParsableArguments {
  @Option(help: "A cache.") var cache: String?
  @Option(help: "A model: a folder, or a .gguf file; the one that made the cache, if there is one.") var model: String?
  @Option(help: "Tokenizer folder or file; by default the model's own.") var tokenizer: String?
  @Option(
    parsing: .upToNextOption, help: "Text to harvest; by default what the cache's tokens say, or the embedded stories.")
  var corpus: [String] = []
  @Option(help: "Hook point; by default the cache's first, or the middle of the model.") var hook: String?
  @Option(help: "Tokens per sequence; by default the cache's, or 128.") var context: Int?
  @Option(help: "Existing folder for what is written only to be measured; by default beside the cache.")
  var scratch: String?
  @OptionGroup var threads: ThreadsOption
  @Flag(help: "Print one JSON object.") var json = false
  @Option(help: "Also draw a picture of who waits for whom: a .svg or .html file.") var out: String?

  func validate() throws {
    if let out, !out.hasSuffix(".svg"), !out.hasSuffix(".html") {
      throw ValidationError("--out \(out): a name that ends in .svg or .html")
    }
    if let context, !(1...1 << 20).contains(context) {
      throw ValidationError("--context \(context): allowed are 1 to 1,048,576")
    }
  }

  /// The cache and the model given; without either the embedded model, where the program runs in its package.
  func subject() throws -> Subject {
    let isNeither = cache == nil && model == nil
    if isNeither, !FileManager.default.fileExists(atPath: Subject.demoModel) {
      throw ValidationError("give --cache, --model or both; there is no \(Subject.demoModel) here to fall back on")
    }
    let subject = try Subject(
      cache: cache, model: isNeither ? Subject.demoModel : model, tokenizer: tokenizer, corpora: corpus,
      context: context,
      scratch: scratch)
    if hook == nil, let nHooks = subject.cache?.manifest.hooks.count, nHooks > 1 {
      printError(
        "note: measured on \(try subject.hook(nil)), the first of the cache's \(nHooks) hooks; --hook names another")
    }
    return subject
  }

  /// A cache to read: the one given, or one harvested from the model into a scratch folder, which lives as long as the
  /// second value.
  func readable(_ subject: Subject, _ hook: String, tokens: Int, _ flag: InterruptFlag) throws -> (
    path: String, holder: ScratchFolder?
  ) {
    if let cache { return (cache, nil) }
    let trial = try TrialHarvest(subject, hooks: [hook], interrupt: flag).run(tokens: tokens)
    return (trial.cache.path, trial.folder)
  }

  func print(_ report: BenchReport) throws {
    if json { try printJSON(report) } else { Swift.print(report.text) }
    guard let out else { return }
    let picture = report.picture
    try DurableFile.write(Array((out.hasSuffix(".html") ? picture.html : picture.svg).utf8), to: out)
    if !json { Swift.print("\npicture: \(out)") }
  }
}

/// The SAE whose steps are timed on a cache.
struct BenchSAEOptions: ParsableArguments {
  @Option(help: "topk, batchtopk, matryoshka, relu, jumprelu, gated, panneal, deep, tied or rica.") var arch =
    SAEConfiguration
    .Architecture.topk
  @Option(help: "Number of latents, or a multiple of the width such as 8x; 24,576 on synthetic data.")
  var latents: String?
  @Option(help: "topk, batchtopk, matryoshka: active latents per token.") var k = 32
  @Option(help: "relu, tied, rica, gated, panneal: λ of the L1 penalty.") var l1: Float = 1
  @Option(
    help: "Active latents per token at the start, as a trained SAE has them; by default what random weights give.")
  var startL0: Double?
  @Option(help: "Tokens per step.") var batch = 4096

  func validate() throws {
    guard (1...1 << 20).contains(batch) else {
      throw ValidationError("--batch \(batch): allowed are 1 to 1,048,576")
    }
    guard startL0.map({ $0 > 0 }) ?? true else {
      throw ValidationError("--start-l0 \(startL0 ?? 0): it must be above 0")
    }
  }

  func configuration(width: Int, latents standard: String) throws -> SAEConfiguration {
    var settings = TrainConfiguration.defaults
    settings.latents = latents ?? standard
    var configuration = SAEConfiguration(
      architecture: arch, dIn: width, dSAE: try settings.latentCount(width: width), k: k, l1: l1)
    if arch == .deep { (configuration.deep.encoder, configuration.deep.decoder) = ([width], [width]) }
    return configuration
  }
}

extension SAEConfiguration.Architecture: ExpressibleByArgument {}
extension SAEConfiguration.Sparsity: ExpressibleByArgument {}
