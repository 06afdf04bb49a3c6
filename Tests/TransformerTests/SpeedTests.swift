import Foundation
import LinearAlgebra
import Testing
import Transformer

/// Times forward passes for `scripts/peer_transformer.py`, which sets the variables and compares.
@Suite struct SpeedTests {
  private static let environment = ProcessInfo.processInfo.environment

  private func number(_ name: String, _ standard: Int) -> Int { Self.environment[name].flatMap { Int($0) } ?? standard }

  @Test(.enabled(if: environment["ACTCACHE_SPEED_MODEL"] != nil))
  func forwardTokensPerSecond() throws {
    BLASLibrary.useOneThread()
    let model = try TransformerModel.load(path: #require(Self.environment["ACTCACHE_SPEED_MODEL"]))
    let nPositions = number("ACTCACHE_SPEED_CONTEXT", 256)
    let nSequences = number("ACTCACHE_SPEED_SEQUENCES", 16)
    let repeats = number("ACTCACHE_SPEED_REPEATS", 5)
    Threads.count = number("ACTCACHE_SPEED_THREADS", 2)
    let c = model.configuration
    var state: UInt32 = 1
    let ids = (0..<nSequences * nPositions).map { _ in
      state = state &* 1_664_525 &+ 1_013_904_223
      return state % UInt32(c.dVocab)
    }
    let batch = TokenBatch(ids: ids, nSequences: nSequences, nPositions: nPositions)
    let targets = batch.nextTokens
    let workspace = ForwardWorkspace()
    let middle = HookPoint.block(c.nLayers / 2, .residPre)
    func median(_ body: () throws -> Void) rethrows -> Double {
      try body()
      var times: [Double] = []
      for _ in 0..<repeats {
        let start = ContinuousClock.now
        try body()
        times.append((ContinuousClock.now - start) / .seconds(1))
      }
      return Double(ids.count) / times.sorted()[repeats / 2]
    }
    let toLoss = try median {
      try model.forward(batch, wantsFinalState: true, workspace: workspace)
      _ = try model.crossEntropy(workspace.finalState, targets: targets, scratch: workspace.unembedding)
    }
    let toFinal = try median { try model.forward(batch, wantsFinalState: true, workspace: workspace) }
    let toHook = try median { try model.forward(batch, hooks: [middle], workspace: workspace) }
    print(
      "speed: {\"loss\": \(toLoss), \"final\": \(toFinal), \"hook\": \(toHook), \"blas\": \"\(BLASLibrary.coreName)\"}")
  }
}
