import Foundation
import LinearAlgebra
import Memory
import TestSupport
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
    let file = try Self.environment["ACTCACHE_SPEED_IDS"].map { try MappedFile(path: $0) }
    let repeats = number("ACTCACHE_SPEED_REPEATS", 5)
    Threads.count = number("ACTCACHE_SPEED_THREADS", 2)
    let c = model.configuration
    // Ids from a file of u16, or any ids.
    var ids: [UInt32]
    switch file {
    case .some(let file):
      ids = file.withBytes { bytes in
        stride(from: 0, to: bytes.byteCount - 1, by: 2).map { UInt32(bytes.integer(at: $0, as: UInt16.self)) }
      }
    case .none:
      var random = SeededGenerator(seed: 1)
      ids = (0..<number("ACTCACHE_SPEED_SEQUENCES", 16) * nPositions).map { _ in
        UInt32.random(in: 0..<UInt32(c.dVocab), using: &random)
      }
    }
    let nSequences = ids.count / nPositions
    ids.removeLast(ids.count - nSequences * nPositions)
    let batch = TokenBatch(ids: ids, nSequences: nSequences, nPositions: nPositions)
    let targets = batch.nextTokens
    let workspace = ForwardWorkspace()
    let middle = HookPoint.block(c.nLayers / 2, .residPre)
    /// Tokens per second of wall time and of processor time (of all threads): the second does not suffer from
    /// others on the machine.
    func best(_ body: () throws -> Void) rethrows -> [Double] {
      try body()
      var (wall, processor) = (Double.infinity, Double.infinity)
      for _ in 0..<repeats {
        let start = (ContinuousClock.now, clock())
        try body()
        wall = min(wall, (ContinuousClock.now - start.0) / .seconds(1))
        processor = min(processor, Double(clock() - start.1) / 1e6)
      }
      return [Double(ids.count) / wall, Double(ids.count) / processor]
    }
    var losses: [Float] = []
    let toLoss = try best {
      try model.forward(batch, wantsFinalState: true, workspace: workspace)
      losses = try model.crossEntropy(workspace.finalState, targets: targets, scratch: workspace.unembedding)
    }
    let toFinal = try best { try model.forward(batch, wantsFinalState: true, workspace: workspace) }
    let toHook = try best { try model.forward(batch, hooks: [middle], workspace: workspace) }
    let loss = losses.map(Double.init).reduce(0, +) / Double(nSequences * (nPositions - 1))
    print(
      "speed: {\"crossEntropy\": \(loss), \"loss\": \(toLoss), \"final\": \(toFinal), \"hook\": \(toHook), \"blas\": \"\(BLASLibrary.coreName)\"}"
    )
  }
}
