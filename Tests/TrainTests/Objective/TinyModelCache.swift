import ActCache
import Foundation
import Harvest
import TestSupport
import Train
import Transformer

/// A cache of one of the small random models that the forward pass is tested with, of random text.
final class TinyModelCache {
  static let context = 8
  let folder: TemporaryFolder
  let model: String
  private(set) var logits: [String]

  var path: String { folder.path + "/cache" }
  var reader: CacheReader { get throws { try CacheReader(path: path) } }

  /// - Parameters:
  ///   - fixture: a folder of `Tests/TransformerTests/Fixtures`.
  ///   - isPadded: sequences are documents of a BOS token and 4 to 9 letters, cut off or padded.
  init(
    _ fixture: String = "gpt-neo", hooks: [String], logits: [String] = [], dtype: String = "f32",
    isPadded: Bool = false
  ) throws {
    folder = try TemporaryFolder()
    model = SharedInputs.packageRoot.appendingPathComponent("Tests/TransformerTests/Fixtures/\(fixture)").path
    self.logits = logits
    var generator = SeededGenerator(seed: 3)
    var text: [UInt8] = []
    if isPadded {
      for _ in 0..<187 {
        for _ in 0..<Int.random(in: 4...9, using: &generator) {
          text.append(UInt8.random(in: 0x61...0x7A, using: &generator))
        }
        text += "<|endoftext|>".utf8
      }
    } else {
      text = (0..<1500).map { _ in UInt8.random(in: 0x61...0x7A, using: &generator) }
    }
    try Data(text).write(to: URL(fileURLWithPath: folder.path + "/text.txt"))
    try harvest(hooks, corpora: [folder.path + "/text.txt"], logits: logits, dtype: dtype, isPadded: isPadded)
  }

  private func harvest(
    _ hooks: [String], corpora: [String], logits: [String], dtype: String, isPadded: Bool
  ) throws {
    var configuration = HarvestConfiguration()
    configuration.model = model
    configuration.corpora = corpora
    configuration.hooks = hooks
    configuration.logits = logits
    configuration.context = Self.context
    configuration.out = path
    configuration.dtype = dtype
    if isPadded { (configuration.pack, configuration.bos) = ("none", true) }
    let source = ModelSource(try TransformerModel.load(path: model))
    let run = try HarvestRun(configuration, source: source, tokenizer: LetterTokenizer(), minFrameBytes: 4096)
    guard case .finished = try run.run() else { throw CocoaError(.coderInvalidValue) }
  }

  /// A run on this cache, at `hook`, in a folder of its own.
  func configuration(_ objective: String, hook: String, out: String = "run") -> TrainConfiguration {
    var configuration = TrainConfiguration(cache: path, hook: hook, out: "\(folder.path)/\(out)")
    configuration.objective = objective
    configuration.model = objective == "local" ? nil : model
    configuration.latents = "3x"
    configuration.batch = 4 * Self.context
    configuration.tokens = 10 * configuration.batch
    configuration.lr = 3e-3
    configuration.logSteps = 1
    configuration.checkpointSteps = 3
    return configuration
  }
}

/// One token per letter.
private struct LetterTokenizer: TextTokenizer {
  let bosID: UInt32? = 1
  let eosID: UInt32? = 30
  let addsBOS = false
  let digest = "letters"

  func makeEncoder() -> (ArraySlice<UInt8>, inout [UInt32]) -> Void {
    { text, ids in ids += text.map { UInt32($0) % 31 } }
  }
}
