import Dispatch
import Foundation
import Memory
import Synchronization

/// Decodes windows ahead of those who read them, on threads of its own, each window once for all readers that are near.
///
///     reader ─ asks for window n ─► pool ─ one job per frame, and one for the order ─► threads
///            ◄─ waits until all of its jobs are done ─────────────────────────────────┘
///
/// What is read does not depend on how many threads there are or which of them is first: a job writes to a place of its
/// own. Memory is used again; nothing is allocated while windows follow each other.
final class WindowLoader: Sendable {
  struct Stream: Sendable {
    let name: String
    let coding: ValueCoding
  }

  private let work: Work
  var order: WindowOrder { work.order }
  var streams: [Stream] { work.streams }
  var rowsPerFrame: Int { work.rowsPerFrame }
  /// Frames decoded so far, of all streams.
  var nDecodedFrames: Int { work.nDecodedFrames.load(ordering: .relaxed) }
  /// When the last windows were decoded: from the first of a window's frames to the last.
  var decodings: [Range<UInt64>] { work.pool.withLock { $0.decodings.all } }
  /// Windows that are in memory.
  var nWindowsInMemory: Int { work.pool.withLock { $0.nWindows } }

  /// - Parameters:
  ///   - lookAhead: windows to prepare beyond the one in use.
  ///   - nThreads: that decode.
  init(cache: CacheReader, order: WindowOrder, streams: [Stream], lookAhead: Int, nThreads: Int) {
    precondition(lookAhead >= 0 && nThreads >= 1, "\(nThreads) threads, \(lookAhead) windows ahead")
    work = Work(cache: cache, order: order, streams: streams, lookAhead: lookAhead)
    for i in 0..<nThreads {
      let thread = Thread { [work] in work.run() }
      thread.name = "actcache-decode-\(i)"
      thread.start()
    }
    self.nThreads = nThreads
  }

  private let nThreads: Int

  deinit {
    work.pool.withLock { $0.stop() }
    for _ in 0..<nThreads { work.nJobs.signal() }
  }

  // MARK: Readers

  /// A number for a new reader.
  func register() -> Int { work.pool.withLock { $0.register() } }

  /// The reader is gone and uses the windows `held` no longer.
  func unregister(_ reader: Int, holding held: [Window]) {
    work.pool.withLock { pool in
      pool.unregister(reader)
      for window in held { pool.release(window) }
    }
  }

  /// Waits until window `number` (epoch · windows per epoch + window) is decoded; those after it are prepared meanwhile.
  /// - Parameters:
  ///   - kept: the windows that the reader goes on using; it must not use others any more.
  ///   - held: those it has; brought up to date.
  /// - Throws: `ActCacheError.damaged` naming the file.
  func window(
    _ number: Int, for reader: Int, keeping kept: ClosedRange<Int>, held: inout [Window]
  ) throws -> Window {
    while true {
      let answer = work.pool.withLock { pool in
        for window in held where !kept.contains(window.number) { pool.release(window) }
        held.removeAll { !kept.contains($0.number) }
        pool.move(reader, to: kept.lowerBound)
        let known = held.first { $0.number == number }
        let answer = known.map { .window($0, isFinished: true) } ?? pool.request(number)
        if case .window(let window, _) = answer, known == nil { held.append(window) }
        pool.prepare(for: reader)
        return answer
      }
      work.startUnplanned()
      switch answer {
      case .wait(let window): window.finished.wait()
      case .window(let window, let isFinished):
        if !isFinished { window.finished.wait() }
        // Nobody changes it while this reader holds it.
        guard let failure = work.pool.withLock({ _ in window.failure }) else { return window }
        work.pool.withLock { $0.release(window) }
        held.removeAll { $0 === window }
        throw failure
      }
    }
  }

  /// A window without its data: which tokens, in which order.
  func plan(_ number: Int) -> Window {
    let window = Window(slots: [], nFrames: order.windowFrames, rowsPerFrame: rowsPerFrame)
    window.number = number
    window.plan(order, work.cache)
    window.shuffle(order, rowsPerFrame: rowsPerFrame)
    return window
  }
}

/// What the threads of a `WindowLoader` share; lives until the last of them has ended.
private final class Work: Sendable {
  let cache: CacheReader
  let order: WindowOrder
  let streams: [WindowLoader.Stream]
  let rowsPerFrame: Int
  let pool: Mutex<WindowPool>
  /// Counts the jobs in the pool, and threads that are to end.
  let nJobs = DispatchSemaphore(value: 0)
  let nDecodedFrames = Atomic<Int>(0)
  /// Every shard that was read from, by stream and number. They stay open: slots may refer to their mappings.
  private let shards: Mutex<[ShardReader?]>

  init(cache: CacheReader, order: WindowOrder, streams: [WindowLoader.Stream], lookAhead: Int) {
    self.cache = cache
    self.order = order
    self.streams = streams
    let rowsPerFrame = cache.manifest.spec.sequencesPerFrame * cache.manifest.context
    self.rowsPerFrame = rowsPerFrame
    let isLent = streams.map { !$0.coding.isPlanar && cache.io == .mmap }
    pool = Mutex(
      WindowPool(lookAhead: lookAhead) {
        Window(
          slots: zip(streams, isLent).map { stream, isLent in
            FrameSlots(
              count: order.windowFrames, slotByteCount: rowsPerFrame * stream.coding.rowByteCount, isLent: isLent)
          }, nFrames: order.windowFrames, rowsPerFrame: rowsPerFrame)
      })
    shards = Mutex([ShardReader?](repeating: nil, count: streams.count * cache.manifest.shards.count))
  }

  /// Works out what the windows that were asked for hold, and lets the threads begin.
  func startUnplanned() {
    while let window = pool.withLock({ $0.nextUnplanned() }) {
      window.plan(order, cache)
      let count = 1 + window.frames.count * streams.count
      pool.withLock { $0.start(window, nJobs: count) }
      for _ in 0..<count { nJobs.signal() }
    }
  }

  /// What a thread does.
  func run() {
    var decoder: FrameDecoder?
    while true {
      nJobs.wait()
      let (job, isStopped) = pool.withLock { ($0.nextJob(), $0.isStopped) }
      if isStopped { return }
      // Jobs of windows that were given up are gone.
      guard let (window, number) = job else { continue }
      var failure: (any Error)?
      do {
        if decoder == nil { decoder = try FrameDecoder() }
        if let decoder { try perform(number, of: window, decoder) }
      } catch { failure = error }
      pool.withLock { $0.finish(window, failure: failure) }
    }
  }

  private func perform(_ job: Int, of window: Window, _ decoder: FrameDecoder) throws {
    if job == 0 { return window.shuffle(order, rowsPerFrame: rowsPerFrame) }
    let (stream, slot) = (job - 1).quotientAndRemainder(dividingBy: window.frames.count)
    let place = cache.place(ofFrame: window.frames[slot])
    try shard(place.shard, of: stream)
      .read(frame: place.frame, with: decoder, into: window.slots[stream], slot: slot)
    nDecodedFrames.wrappingAdd(1, ordering: .relaxed)
  }

  private func shard(_ index: Int, of stream: Int) throws -> ShardReader {
    let i = stream * cache.manifest.shards.count + index
    if let shard = shards.withLock({ $0[i] }) { return shard }
    let shard = try cache.shard(index, of: "hooks/" + streams[stream].name)
    shards.withLock { $0[i] = shard }
    return shard
  }
}
