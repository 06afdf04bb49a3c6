import Measure
import Testing

@Suite struct SpreadTests {
  @Test func theMedianIsTheMiddleOrTheMeanOfTheMiddleTwo() {
    #expect(Spread([3, 1, 2], seconds: 6).median == 2)
    #expect(Spread([4, 1, 2, 3], seconds: 10).median == 2.5)
    let one = Spread([7], seconds: 7)
    #expect(one.median == 7 && one.min == 7 && one.max == 7 && one.repeats == 1)
  }

  @Test func theLongestTimeIsTheLowestRate() {
    let rate = Spread([1, 2, 4], seconds: 7).rate(8)
    #expect(rate.median == 4 && rate.min == 2 && rate.max == 8 && rate.repeats == 3 && rate.seconds == 7)
  }

  @Test func measuringRepeatsAfterOneThatIsNotCounted() {
    var calls = 0
    let spread = Spread.seconds(atLeast: 0) { calls += 1 }
    #expect(calls == Spread.leastRepeats + 1 && spread.repeats == Spread.leastRepeats)
    calls = 0
    #expect(Spread.seconds(atLeast: 1e9) { calls += 1 }.repeats == 100, "what takes no time ends too")
  }
}
