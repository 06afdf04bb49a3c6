import ActCache
import Measure
import Testing

@Suite struct VerdictTests {
  private func lane(_ name: String, _ spans: [(Activity, Double)]) -> Lane {
    var lane = Lane(name)
    var time = 0.0
    for (activity, seconds) in spans {
      lane.add(Lane.Span(activity, from: time, to: time + seconds), keepsSpans: true)
      time += seconds
    }
    return lane
  }

  @Test func theStageThatWaitsLeastIsWhatTheOthersWaitFor() {
    let lanes = [
      lane("text", [(.gather, 1), (.waitsForRoom, 9)]), lane("model", [(.gather, 9.9), (.waitsForInput, 0.05)]),
      lane("writer", [(.encode, 4), (.waitsForInput, 6)]),
    ]
    #expect(
      Verdict.pipeline(lanes)
        == "text and writer wait for model: text waits 90 %, model waits 0.5 %, writer waits 60 %")
    #expect(Verdict.pipeline([]) == "nothing was measured")
    #expect(Verdict.pipeline([lanes[0]]) == "text waits 90 % of the time")
    #expect(
      Verdict.pipeline([lanes[0], lanes[2]]) == "text waits for writer: text waits 90 %, writer waits 60 %")
  }

  @Test(arguments: [
    (0.0, "it is the arithmetic: training waits 0 % of its time for data and gathers batches 10 %"),
    (
      1.0,
      "it is the arithmetic, and in part the disk: training waits 9 % of its time for data and gathers batches 9 %"
    ),
    (30.0, "it is the disk: training waits 75 % of its time for data and gathers batches 3 %"),
  ])
  func trainingWaitsForTheDiskOrNot(waiting: Double, sentence: String) {
    #expect(Verdict.training(lane("train", [(.waitsForInput, waiting), (.gather, 1), (.encode, 9)])) == sentence)
  }

  @Test func whatTookNoTimeIsNoShare() {
    #expect(Verdict.training(Lane("train")).contains("waits 0 % of its time"))
  }
}
