#if !DEBUG
  import Foundation
  import LinearAlgebra
  import TestSupport
  import Testing

  /// Rates on a tile of a large vocabulary, printed; `scripts/peer_targets.py` has PyTorch's. Each asserts only what a
  /// slow, busy machine reaches too.
  @Suite(.serialized) struct LogitTargetsSpeedTests {
    private static let nTokens = 4096

    /// 256 rows of 50,257 logits, as a language model's: a few tokens far above the rest.
    private static func tile() -> Matrix {
      var random = SeededGenerator(seed: 1)
      let values = (0..<256 * 50_257).map { _ in
        let u = Float.random(in: 0.0001...1, using: &random)
        return -1.5 * log(u) + Float.random(in: -1...1, using: &random)
      }
      return Matrix(256, 50_257, values)
    }

    @Test func selectingTargets() {
      let logits = Self.tile()
      let scratch = TargetScratch()
      func report(_ name: String, _ body: () -> Void) -> Double {
        body()
        var times: [Double] = []
        for _ in 0..<5 {
          let clock = ContinuousClock()
          let time = clock.measure { for _ in 0..<Self.nTokens / 256 { body() } }
          times.append(Double(time.components.attoseconds) / 1e18 + Double(time.components.seconds))
        }
        times.sort()
        let rate = Double(Self.nTokens) / times[2]
        print(
          "\(name): \(Int(rate)) tokens/s (\(Int(1e3 * times[0]))...\(Int(1e3 * times[4])) ms for \(Self.nTokens), "
            + "\(Threads.count) threads)")
        return rate
      }
      let selections: [TargetSelection] = [
        .topK(64), .topK(1024), .topK(4096), .mass(0.5, cap: 1024), .mass(0.01, cap: 1024),
      ]
      for selection in selections {
        let rate = report("\(selection)") { _ = selectTargets(logits.strip, selection, scratch: scratch) }
        #expect(rate > 100)
      }
      #expect(report("logSumExps") { _ = logSumExps(logits.strip) } > 100)
    }
  }
#endif
