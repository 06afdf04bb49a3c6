import LinearAlgebra
import Synchronization
import Testing

@Suite struct ThreadsTests {
  @Test(arguments: [(0, 3), (1, 1), (3, 0), (2, 5), (7, 4)])
  func stepsOfAChainComeOneAfterTheOther(chains: Int, steps: Int) {
    // Of each chain: the steps taken, and whether one is being taken now.
    let state = Mutex((taken: [[Int]](repeating: [], count: chains), isBusy: [Bool](repeating: false, count: chains)))
    let overlaps = Mutex(0)
    Threads.forEachChain((0..<chains).map { Double($0 % 3) }, steps: steps) { chain, step in
      state.withLock { state in
        if state.isBusy[chain] { overlaps.withLock { $0 += 1 } }
        state.isBusy[chain] = true
        state.taken[chain].append(step)
      }
      var spun = 0.0
      for i in 0..<2000 * (chain + 1) { spun += Double(i).squareRoot() }
      state.withLock { $0.isBusy[chain] = spun < 0 }
    }
    #expect(state.withLock { $0.taken } == [[Int]](repeating: Array(0..<steps), count: chains))
    #expect(overlaps.withLock { $0 } == 0)
  }

  @Test func theChainWithTheMostTimeAheadIsTakenFirst() {
    let order = Mutex([Int]())
    let before = Threads.count
    Threads.count = 1
    defer { Threads.count = before }
    Threads.forEachChain([1, 3, 2], steps: 2) { chain, _ in order.withLock { $0.append(chain) } }
    // Ahead: 2 6 4, 2 3 4, 2 3 2, 2 0 2, 1 0 2, 1 0 0; of equal ones the first is taken.
    #expect(order.withLock { $0 } == [1, 2, 1, 0, 2, 0])
  }
}
