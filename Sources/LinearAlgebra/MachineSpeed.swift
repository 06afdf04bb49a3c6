/// The two rates that bound everything else, measured in about a second.
package enum MachineSpeed {
  /// GFLOP/s of `gemm` on `Threads.count` threads: the best of five products 2048×2048×768, after one.
  package static func gemmGFLOPs() -> Double {
    let a = Matrix(2048, 768, repeating: 0.5)
    let b = Matrix(2048, 768, repeating: 0.25)
    var c = Matrix(2048, 2048)
    return best(of: 5) { gemm(a, b, into: &c, transposeB: true) } * 2 * 2048 * 2048 * 768 / 1e9
  }

  /// GB/s of copying 256 MB, bytes read and bytes written both counted: the best of five, after one.
  package static func copyGBs() -> Double {
    let source = Matrix(1 << 13, 1 << 13, repeating: 1)
    var target = Matrix(1 << 13, 1 << 13)
    let rows = 1 << 8
    return best(of: 5) {
      let (from, to) = (source.base, target.base)
      Threads.forEachRange(1 << 13, grain: rows) { range in
        (to + (range.lowerBound << 13)).update(from: from + (range.lowerBound << 13), count: range.count << 13)
      }
      target[0, 0] = 1
    } * Double(2 * source.count * 4) / 1e9
  }

  /// Runs per second of the fastest.
  private static func best(of runs: Int, _ body: () -> Void) -> Double {
    body()
    var least = Double.infinity
    for _ in 0..<runs {
      let start = ContinuousClock.now
      body()
      least = min(least, (ContinuousClock.now - start) / .seconds(1))
    }
    return 1 / least
  }
}
