/// How many sequences make a frame of a cache's activation streams.
package enum FrameSize {
  /// What a mapping can begin at.
  static let page = 4096

  /// The least number with which the smallest stream's frames have `minBytes`; where streams are kept without
  /// compression, the next with which their frames are whole pages, unless a frame would then exceed the format's limit.
  ///
  /// - Parameter streams: bytes of one sequence (context · width · bytes per value) and codec of each.
  package static func sequencesPerFrame(
    of streams: [(sequenceBytes: Int, codec: ShardCodec)], minBytes: Int = CacheSpec.minFrameBytes
  ) -> Int {
    let sizes = streams.map { max(1, $0.sequenceBytes) }
    let smallest = sizes.min() ?? 1
    let least = max(1, (minBytes + smallest - 1) / smallest)
    // The factors are powers of two, so the largest is a multiple of the others.
    let unit =
      streams.filter { $0.codec == .none }.map { page / commonDivisor(page, max(1, $0.sequenceBytes)) }.max() ?? 1
    let aligned = (least + unit - 1) / unit * unit
    let fits = sizes.allSatisfy { $0 <= ShardLimits.maxFrameBytes / aligned }
    return fits ? aligned : least
  }

  private static func commonDivisor(_ a: Int, _ b: Int) -> Int { b == 0 ? a : commonDivisor(b, a % b) }
}
