import Dispatch
import Synchronization

/// The one place that starts threads for arithmetic; OpenBLAS is held to one thread and called from these.
///
/// Work is always cut into the same pieces, whatever the number of threads, and no sum crosses a piece:
/// results do not depend on how many threads run or which piece ends first.
package enum Threads {
  private static let setting = Atomic<Int>(0)

  /// Threads used by kernels; at first the machine's cores.
  package static var count: Int {
    get {
      let n = setting.load(ordering: .relaxed)
      return n > 0 ? n : CPU.availableCores
    }
    set { setting.store(max(1, newValue), ordering: .relaxed) }
  }

  /// Calls `body` for 0..<n, on up to `count` threads, and waits for all of them.
  package static func forEach(_ n: Int, _ body: (Int) -> Void) { forEach(n) { _, i in body(i) } }

  /// The same with the worker's number: calls of the same `worker`, of 0..<`count`, never overlap, so that scratch
  /// memory can belong to a worker. Results must not depend on which worker does a piece. `limit`: how many workers there
  /// is memory for, as `count` may have been changed since that was taken.
  package static func forEach(
    _ n: Int, limit: Int = .max, withWorker body: (_ worker: Int, _ i: Int) -> Void
  ) {
    let workers = isAlone ? 1 : min(n, count, limit)
    if workers <= 1 {
      for i in 0..<n { body(0, i) }
      return
    }
    let next = Atomic<Int>(0)
    withoutActuallyEscaping(body) { body in
      let shared = Shared(body)
      DispatchQueue.concurrentPerform(iterations: workers) { worker in
        while true {
          let i = next.wrappingAdd(1, ordering: .relaxed).oldValue
          if i >= n { return }
          shared.value(worker, i)
        }
      }
    }
  }

  /// True in the bodies of `forEachAlone`.
  @TaskLocal private static var isAlone = false

  /// As `forEach`, for bodies that are work of their own: what they call of this type runs on the thread they have.
  package static func forEachAlone(_ n: Int, _ body: (Int) -> Void) {
    forEach(n) { i in $isAlone.withValue(true) { body(i) } }
  }

  /// Cuts 0..<n into pieces of `grain` (the last may be shorter) and calls `body` for each, in parallel.
  package static func forEachRange(_ n: Int, grain: Int, _ body: (Range<Int>) -> Void) {
    precondition(grain > 0, "grain is \(grain)")
    forEach((n + grain - 1) / grain) { i in body(i * grain..<min(n, (i + 1) * grain)) }
  }
}

/// Carries a value into the threads of `Threads.forEach`. Sound because that call returns only when all of them
/// have ended, and pieces write to places of their own.
struct Shared<T>: @unchecked Sendable {
  let value: T
  init(_ value: T) { self.value = value }
}
