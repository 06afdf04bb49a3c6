import Foundation
import Testing

@testable import ActCache

@Suite struct LapTimerTests {
  @Test func everyInstantBelongsToOneActivity() {
    let origin = LapTimer.now
    let timer = LapTimer("a", origin: origin, keepsSpans: true)
    for activity in [Activity.encode, .write, .encode, .waitsForRoom] {
      usleep(2000)
      timer.lap(activity)
    }
    let lane = timer.lane
    #expect(lane.totals.map(\.activity) == [.encode, .write, .waitsForRoom])
    #expect(lane.spans.map(\.activity) == [.encode, .write, .encode, .waitsForRoom])
    for (a, b) in zip(lane.spans, lane.spans.dropFirst()) { #expect(a.end == b.start) }
    let whole = (lane.spans.last?.end ?? 0) - (lane.spans.first?.start ?? 0)
    #expect(abs(lane.busySeconds + lane.waitingSeconds - whole) < 1e-9 && whole >= 0.008)
    #expect(lane.waitingSeconds == lane.seconds(.waitsForRoom) && lane.waitingSeconds >= 0.002)
    #expect(lane.seconds(.sync) == 0)
  }

  @Test func lapsOfOneActivityBecomeOneSpan() {
    var lane = Lane("a")
    lane.add(.init(.write, from: 0, to: 1), keepsSpans: true)
    lane.add(.init(.write, from: 1, to: 3), keepsSpans: true)
    lane.add(.init(.write, from: 4, to: 5), keepsSpans: true)
    lane.add(.init(.encode, from: 5, to: 5), keepsSpans: true)
    #expect(lane.spans == [.init(.write, from: 0, to: 3), .init(.write, from: 4, to: 5)])
    #expect(lane.seconds(.write) == 4)
  }

  @Test func waitingComesBeforeTheWork() {
    let timer = LapTimer("a", keepsSpans: true)
    usleep(5000)
    timer.lap(.gather, afterWaiting: 0.002)
    #expect(timer.lane.spans.map(\.activity) == [.waitsForInput, .gather])
    #expect(abs(timer.lane.seconds(.waitsForInput) - 0.002) < 1e-9 && timer.lane.seconds(.gather) >= 0.003)
    // Another clock's waiting can be a little longer than the lap.
    timer.lap(.gather, afterWaiting: 10)
    #expect(timer.lane.seconds(.waitsForInput) < 1)
  }

  @Test func totalsNeedNoSpans() {
    let timer = LapTimer("a")
    timer.lap(.decode)
    #expect(timer.lane.spans.isEmpty && timer.lane.totals.count == 1)
  }

  @Test(arguments: [0, 1, 1023, 1024, 1025, 3000]) func theLogKeepsTheLastWindowsInOrder(n: Int) {
    var log = DecodingLog()
    for i in 0..<UInt64(n) { log.append(i..<i + 1) }
    #expect(log.all.map { Int($0.lowerBound) } == Array(max(0, n - DecodingLog.capacity)..<n))
  }

  @Test func timesBeforeTheOriginAreNegative() {
    #expect(LapTimer.seconds(1_000_000_000, since: 3_000_000_000) == -2)
  }

  #if !DEBUG
    @Test func aLapCostsNothingBesideABlock() {
      let timer = LapTimer("a")
      let start = LapTimer.now
      for i in 0..<100_000 { timer.lap(i % 2 == 0 ? .encode : .write) }
      let seconds = LapTimer.seconds(LapTimer.now, since: start) / 100_000
      print("a lap takes \(Int(seconds * 1e9)) ns")
      // A block of 4,096 tokens takes milliseconds; the bound leaves room for a busy machine.
      #expect(seconds < 2e-6)
    }
  #endif
}
