import Dispatch
import Synchronization

/// Calls `body` for 0..<count on up to `threads` threads, in any order, until `isInterrupted` says otherwise.
func inParallel(
  _ count: Int, threads: Int, isInterrupted: @Sendable () -> Bool, _ body: @Sendable (Int) -> Void
) {
  let next = Atomic(0)
  DispatchQueue.concurrentPerform(iterations: max(1, min(threads, count))) { _ in
    while !isInterrupted() {
      let i = next.add(1, ordering: .relaxed).oldValue
      guard i < count else { return }
      body(i)
    }
  }
}
