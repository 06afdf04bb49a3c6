import Foundation
import Synchronization

extension CacheReader {
  /// Tokens of `frames` whose activation at `hook` has a norm above `ratio` times the median norm of that hook, or one that is no
  /// number: sequence · context + position, ascending. Decodes every frame, on all cores.
  /// - Throws: as `hook`, and as reading does.
  func tokens(at hook: String, withNormAbove ratio: Double, in frames: [Int]) throws -> [Int] {
    let limit = try maxNorm(ofHook: hook, ratio: ratio)
    let width = try self.hook(hook).width
    let found = Mutex<[Int]>([])
    try FrameScan(self, hook: hook).run(frames, threads: ProcessInfo.processInfo.activeProcessorCount) {
      frame, nRows, values in
      let first = sequences(ofFrame: frame).lowerBound * manifest.context
      let outliers = (0..<nRows).filter { row in
        // Not a number is above.
        !(ChannelSums.squaredNorm(values, at: row * width, width: width) <= limit * limit)
      }
      if !outliers.isEmpty { found.withLock { $0 += outliers.map { first + $0 } } }
    }
    return found.withLock { $0.sorted() }
  }

  /// `ratio` times the median norm of a hook. Throws as `hook`.
  package func maxNorm(ofHook name: String, ratio: Double) throws -> Double {
    ratio * (try hook(name).statistics?.medianSquaredNorm ?? .infinity).squareRoot()
  }
}
