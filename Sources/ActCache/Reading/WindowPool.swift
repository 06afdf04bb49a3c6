import Dispatch

/// Which windows are in memory, who uses them, and what is still to be done. Guarded by the lock of `WindowLoader`.
///
/// At most `capacity` windows are in memory, unless more readers use different ones at once. A window stays until no
/// reader uses it and none is so near behind it that it will.
struct WindowPool {
  /// Windows beyond the one in use.
  let lookAhead: Int
  private let make: @Sendable () -> Window
  /// All that are in memory.
  private var windows: [Window] = []
  /// Those that nobody has planned yet, and those with jobs left; what a reader waits for comes first.
  private var unplanned: [Window] = []
  private var running: [Window] = []
  /// Where each reader is; nil if it has not begun or is gone.
  private var positions: [Int?] = []
  private(set) var isStopped = false
  private(set) var decodings = DecodingLog()

  init(lookAhead: Int, make: @escaping @Sendable () -> Window) {
    self.lookAhead = lookAhead
    self.make = make
    windows.reserveCapacity(lookAhead + 4)
    unplanned.reserveCapacity(lookAhead + 4)
    running.reserveCapacity(lookAhead + 4)
  }

  private var capacity: Int { 1 + lookAhead }
  var nWindows: Int { windows.count }

  mutating func stop() { isStopped = true }

  // MARK: Readers

  mutating func register() -> Int {
    positions.append(nil)
    return positions.count - 1
  }

  mutating func unregister(_ reader: Int) { positions[reader] = nil }

  enum Answer {
    /// The window asked for. If it is not finished, the reader is counted among those who wait for it.
    case window(Window, isFinished: Bool)
    /// Ask again when this one is finished: its memory is needed.
    case wait(Window)
  }

  /// `reader` now wants the windows from `number` on.
  mutating func move(_ reader: Int, to number: Int) { positions[reader] = number }

  /// Window `number`, which the reader then uses.
  mutating func request(_ number: Int) -> Answer {
    var wanted = windows.first { $0.number == number }
    if let known = wanted, known.failure != nil, known.nHolders == 0, clear(known) {
      // Found damaged when it was decoded for others: tried again.
      wanted = nil
    }
    if wanted == nil {
      switch obtain(for: number) {
      case .had(let window): wanted = window
      case .busy(let window):
        window.nWaiting += 1
        return .wait(window)
      }
    }
    guard let window = wanted else { preconditionFailure("no window") }
    window.nHolders += 1
    if let place = running.firstIndex(where: { $0 === window }), place > 0 {
      running.remove(at: place)
      running.insert(window, at: 0)
    }
    let isFinished = window.state == .finished
    if !isFinished { window.nWaiting += 1 }
    return .window(window, isFinished: isFinished)
  }

  /// Has the windows that follow for `reader` prepared, as far as there is room.
  mutating func prepare(for reader: Int) {
    guard let number = positions[reader] else { return }
    for ahead in number..<number + 1 + lookAhead where !windows.contains(where: { $0.number == ahead }) {
      guard obtainUnused(for: ahead) else { return }
    }
  }

  /// A reader uses `window` no longer.
  mutating func release(_ window: Window) {
    window.nHolders -= 1
    guard window.nHolders == 0, windows.count > capacity else { return }
    if window.state == .finished, !isNear(window.number) { windows.removeAll { $0 === window } }
  }

  /// Whether a reader is at `number` or so near behind it that it will be wanted.
  private func isNear(_ number: Int) -> Bool {
    positions.contains { position in position.map { ($0...$0 + lookAhead).contains(number) } ?? false }
  }

  /// How far the next reader is behind `number`.
  private func distance(to number: Int) -> Int {
    positions.reduce(Int.max) { nearest, position in
      guard let position, position <= number else { return nearest }
      return min(nearest, number - position)
    }
  }

  private enum Memory { case had(Window), busy(Window) }

  /// Memory for window `number`, which a reader waits for and which is then to be planned.
  private mutating func obtain(for number: Int) -> Memory {
    var busy: Window?
    for window in windows where isFree(window) && !isNear(window.number) {
      if clear(window) { return .had(assign(window, number, at: 0)) }
      busy = window
    }
    if windows.count < capacity { return .had(assign(add(), number, at: 0)) }
    if let busy { return .busy(busy) }
    // All are wanted by somebody: take the one that is wanted last.
    var last: Window?
    for window in windows
    where isFree(window) && distance(to: window.number) > last.map({ distance(to: $0.number) }) ?? -1 {
      last = window
    }
    guard let last else { return .had(assign(add(), number, at: 0)) }
    return clear(last) ? .had(assign(last, number, at: 0)) : .busy(last)
  }

  /// Takes memory that nobody wants for window `number`, which is then to be planned; false if there is none.
  private mutating func obtainUnused(for number: Int) -> Bool {
    for window in windows where isFree(window) && !isNear(window.number) && clear(window) {
      _ = assign(window, number, at: unplanned.count)
      return true
    }
    guard windows.count < capacity else { return false }
    _ = assign(add(), number, at: unplanned.count)
    return true
  }

  /// Whether nobody uses its memory, or will before jobs on it end.
  private func isFree(_ window: Window) -> Bool { window.nHolders == 0 && window.state != .unplanned }

  private mutating func add() -> Window {
    let window = make()
    windows.append(window)
    return window
  }

  private mutating func assign(_ window: Window, _ number: Int, at place: Int) -> Window {
    window.number = number
    window.state = .unplanned
    window.failure = nil
    (window.nJobs, window.nHandedOut, window.nDone) = (0, 0, 0)
    unplanned.insert(window, at: place)
    return window
  }

  /// Gives up what a window holds. False if jobs on it are under way; it can be had when they are done.
  private mutating func clear(_ window: Window) -> Bool {
    window.number = -1
    if window.state == .running {
      running.removeAll { $0 === window }
      window.nJobs = window.nHandedOut
      guard window.nDone == window.nJobs else { return false }
    }
    window.state = .free
    return true
  }

  // MARK: Work

  /// A window to be planned by the caller.
  mutating func nextUnplanned() -> Window? { unplanned.isEmpty ? nil : unplanned.removeFirst() }

  /// Hands out the jobs of a window that has been planned.
  mutating func start(_ window: Window, nJobs: Int) {
    window.state = .running
    window.nJobs = nJobs
    if window.nHolders > 0 { running.insert(window, at: 0) } else { running.append(window) }
  }

  /// The next job: its window and its number therein.
  mutating func nextJob() -> (window: Window, job: Int)? {
    guard let window = running.first else { return nil }
    let job = window.nHandedOut
    if job == 0 { window.began = LapTimer.now }
    window.nHandedOut += 1
    if window.nHandedOut == window.nJobs { running.removeFirst() }
    return (window, job)
  }

  /// Notes the end of a job. After a failure the window's jobs that were not begun are dropped.
  mutating func finish(_ window: Window, failure: (any Error)?) {
    window.nDone += 1
    if let failure, window.failure == nil {
      window.failure = failure
      window.nJobs = window.nHandedOut
      running.removeAll { $0 === window }
    }
    guard window.nDone == window.nJobs else { return }
    // The clock runs in steps, and never back.
    decodings.append(window.began..<max(window.began, LapTimer.now))
    window.state = .finished
    while window.nWaiting > 0 {
      window.nWaiting -= 1
      window.finished.signal()
    }
  }
}
