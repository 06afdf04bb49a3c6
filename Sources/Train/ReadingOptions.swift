import ActCache

/// How a run reads its cache: which tokens, in which order, and with how much memory.
package struct ReadingOptions: Sendable {
  package var filter = TokenFilter()
  package var onCorrupt = CorruptionPolicy.stop
  /// Frames that the run has left out so far, see `TrainRun.skippedFrames`: also if they were mended since.
  package var leavingOut: [SkippedFrame] = []
  /// Decoded activations that are shuffled together, in bytes: decides the order of the tokens.
  package var windowBytes = 128 << 20
  /// For decoded activations, in bytes: the window in use and what is decoded ahead. Changes no result.
  package var memoryBytes = 256 << 20

  package init() {}
}

extension TrainConfiguration {
  /// Throws `TrainError.invalid` for the first value that makes no sense.
  package func readingOptions() throws(TrainError) -> ReadingOptions {
    guard skipPositions >= 0 else { throw .invalid("skip-positions is \(skipPositions); it must not be negative") }
    if let skipOutliers, !(skipOutliers >= 1 && skipOutliers.isFinite) {
      throw .invalid(
        "skip-outliers is \(skipOutliers); expected how many times the median norm a token's may be, such as 10, at least 1"
      )
    }
    var options = ReadingOptions()
    options.filter = TokenFilter(
      skipsBOS: skipBOS, positions: skipPositions > 0 ? skipPositions..<Int.max : nil, maxNormRatio: skipOutliers)
    options.onCorrupt = onCorrupt
    options.windowBytes = try TrainConfiguration.byteCount(window, of: "window")
    options.memoryBytes = try TrainConfiguration.byteCount(memory, of: "memory")
    return options
  }

  /// 268435456, 256MiB and the like. Throws `TrainError.invalid` naming `name` for anything else.
  package static func byteCount(_ text: String, of name: String) throws(TrainError) -> Int {
    let shift = ["KiB": 10, "MiB": 20, "GiB": 30][text.suffix(3)]
    let digits = shift == nil ? text[...] : text.dropLast(3)
    let (bytes, overflow) = (Int(digits) ?? 0).multipliedReportingOverflow(by: 1 << (shift ?? 0))
    guard digits.allSatisfy(\.isNumber), !overflow, (1...1 << 50).contains(bytes) else {
      throw .invalid(
        "\(name) is \(text); expected bytes such as 268435456, 256MiB or 1GiB (KiB, MiB, GiB), up to 2^50")
    }
    return bytes
  }
}
