import ActCache
import Harvest
import LinearAlgebra

/// Harvests a little text several times and says where the time went.
package struct HarvestBenchmark {
  package struct Result: Codable, Sendable {
    package var hooks: [String]
    package var context, tokens, shards, threads: Int
    package var dtype, codec: String
    package var bytes: Int
    package var tokensPerSecond: Spread
    /// Of the run in the middle: "text", "model", "writer".
    package var lanes: [Lane]
    package var verdict: String
  }

  private let subject: Subject
  private let hooks: [String]
  private let dtype: String
  private let codec: String
  private let tokens: Int?
  private let interrupt: InterruptFlag

  /// - Parameter tokens: of each run; nil for about two seconds' worth.
  package init(
    _ subject: Subject, hooks: [String], dtype: String = "bf16", codec: String = "zstd:1", tokens: Int? = nil,
    interrupt: InterruptFlag = InterruptFlag()
  ) {
    self.subject = subject
    self.hooks = hooks
    self.dtype = dtype
    self.codec = codec
    self.tokens = tokens
    self.interrupt = interrupt
  }

  package func run() throws -> Result {
    let trial = TrialHarvest(subject, hooks: hooks, dtype: dtype, codec: codec, interrupt: interrupt)
    let tokens = try self.tokens ?? trial.tokens(forSeconds: 2)
    var runs = try (0..<Spread.leastRepeats).map { _ in try trial.run(tokens: tokens) }
    runs.sort { $0.tokensPerSecond < $1.tokensPerSecond }
    let middle = runs[runs.count / 2]
    return Result(
      hooks: hooks, context: subject.context, tokens: middle.tokens, shards: middle.shards, threads: Threads.count,
      dtype: dtype, codec: codec, bytes: middle.bytes,
      tokensPerSecond: Spread(runs.map(\.tokensPerSecond), seconds: runs.reduce(0) { $0 + $1.seconds }),
      lanes: middle.lanes, verdict: Verdict.pipeline(middle.lanes))
  }
}
