import ActCache
import Foundation
import Harvest

/// A small harvest into a scratch folder, as the real one would be: the same stages, queues, files and fsyncs.
package struct TrialHarvest {
  package struct Result {
    package let tokens: Int
    package let shards: Int
    package let bytes: Int
    package let seconds: Double
    /// "text", "model", "writer".
    package let lanes: [Lane]
    /// What it wrote; good while `folder` lives.
    package let cache: CacheReader
    package let folder: ScratchFolder

    package var tokensPerSecond: Double { Double(tokens) / seconds }
    package func lane(_ name: String) -> Lane { lanes.first { $0.name == name } ?? Lane(name) }
  }

  private let subject: Subject
  private let hooks: [String]
  private let dtype: String
  private let codec: String
  private let interrupt: InterruptFlag
  /// Shards of a trial: enough to see the stages wait for each other.
  static let nShards = 4

  package init(
    _ subject: Subject, hooks: [String], dtype: String = "bf16", codec: String = "zstd:1",
    interrupt: InterruptFlag = InterruptFlag()
  ) {
    self.subject = subject
    self.hooks = hooks
    self.dtype = dtype
    self.codec = codec
    self.interrupt = interrupt
  }

  /// Harvests about `tokens` tokens, or all of the text if it is shorter.
  /// - Throws: as `HarvestRun`; `MeasureError.interrupted`.
  package func run(tokens: Int) throws -> Result {
    guard let source = subject.source, let tokenizer = subject.tokenizer, let model = subject.modelPath else {
      throw MeasureError.invalid("a harvest needs a model; add --model")
    }
    let folder = try subject.scratch()
    let wanted = max(1, tokens / subject.context) * subject.context
    var configuration = HarvestConfiguration()
    configuration.model = model
    configuration.corpora = try subject.text(nTokens: wanted, in: folder)
    configuration.hooks = hooks
    configuration.context = subject.context
    configuration.out = folder.path + "/cache"
    configuration.tokens = wanted
    configuration.dtype = dtype
    configuration.codec = codec
    configuration.shardTokens = max(subject.context, wanted / TrialHarvest.nShards)
    configuration.heldOutFraction = 0
    let start = ContinuousClock.now
    let outcome = try HarvestRun(configuration, source: source, tokenizer: tokenizer).run(
      interrupt: interrupt, keepsSpans: true)
    let seconds = (ContinuousClock.now - start) / .seconds(1)
    guard case .finished(let summary) = outcome else { throw MeasureError.interrupted }
    return Result(
      tokens: summary.nNewTokens, shards: summary.nNewShards, bytes: summary.bytesWritten, seconds: seconds,
      lanes: summary.lanes, cache: try CacheReader(path: configuration.out), folder: folder)
  }

  /// How many tokens take about `seconds`, from a harvest of a few batches that warms everything up.
  package func tokens(forSeconds seconds: Double, atLeast least: Int = 0) throws -> Int {
    let probe = try run(tokens: max(8192, subject.context))
    let wanted = min(1 << 20, Int(probe.tokensPerSecond * seconds))
    return max(max(wanted, least) / subject.context * subject.context, subject.context)
  }
}
