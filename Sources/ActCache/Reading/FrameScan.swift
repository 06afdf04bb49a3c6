import Dispatch
import Memory
import Synchronization

/// Reads, checks, decodes and widens whole frames of a hook's stream: held-out sequences and padding, too.
package struct FrameScan: Sendable {
  package let nFrames: Int
  private let cache: CacheReader
  private let stream: String
  private let coding: ValueCoding

  /// - Throws: as `CacheReader.hook`.
  package init(_ cache: CacheReader, hook name: String) throws {
    coding = try cache.coding(ofStream: StreamSpec.hooksPrefix + name)
    self.cache = cache
    stream = StreamSpec.hooksPrefix + name
    nFrames = cache.nFrames
  }

  /// The first `count` frames of a fixed order without pattern.
  package func shuffled(_ count: Int) -> [Int] {
    let order = KeyedPermutation(count: nFrames, key: Key(0).mixing(.frames).value)
    return (0..<min(count, nFrames)).map { order[$0] }
  }

  /// Tokens in `frames`, padding included.
  package func tokens(in frames: [Int]) -> Int {
    frames.reduce(0) { $0 + cache.sequences(ofFrame: $1).count } * cache.manifest.context
  }

  /// Goes through `frames` in their order on `threads` threads, each taking the next; `body`, on any of them, gets each one's
  /// number and rows, whose values lie at the start of the span.
  /// - Throws: as reading does, the first of the threads' errors.
  package func run(
    _ frames: [Int], threads: Int, _ body: @Sendable (_ frame: Int, _ nRows: Int, Span<Float>) -> Void = { _, _, _ in }
  ) throws {
    let next = Atomic(0)
    let failure = Mutex<(any Error)?>(nil)
    DispatchQueue.concurrentPerform(iterations: max(1, threads)) { _ in
      do {
        let decoder = try FrameDecoder()
        var (content, values) = (FrameBuffer(count: 0), [Float]())
        while true {
          let i = next.wrappingAdd(1, ordering: .relaxed).oldValue
          if i >= frames.count { return }
          let nRows = try read(frames[i], decoder, &content, &values)
          body(frames[i], nRows, values.span)
        }
      } catch {
        failure.withLock { if $0 == nil { $0 = error } }
      }
    }
    if let error = failure.withLock({ $0 }) { throw error }
  }

  private func read(
    _ frame: Int, _ decoder: FrameDecoder, _ content: inout FrameBuffer, _ values: inout [Float]
  ) throws -> Int {
    let nRows = cache.sequences(ofFrame: frame).count * cache.manifest.context
    let range = 0..<(nRows * coding.rowByteCount)
    if content.count < range.count { content = FrameBuffer(count: range.count) }
    if values.count < nRows * coding.width { values = [Float](repeating: 0, count: nRows * coding.width) }
    let place = cache.place(ofFrame: frame)
    let shard = try cache.shard(place.shard, of: stream)
    try content.withMutableBytes(range) { try shard.decode(frame: place.frame, with: decoder, into: &$0) }
    var span = values.mutableSpan
    content.withBytes(range) { coding.decode($0, of: nRows, rows: 0..<nRows, into: &span) }
    return nRows
  }
}
