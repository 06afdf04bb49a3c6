import Dispatch

/// The frames of one window, decoded, and the order of its tokens; used for one window after the other.
final class Window: @unchecked Sendable {
  // Sendable: `plan` writes before jobs are handed out; each job writes what is its own; readers wait for all jobs. The
  // rest is guarded by the lock of `WindowLoader`.

  /// Which window of which epoch this is: epoch · windows per epoch + window; -1 if none is wanted in it.
  var number = -1

  // What it holds, or held when it was given up while jobs were under way.
  private var planned = -1
  /// Places of its frames among the eligible ones, and their numbers in the cache.
  private(set) var places: [Int] = []
  private(set) var frames: [Int] = []
  /// Rows that each slot's frame has.
  private(set) var rowsIn: [Int32] = []
  /// Its tokens in their order.
  private(set) var rows: [TrainingRow] = []
  /// For each stream.
  let slots: [FrameSlots]

  // How far it is.
  var state = State.free
  /// Readers that use it or wait for it.
  var nHolders = 0
  var nJobs = 0
  var nHandedOut = 0
  /// When the first job was handed out, by `LapTimer.now`.
  var began: UInt64 = 0
  var nDone = 0
  var failure: (any Error)?
  /// Threads that wait for `finished`.
  var nWaiting = 0
  let finished = DispatchSemaphore(value: 0)

  enum State {
    /// Holds nothing that is wanted.
    case free
    /// Wanted, but nobody has worked out yet what it holds.
    case unplanned
    /// Its jobs are under way.
    case running
    /// All jobs are done, or those that were begun before one failed.
    case finished
  }

  /// - Parameters:
  ///   - nFrames: that a window has at most, and `rowsPerFrame` of each.
  init(slots: [FrameSlots], nFrames: Int, rowsPerFrame: Int) {
    self.slots = slots
    places.reserveCapacity(nFrames)
    frames.reserveCapacity(nFrames)
    rowsIn.reserveCapacity(nFrames)
    rows.reserveCapacity(nFrames * rowsPerFrame)
  }

  /// Works out which frames it holds.
  func plan(_ order: WindowOrder, _ cache: CacheReader) {
    planned = number
    let (epoch, window) = planned.quotientAndRemainder(dividingBy: order.nWindows)
    order.epoch(epoch).fill(&places, window: window)
    frames.removeAll(keepingCapacity: true)
    rowsIn.removeAll(keepingCapacity: true)
    for place in places {
      let frame = order.tokens.frames[place]
      frames.append(frame)
      rowsIn.append(Int32(cache.sequences(ofFrame: frame).count * cache.manifest.context))
    }
  }

  /// Puts its tokens in order.
  func shuffle(_ order: WindowOrder, rowsPerFrame: Int) {
    let (epoch, window) = planned.quotientAndRemainder(dividingBy: order.nWindows)
    order.fill(&rows, window: window, of: epoch, places: places, rowsPerFrame: rowsPerFrame)
  }
}
