import TestSupport
import Testing

@testable import ActCache

struct MixingMetricTests {
  /// Twin of `GroupSizes.expectedDistinct`: the average over all ways to draw.
  private func twin(_ n: Int, of sizes: [Int]) -> Double {
    let groups = sizes.enumerated().flatMap { group, size in [Int](repeating: group, count: size) }
    var (total, ways) = (0, 0)
    for subset in 0..<(1 << groups.count) where subset.nonzeroBitCount == n {
      total += Set(groups.indices.filter { subset >> $0 & 1 == 1 }.map { groups[$0] }).count
      ways += 1
    }
    return Double(total) / Double(ways)
  }

  @Test(arguments: [[], [1], [3], [1, 1, 1], [2, 2, 2], [0, 4, 1], [1, 2, 3, 4], [5, 5]] as [[Int]])
  func theExpectationIsTheAverageOverAllDraws(sizes: [Int]) {
    for n in 0...sizes.reduce(0, +) {
      #expect(abs(GroupSizes(sizes).expectedDistinct(n) - twin(n, of: sizes)) < 1e-12, "\(n) of \(sizes)")
    }
  }

  @Test func batchesAreMixedAsIfDrawnAtRandom() throws {
    let folder = try TemporaryFolder()
    // 8 positions: sequences of 7 tokens and, where documents are shorter, fewer.
    for (pack, filter) in [("concatenate", TokenFilter(skipsBOS: true)), ("none", TokenFilter())] {
      let path = folder.path + "/" + pack
      try SmallCache(context: 8, pack: pack, perShard: 100, perFrame: 2).write(400, to: path, blockFrames: 50)
      let reader = try TrainingReader(
        CacheReader(path: path), hook: "blocks.0.hook_resid_post", batchSize: 20, seed: 3, filter: filter,
        windowFrames: 20)
      let metric = reader.mixing(batches: 0..<reader.nBatchesPerEpoch)
      #expect(metric.batchSize == 20 && metric.nBatches == reader.nBatchesPerEpoch)
      // Some 80 batches of about 15 sequences each, with a deviation of 1.5: their mean is known to 0.2.
      #expect(abs(metric.measured - metric.expected) < 0.5, "\(metric)")
      #expect(metric.expected < metric.ideal && metric.ideal < 20, "\(metric)")
      // Each batch by its own window, whichever was asked about before.
      let batches = Array(0..<reader.nBatchesPerEpoch)
      let alone = try batches.map { try TrainingReader(reader.source, batchSize: 20).mixing(batch: $0) }
      #expect(batches.map { reader.mixing(batch: $0) } == alone)
      #expect(reader.source.nDecodedFrames == 0)
    }
  }

  @Test func aBatchInTwoWindowsCountsBoth() throws {
    let folder = try TemporaryFolder()
    try SmallCache(heldOut: HeldOutRule(fraction: 0)).write(8, to: folder.path)
    // Windows of 8 tokens of two sequences, so each batch of 16 takes all of two windows.
    let reader = try TrainingReader(
      CacheReader(path: folder.path), hook: "blocks.0.hook_resid_post", batchSize: 16, seed: 3, windowFrames: 1)
    let metric = reader.mixing(batches: 0..<2)
    #expect(metric.measured == 4 && metric.expected == 4)
    // The same whether the batch was read before or not.
    var values = [Float](repeating: 0, count: 16 * 5)
    for batch in [0, 1, 1, 3, 0] {
      let before = reader.mixing(batch: batch)
      var output = values.mutableSpan
      try reader.read(batch: batch, into: &output)
      #expect(reader.mixing(batch: batch) == before && before == BatchMixing(measured: 4, expected: 4))
    }
  }
}
