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
  package static func forEachAlone(_ n: Int, _ body: (Int) -> Void) { forEachAlone(n) { _, i in body(i) } }

  /// The same with the worker's number.
  package static func forEachAlone(
    _ n: Int, limit: Int = .max, withWorker body: (_ worker: Int, _ i: Int) -> Void
  ) {
    forEach(n, limit: limit) { worker, i in $isAlone.withValue(true) { body(worker, i) } }
  }

  /// Goes through chains of `steps` steps. Those of one chain come one after the other; chains are work of their own, as in
  /// `forEachAlone`. Whoever is free takes a step of the chain with the most time ahead of it, so that all end together.
  ///
  /// - Parameter costs: time of a step of each chain, in any unit.
  package static func forEachChain(_ costs: [Double], steps: Int, _ body: (_ chain: Int, _ step: Int) -> Void) {
    let next = Mutex(
      (steps: [Int](repeating: 0, count: costs.count), isTaken: [Bool](repeating: false, count: costs.count)))
    forEachAlone(min(count, costs.count)) { _ in
      var last: Int?
      while true {
        let taken: (chain: Int, step: Int)? = next.withLock { next in
          if let last { next.isTaken[last] = false }
          let free = costs.indices.filter { !next.isTaken[$0] && next.steps[$0] < steps }
          // Where none is free, those who are at the last ones go on with them.
          let ahead = free.max {
            Double(steps - next.steps[$0]) * costs[$0] < Double(steps - next.steps[$1]) * costs[$1]
          }
          guard let chain = ahead else { return nil }
          next.isTaken[chain] = true
          defer { next.steps[chain] += 1 }
          return (chain, next.steps[chain])
        }
        guard let taken else { return }
        body(taken.chain, taken.step)
        last = taken.chain
      }
    }
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
