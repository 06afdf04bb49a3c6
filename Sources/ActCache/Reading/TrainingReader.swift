import Dispatch
import Memory

/// Activations for local training: shuffled tokens, batch after batch, for as many epochs as are asked for. Held-out
/// sequences never appear.
///
/// Batch `index` is the same whatever was read before. Reading one after the other is fast: while the tokens of one
/// window are used, the next is decoded on another thread. For one thread at a time.
public final class TrainingReader {
  /// Time spent waiting for windows that were not decoded yet, so far.
  public private(set) var secondsWaited = 0.0
  public let order: TokenOrder
  /// Values per token of each hook.
  public let widths: [Int]
  private let cache: CacheReader
  private let loader: WindowLoader
  private let lookAhead: Int
  private let queue = DispatchQueue(label: "actcache.windows", qos: .userInitiated)
  private var current: Window?
  private var pending: [PendingWindow] = []

  public var batchSize: Int { order.batchSize }
  public var nBatchesPerEpoch: Int { order.nBatchesPerEpoch }
  public var nTokensPerEpoch: Int { order.nTokensPerEpoch }
  public var width: Int { widths[0] }

  /// - Parameters:
  ///   - hooks: one hook, or several whose activations at the same tokens are wanted together.
  ///   - batchSize: tokens per batch.
  ///   - windowFrames: frames that are shuffled together; part of the order. By default what `memoryBytes` has room
  ///     for (which depends on the hooks: give a number to see two hooks in one order).
  ///   - memoryBytes: for decoded windows, the one in use and those decoded ahead.
  ///   - lookAhead: windows to decode ahead; does not change the order.
  /// - Throws: `ActCacheError`.
  public init(
    _ cache: CacheReader, hooks: [String], batchSize: Int, seed: UInt64, filter: TokenFilter = TokenFilter(),
    windowFrames: Int? = nil, memoryBytes: Int = 256 << 20, lookAhead: Int = 1
  ) throws {
    precondition(!hooks.isEmpty, "no hook")
    guard batchSize >= 1, lookAhead >= 0, windowFrames ?? 1 >= 1 else {
      throw ActCacheError.unsupported(
        "batch size \(batchSize), window of \(windowFrames ?? 1) frames, look-ahead \(lookAhead): allowed are at least "
          + "1, 1 and 0")
    }
    let rowsPerFrame = cache.manifest.spec.sequencesPerFrame * cache.manifest.context
    let streams = try hooks.map { name in
      let coding = try cache.coding(ofStream: StreamSpec.hooksPrefix + name)
      return WindowLoader.Stream(name: name, coding: coding, frameBytes: rowsPerFrame * coding.rowByteCount)
    }
    // Rows of a window are numbered with 32 bits.
    let frames = min(
      windowFrames ?? max(1, memoryBytes / ((1 + lookAhead) * streams.reduce(0) { $0 + $1.frameBytes })),
      cache.nFrames, Int(UInt32.max) / rowsPerFrame)
    order = try TokenOrder(
      tokens: EligibleTokens(cache, filter: filter), batchSize: batchSize, seed: seed, windowFrames: frames)
    loader = WindowLoader(cache: cache, order: order, streams: streams)
    widths = streams.map(\.coding.width)
    self.cache = cache
    self.lookAhead = lookAhead
  }

  /// A reader of one hook.
  public convenience init(
    _ cache: CacheReader, hook: String, batchSize: Int, seed: UInt64, filter: TokenFilter = TokenFilter(),
    windowFrames: Int? = nil, memoryBytes: Int = 256 << 20, lookAhead: Int = 1
  ) throws {
    try self.init(
      cache, hooks: [hook], batchSize: batchSize, seed: seed, filter: filter, windowFrames: windowFrames,
      memoryBytes: memoryBytes, lookAhead: lookAhead)
  }

  /// Fills `output`, [batchSize, width] row-major, with the activations of batch `index` (0, 1, … without end).
  /// - Throws: `ActCacheError.damaged` naming the file.
  public func read(batch index: Int, into output: inout MutableSpan<Float>) throws {
    try read(batch: index, hook: 0, into: &output)
  }

  /// The same for the hook at place `hook` of those the reader was made with.
  public func read(batch index: Int, hook: Int, into output: inout MutableSpan<Float>) throws {
    let stream = loader.streams[hook]
    let width = stream.coding.width
    precondition(
      output.count == batchSize * width, "\(output.count) values for a batch of \(batchSize) × \(width)")
    var row = 0
    for piece in pieces(ofBatch: index) {
      try makeCurrent(piece)
      guard let window = current else { return }
      let slots = window.slots[hook]
      let rows = window.rows.span
      slots.withBytes(0..<slots.count) { bytes in
        stream.coding.gather(
          rows.extracting(piece.range), from: bytes, rowsPerFrame: loader.rowsPerFrame, rowsIn: window.rowsIn.span,
          into: &output, atRow: row)
      }
      row += piece.range.count
    }
  }

  /// Where the tokens of batch `index` come from. Decodes nothing.
  public func places(batch index: Int) -> [TokenPlace] {
    var places: [TokenPlace] = []
    places.reserveCapacity(batchSize)
    for piece in pieces(ofBatch: index) {
      let window =
        current.flatMap { $0.epoch == piece.epoch && $0.window == piece.window ? $0 : nil }
        ?? loader.plan(piece.window, of: piece.epoch)
      for i in piece.range {
        let (slot, row) = Int(window.rows[i]).quotientAndRemainder(dividingBy: loader.rowsPerFrame)
        let (sequence, position) = row.quotientAndRemainder(dividingBy: cache.manifest.context)
        places.append(
          TokenPlace(
            sequence: cache.sequences(ofFrame: window.frames[slot]).lowerBound + sequence, position: position))
      }
    }
    return places
  }

  private func pieces(ofBatch index: Int) -> [TokenOrder.Piece] {
    precondition(index >= 0, "batch \(index)")
    let place = order.place(ofBatch: index)
    return order.pieces(ofBatch: place.batch, in: loader.epoch(place.epoch))
  }

  /// Waits until the window of `piece` is decoded and has those after it decoded ahead.
  private func makeCurrent(_ piece: TokenOrder.Piece) throws {
    if let current, current.epoch == piece.epoch, current.window == piece.window { return }
    if let done = current?.slots {
      current = nil
      loader.recycle(done)
    }
    // What was decoded ahead for another place than the one now wanted is dropped.
    while let first = pending.first, first.epoch != piece.epoch || first.window != piece.window {
      pending.removeFirst()
    }
    let wanted =
      pending.isEmpty
      ? PendingWindow(piece.window, of: piece.epoch, loader: loader, queue: queue) : pending.removeFirst()
    let start = DispatchTime.now().uptimeNanoseconds
    defer { secondsWaited += Double(DispatchTime.now().uptimeNanoseconds - start) / 1e9 }
    current = try wanted.wait()

    var (epoch, window) = pending.last.map { ($0.epoch, $0.window) } ?? (piece.epoch, piece.window)
    while pending.count < lookAhead {
      window += 1
      if window == order.nWindows { (epoch, window) = (epoch + 1, 0) }
      pending.append(PendingWindow(window, of: epoch, loader: loader, queue: queue))
    }
  }
}
