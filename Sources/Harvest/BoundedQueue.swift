import Dispatch
import Synchronization

/// Hands values from one thread to another, a few at a time: whoever is ahead waits.
final class BoundedQueue<Element: Sendable>: Sendable {
  private struct State {
    var elements: [Element] = []
    var failure: (any Error)?
    var isFinished = false
    var isCancelled = false
  }

  private let state = Mutex(State())
  private let room = DispatchSemaphore(value: 0)
  private let filled = DispatchSemaphore(value: 0)

  init(capacity: Int) {
    // Signalled up from zero: a semaphore must not end below the value that it was made with.
    for _ in 0..<capacity { room.signal() }
  }

  /// Waits for room. False if nobody wants more.
  func push(_ element: Element) -> Bool {
    room.wait()
    let isWanted = state.withLock { state in
      if !state.isCancelled { state.elements.append(element) }
      return !state.isCancelled
    }
    if isWanted { filled.signal() } else { room.signal() }
    return isWanted
  }

  /// No more will come, because of `failure` if there is one.
  func finish(_ failure: (any Error)? = nil) {
    state.withLock { state in
      state.isFinished = true
      state.failure = failure
    }
    filled.signal()
  }

  /// The next element; nil after the last. Throws what the other side failed with.
  func pop() throws -> Element? {
    filled.wait()
    let next: Result<Element?, any Error> = state.withLock { state in
      if !state.elements.isEmpty { return .success(state.elements.removeFirst()) }
      if let failure = state.failure { return .failure(failure) }
      return .success(nil)
    }
    if case .success(.some) = next { room.signal() } else { filled.signal() }
    return try next.get()
  }

  /// Tells the other side that nothing more is wanted.
  func cancel() {
    state.withLock { state in
      state.isCancelled = true
      state.elements = []
    }
    room.signal()
  }
}

/// A wish to stop that any thread or signal handler's queue may raise.
package final class InterruptFlag: Sendable {
  private let flag = Atomic(false)
  package init() {}
  package var isRaised: Bool { flag.load(ordering: .relaxed) }
  package func raise() { flag.store(true, ordering: .relaxed) }
}
