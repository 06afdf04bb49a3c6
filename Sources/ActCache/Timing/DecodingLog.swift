/// When windows were decoded, by `LapTimer.now`: the last `capacity` of them, in memory taken once.
struct DecodingLog: Sendable {
  static let capacity = 1024
  private var spans: [Range<UInt64>] = []
  /// Where the oldest lies once all places are taken.
  private var oldest = 0

  init() { spans.reserveCapacity(DecodingLog.capacity) }

  mutating func append(_ span: Range<UInt64>) {
    if spans.count < DecodingLog.capacity {
      spans.append(span)
    } else {
      spans[oldest] = span
      oldest = (oldest + 1) % DecodingLog.capacity
    }
  }

  /// In the order in which they ended.
  var all: [Range<UInt64>] { Array(spans[oldest...] + spans[..<oldest]) }
}
