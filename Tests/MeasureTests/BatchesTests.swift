import ActCache
import Harvest
import LinearAlgebra
import Measure
import SAE
import Testing
import Train

@Suite struct BatchesTests {
  @Test(arguments: [16, 40, 64]) func liveBatchesAreTheModelsRowsAtTrainingSequences(rows: Int) throws {
    try SmallHarvest().withCache { cache in
      let live = try LiveBatches(EchoModel(), sequencesOf: cache, hook: "h", scale: 1)
      let reader = try SequenceReader(cache, seed: 0)
      let perBatch = (rows + 15) / 16
      var batch = Matrix(rows, live.width)
      for index in [0, 1, 7] {
        try live.read(batch: index, into: &batch)
        var tokens: [UInt32] = []
        for i in 0..<perBatch { tokens += try reader.sequence(index * perBatch + i).tokens }
        for row in 0..<rows {
          for channel in 0..<live.width {
            #expect(batch[row, channel] == EchoModel.value(token: tokens[row], channel: channel))
          }
        }
      }
      #expect(live.reading == .forward && live.secondsWaited == 0)
    }
  }

  @Test func trainingOnACacheIsSplitIntoWhatIsDone() throws {
    try SmallHarvest().withCache { cache in
      let source = try CacheBatches(cache, hook: "h", batchSize: 32, seed: 1)
      let configuration = SAEConfiguration(architecture: .topk, dIn: EchoModel.width, dSAE: 12, k: 2)
      // Three epochs, so that windows are decoded meanwhile.
      let steps = 3 * source.tokensPerEpoch / 32
      let result = try TrainBenchmark(configuration, batch: 32, steps: steps, source: source).run()
      #expect(result.secondsPerStep.count == steps && result.lanes.map(\.name) == ["train", "decoder"])
      let train = result.lanes[0]
      #expect(Set(train.totals.map(\.activity)).isSuperset(of: [.gather, .compute, .optimize]))
      let sum = result.secondsPerStep.reduce(0, +)
      #expect(abs(train.busySeconds + train.waitingSeconds - sum) < 0.1 * sum + 0.01)
      let decoder = result.lanes[1]
      #expect(decoder.spans.filter { $0.activity == .decode }.count >= 2)
      for (a, b) in zip(decoder.spans, decoder.spans.dropFirst()) { #expect(a.end == b.start) }
    }
  }

  @Test func syntheticStepsReadNothing() throws {
    let configuration = SAEConfiguration(architecture: .topk, dIn: 4, dSAE: 8, k: 2)
    let result = try TrainBenchmark(configuration, batch: 8, steps: 3).run()
    #expect(result.lanes.map(\.name) == ["train"])
    #expect(Set(result.lanes[0].totals.map(\.activity)) == [.compute, .optimize])
  }

  @Test func liveAndCachedStepsAreCompared() throws {
    try SmallHarvest().withCache { cache in
      let configuration = SAEConfiguration(architecture: .topk, dIn: EchoModel.width, dSAE: 12, k: 2)
      let result = try LiveBenchmark(configuration, batch: 32, steps: 7).run(
        cache, hook: "h", source: EchoModel())
      #expect(result.live.lanes[0].seconds(.forward) > 0 && result.cached.lanes[0].seconds(.forward) == 0)
      // Three rounds of as many steps each.
      #expect(result.live.secondsPerStep.count == 9 && result.live.steps == 9 && result.cached.steps == 9)
      let (live, sum) = (result.live.lanes[0], result.live.secondsPerStep.reduce(0, +))
      #expect(abs(live.busySeconds + live.waitingSeconds - sum) < 0.1 * sum + 0.01)
      #expect(result.gain > 0 && result.verdict.hasPrefix("with the model in the loop"))
    }
  }
}
