import ArgumentParser
import Foundation
import Harvest
import LinearAlgebra
import Memory
import Report
import SAE
import Tokenizer
import Train
import Transformer

struct BenchCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bench", abstract: "Measure this machine on ActCache's own work.",
    subcommands: [BenchTokenizeCommand.self, BenchForwardCommand.self, BenchTrainCommand.self])
}

struct BenchTrainCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "train", abstract: "Time training steps on synthetic activations.")

  @Option(help: "topk or relu.") var arch = SAEConfiguration.Architecture.topk
  @Option(help: "Width of the activations.") var d = 768
  @Option(help: "Number of latents.") var latents = 24_576
  @Option(help: "topk: active latents per token.") var k = 32
  @Option(help: "relu: λ of the L1 penalty.") var l1: Float = 1
  @Option(help: "Tokens per step.") var batch = 4096
  @Option(help: "Steps to time, after two that are not counted.") var steps = 8
  @OptionGroup var threads: ThreadsOption
  @Flag(help: "Print one JSON object.") var json = false

  func run() throws {
    threads.apply()
    guard (1...1 << 20).contains(batch), (1...10_000).contains(steps) else {
      throw ValidationError("--batch \(batch) --steps \(steps): allowed are 1 to 1,048,576 and 1 to 10,000")
    }
    let configuration = SAEConfiguration(architecture: arch, dIn: d, dSAE: latents, k: k, l1: l1)
    let result = try TrainBenchmark(configuration, batch: batch, steps: steps).run()
    if json { return try printJSON(result) }
    print(
      """
      \(arch.rawValue), d \(d), \(latents) latents, k \(k), batch \(batch), \(result.threads) threads, \
      OpenBLAS \(BLASLibrary.coreName)
      \(Int(result.tokensPerSecond)) tokens/s; \(fixed(result.medianSecondsPerStep * 1e3, 1)) ms/step \
      (\(fixed(result.minSecondsPerStep * 1e3, 1)) to \(fixed(result.maxSecondsPerStep * 1e3, 1)) of \(steps)); \
      L0 \(fixed(result.l0, 1)); encoder's share of arithmetic \(Int(result.encoderGFLOPs)) GFLOP/s
      """)
  }
}

struct BenchForwardCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "forward", abstract: "Time the forward pass of a model.",
    discussion: "scripts/peer_transformer.py times Hugging Face transformers beside it.")

  @Option(help: "Model: a folder, or a .gguf file.") var model: String
  @Option(help: "Tokens per sequence.") var context = 256
  @Option(help: "Sequences per pass.") var sequences = 16
  @Option(help: "Passes to time, after one that is not counted; the best counts.") var repeats = 3
  @OptionGroup var threads: ThreadsOption
  @Flag(help: "Print one JSON object.") var json = false

  func run() throws {
    threads.apply()
    guard (1...1 << 20).contains(context), (1...1 << 16).contains(sequences) else {
      throw ValidationError("--context \(context) --sequences \(sequences): allowed are 1 to 1,048,576 and 1 to 65,536")
    }
    let result = try ForwardBenchmark(
      TransformerModel.load(path: model), context: context, sequences: sequences, repeats: repeats
    ).run()
    if json { return try printJSON(result) }
    func line(_ name: String, _ rate: ForwardBenchmark.Rate) -> String {
      "\(name)  \(grouped(Int(rate.wall))) tokens/s (\(grouped(Int(rate.processor))) per second of processor time)"
    }
    print(
      """
      \(result.sequences) sequences of \(result.context), \(result.threads) threads, OpenBLAS \(result.blasCore)
      \(line("to the loss       ", result.loss))
      \(line("to the final state", result.finalState))
      \(line("to the middle hook", result.middleHook))
      """)
  }
}

struct BenchTokenizeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "tokenize", abstract: "Time the tokenizer on a text.",
    discussion: "scripts/check_tokenizer.py times Hugging Face tokenizers, and compares ids.")

  @Option(help: "Tokenizer or model: a folder, a tokenizer.json or a .gguf file.") var tokenizer: String
  @Option(help: "Text file.") var text: String
  @Option(help: "What parts its documents.") var separator = "<|endoftext|>"
  @Option(help: "Runs; the best counts.") var repeats = 5
  @OptionGroup var threads: ThreadsOption
  @Flag(help: "Print one JSON object.") var json = false

  func run() throws {
    threads.apply()
    guard !separator.isEmpty else {
      throw ValidationError("--separator is empty; give a text of at least one character")
    }
    let bytes = try MappedFile(path: text).copyOfBytes()
    if let offset = UTF8Text.firstError(in: bytes) { throw TokenizerError.invalidUTF8(offset: offset) }
    let documents = bytes.split(separator: Array(separator.utf8)).map { Array($0) }
    let result = TokenizerBenchmark.run(
      try ModelTokenizer.load(model: tokenizer).tokenizer, documents, threads: Threads.count,
      repeats: repeats)
    if json { return try printJSON(result) }
    print(
      "\(grouped(result.documents)) documents, \(byteSize(result.bytes)), \(grouped(result.ids)) tokens: "
        + "\(fixed(result.singleThread, 1)) MB/s on one thread, \(fixed(result.allThreads, 1)) on \(result.threads)")
  }
}

extension SAEConfiguration.Architecture: ExpressibleByArgument {}
