import Dispatch
import Memory
import Synchronization

/// A decoded window: for each hook the byte planes of its frames, one slot per frame, and the order of its tokens.
struct Window: Sendable {
  let epoch: Int
  let window: Int
  let frames: [Int]
  /// Rows that each slot's frame has.
  let rowsIn: [Int32]
  /// Each token as slot · rowsPerFrame + row.
  let rows: [UInt32]
  /// For each hook.
  fileprivate(set) var slots: [FrameBuffer]
}

/// Decodes windows, on whatever thread asks.
final class WindowLoader: Sendable {
  struct Stream: Sendable {
    let name: String
    let coding: ValueCoding
    /// Bytes of a whole frame.
    let frameBytes: Int
  }

  let order: TokenOrder
  let streams: [Stream]
  let rowsPerFrame: Int
  private let cache: CacheReader
  private let epochs = Mutex<TokenOrder.Epoch?>(nil)
  /// Buffers of windows that are done.
  private let idle = Mutex<[[FrameBuffer]]>([])

  init(cache: CacheReader, order: TokenOrder, streams: [Stream]) {
    self.cache = cache
    self.order = order
    self.streams = streams
    rowsPerFrame = cache.manifest.spec.sequencesPerFrame * cache.manifest.context
  }

  /// The plan of an epoch; the last one asked for is remembered.
  func epoch(_ number: Int) -> TokenOrder.Epoch {
    if let epoch = epochs.withLock({ $0 }), epoch.number == number { return epoch }
    let epoch = order.epoch(number)
    epochs.withLock { $0 = epoch }
    return epoch
  }

  func recycle(_ slots: [FrameBuffer]) {
    idle.withLock { if $0.count < 2 { $0.append(slots) } }
  }

  /// The window without its data: which tokens, in which order.
  func plan(_ window: Int, of number: Int) -> Window {
    let epoch = epoch(number)
    let frames = epoch.frames(of: window)
    return Window(
      epoch: number, window: window, frames: frames,
      rowsIn: frames.map { Int32(cache.sequences(ofFrame: $0).count * cache.manifest.context) },
      rows: order.rows(of: window, in: epoch, frames: frames, rowsPerFrame: rowsPerFrame), slots: [])
  }

  /// Decodes a window.
  func load(_ window: Int, of epoch: Int) throws -> Window {
    var result = plan(window, of: epoch)
    let slots =
      idle.withLock { $0.popLast() } ?? streams.map { FrameBuffer(count: order.windowFrames * $0.frameBytes) }
    let decoder = try FrameDecoder()
    for (i, stream) in streams.enumerated() {
      for (slot, frame) in result.frames.enumerated() {
        let place = cache.place(ofFrame: frame)
        let shard = try cache.shard(place.shard, of: "hooks/" + stream.name)
        let start = slot * stream.frameBytes
        try slots[i].withMutableBytes(start..<(start + shard.contentBytes(ofFrame: place.frame))) { output in
          try shard.decode(frame: place.frame, with: decoder, into: &output)
        }
      }
    }
    result.slots = slots
    return result
  }
}

/// A window on its way: decoded by a queue of its own.
final class PendingWindow: Sendable {
  let epoch: Int
  let window: Int
  private let done = DispatchSemaphore(value: 0)
  private let result = Mutex<Result<Window, any Error>?>(nil)

  init(_ window: Int, of epoch: Int, loader: WindowLoader, queue: DispatchQueue) {
    self.epoch = epoch
    self.window = window
    queue.async { [self] in
      let outcome = Result { try loader.load(window, of: epoch) }
      result.withLock { $0 = outcome }
      done.signal()
    }
  }

  /// Waits for the window; may be called once.
  func wait() throws -> Window {
    done.wait()
    guard let outcome = result.withLock({ $0.take() }) else { preconditionFailure("a window is waited for once") }
    return try outcome.get()
  }
}
