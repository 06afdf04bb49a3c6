import ArgumentParser
import Harvest
import LinearAlgebra
import Memory
import Report
import Tokenizer
import Transformer

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
      \(line("from there to the final state", result.fromMiddle))
      \(line("the same and its gradients back", result.fromMiddleAndBack))
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
