import Dispatch
import Memory

/// Activations for local training: shuffled tokens, batch after batch, for as many epochs as are asked for. Held-out
/// sequences never appear.
///
/// Batch `index` is the same whatever was read before. Reading one after the other is fast: while the tokens of one
/// window are used, the next are decoded on other threads. For one thread at a time; several readers may share a source.
public final class TrainingReader {
  /// Time spent waiting for windows that were not decoded yet, so far.
  public private(set) var secondsWaited = 0.0
  /// When the last windows were decoded, by `LapTimer.now`: on other threads, while earlier ones were used.
  package var decodings: [Range<UInt64>] { loader.decodings }
  public let order: TokenOrder
  public let source: TrainingSource
  private let loader: WindowLoader
  private let number: Int
  /// The windows of the batch that was read last.
  private var held: [Window] = []
  /// The window that `places` has worked out last.
  private var planned: Window?
  /// Eligible tokens by sequence of the window that `mixing` was asked about last.
  var counted: (window: Int, sizes: GroupSizes)?

  public var batchSize: Int { order.batchSize }
  public var nBatchesPerEpoch: Int { order.nBatchesPerEpoch }
  public var nTokensPerEpoch: Int { order.nTokensPerEpoch }
  /// Values per token of each hook.
  public var widths: [Int] { source.widths }
  public var width: Int { source.widths[0] }

  /// A reader that shares what is decoded with the other readers of `source`, best if they keep together: a window is
  /// decoded once while they are no further apart than the source looks ahead.
  /// - Parameter batchSize: tokens per batch; does not change their order.
  /// - Throws: `ActCacheError.unsupported` if the cache has not enough tokens for one batch.
  public init(_ source: TrainingSource, batchSize: Int) throws {
    order = try TokenOrder(source.loader.order, batchSize: batchSize)
    self.source = source
    loader = source.loader
    number = loader.register()
  }

  deinit { loader.unregister(number, holding: held) }

  /// A reader with a source of its own; for the parameters see `TrainingSource`.
  public convenience init(
    _ cache: CacheReader, hooks: [String], batchSize: Int, seed: UInt64, filter: TokenFilter = TokenFilter(),
    windowFrames: Int? = nil, memoryBytes: Int = 256 << 20, lookAhead: Int = 1, nThreads: Int = 2,
    onCorrupt: CorruptionPolicy = .stop
  ) throws {
    try self.init(
      TrainingSource(
        cache, hooks: hooks, seed: seed, filter: filter, windowFrames: windowFrames, memoryBytes: memoryBytes,
        lookAhead: lookAhead, nThreads: nThreads, onCorrupt: onCorrupt), batchSize: batchSize)
  }

  /// A reader of one hook with a source of its own.
  public convenience init(
    _ cache: CacheReader, hook: String, batchSize: Int, seed: UInt64, filter: TokenFilter = TokenFilter(),
    windowFrames: Int? = nil, memoryBytes: Int = 256 << 20, lookAhead: Int = 1, nThreads: Int = 2,
    onCorrupt: CorruptionPolicy = .stop
  ) throws {
    try self.init(
      cache, hooks: [hook], batchSize: batchSize, seed: seed, filter: filter, windowFrames: windowFrames,
      memoryBytes: memoryBytes, lookAhead: lookAhead, nThreads: nThreads, onCorrupt: onCorrupt)
  }

  /// Fills `output`, [batchSize, width] row-major, with the activations of batch `index` (0, 1, … without end).
  /// - Throws: `ActCacheError.damaged` naming the file.
  public func read(batch index: Int, into output: inout MutableSpan<Float>) throws {
    try read(batch: index, hook: 0, into: &output)
  }

  /// The same for the hook at place `hook` of those the source was made with.
  public func read(batch index: Int, hook: Int, into output: inout MutableSpan<Float>) throws {
    let coding = loader.streams[hook].coding
    precondition(
      output.count == batchSize * coding.width, "\(output.count) values for a batch of \(batchSize) × \(coding.width)")
    let windows = windows(ofBatch: index)
    var row = 0
    try order.forEachPiece(ofBatch: index) { piece in
      let window = try window(of: piece, keeping: windows)
      let (rows, rowsIn) = (window.rows, window.rowsIn)
      coding.gather(
        rows.span.extracting(piece.range), from: window.slots[hook], rowsPerFrame: loader.rowsPerFrame,
        rowsIn: rowsIn.span, into: &output, atRow: row)
      row += piece.range.count
    }
  }

  /// Where the tokens of batch `index` come from. Decodes nothing.
  public func places(batch index: Int) -> [TokenPlace] {
    var places: [TokenPlace] = []
    places.reserveCapacity(batchSize)
    let context = source.cache.manifest.context
    order.forEachPiece(ofBatch: index) { piece in
      let number = number(of: piece)
      let known = held.first { $0.number == number } ?? planned.flatMap { $0.number == number ? $0 : nil }
      let window = known ?? loader.plan(number)
      if known == nil { planned = window }
      for i in piece.range {
        let (slot, row) = Int(window.rows[i].value).quotientAndRemainder(dividingBy: loader.rowsPerFrame)
        let first = source.cache.sequences(ofFrame: window.frames[slot]).lowerBound
        places.append(TokenPlace(sequence: first + row / context, position: row % context))
      }
    }
    return places
  }

  func number(of piece: TokenOrder.Piece) -> Int { piece.epoch * loader.order.nWindows + piece.window }

  /// The windows that hold the tokens of a batch.
  private func windows(ofBatch index: Int) -> ClosedRange<Int> {
    var range: ClosedRange<Int>?
    order.forEachPiece(ofBatch: index) { piece in
      let number = number(of: piece)
      range = (range?.lowerBound ?? number)...number
    }
    guard let range else { preconditionFailure("batch \(index) is empty") }
    return range
  }

  /// The window of `piece`, decoded; the others of `windows` are kept too if they will be read for another hook.
  private func window(of piece: TokenOrder.Piece, keeping windows: ClosedRange<Int>) throws -> Window {
    let wanted = number(of: piece)
    let kept = widths.count == 1 ? wanted...wanted : windows
    if let known = held.first(where: { $0.number == wanted }), held.allSatisfy({ kept.contains($0.number) }) {
      return known
    }
    let start = DispatchTime.now().uptimeNanoseconds
    defer { secondsWaited += Double(DispatchTime.now().uptimeNanoseconds - start) / 1e9 }
    return try loader.window(wanted, for: number, keeping: kept, held: &held)
  }
}
