import ActCache
import Measure
import TestSupport
import Testing

@Suite struct CodecBenchmarkTests {
  private func values(rows: Int = 640, width: Int = 12) -> CodecBenchmark.Values {
    var generator = SeededGenerator(seed: 5)
    return CodecBenchmark.Values(
      hook: "h", origin: "made up", values: generator.floats(rows * width), width: width, context: 16)
  }

  @Test func decodingGivesBackWhatTheTypeKeeps() throws {
    let values = values()
    for (dtype, codec) in [("f32", "zstd:1"), ("f32", "none"), ("bf16", "zstd:3")] {
      let stream = StreamSpec.hook("h", width: 12, dtype: dtype, codec: codec)
      let trial = try CodecTrial(stream, values: values.values, context: 16, sequencesPerFrame: 8)
      try trial.encode()
      #expect(trial.nValues == 640 * 12 && trial.contentBytes == trial.nValues * (dtype == "f32" ? 4 : 2))
      var decoded = [Float](repeating: .nan, count: trial.nValues)
      try trial.decode(into: &decoded)
      if dtype == "f32" {
        #expect(decoded == values.values)
      } else {
        #expect(zip(decoded, values.values).allSatisfy { abs($0 - $1) <= abs($1) / 256 })
      }
      #expect((codec == "none") == (trial.encodedBytes == trial.contentBytes))
      try trial.decompressAndCopy()
    }
  }

  @Test func sequencesThatFillNoFrameAreLeftOut() throws {
    let stream = StreamSpec.hook("h", width: 12, dtype: "f32")
    let trial = try CodecTrial(stream, values: values(rows: 16 * 7).values, context: 16, sequencesPerFrame: 3)
    #expect(trial.nValues == 16 * 6 * 12)
    #expect(throws: ActCacheError.self) {
      try CodecTrial(stream, values: values(rows: 16).values, context: 16, sequencesPerFrame: 3)
    }
  }

  @Test func everyCombinationIsMeasuredOrSaidToBeLeftOut() throws {
    var values = values(rows: 64 * 1024 / 8, width: 12)
    values.values = Array(values.values.prefix(values.values.count / (16 * 12) * 16 * 12))
    let combinations = [("bf16", "zstd:1"), ("fix:7", "zstd:1"), ("fix:7", "none"), ("f32", "none")]
    let result = try CodecBenchmark(values).run(combinations.map { (dtype: $0.0, codec: $0.1) })
    #expect(result.rows.map(\.dtype) == ["bf16", "fix:7", "f32"])
    #expect(result.leftOut.count == 1 && result.leftOut[0].hasPrefix("fix:7 none: "))
    #expect(result.rows.last?.fvu == 0 && result.rows.last?.ratio == 1)
    for row in result.rows.dropLast() {
      #expect(row.fvu > 0 && row.fvu < 1e-4 && row.worstChannelFVU >= row.fvu && row.ratio < 1)
    }
  }

  @Test func whatIsNoTypeOrCodecIsRefused() {
    func message(_ dtype: String, _ codec: String) -> String {
      do { _ = try CodecBenchmark(values()).run([(dtype: dtype, codec: codec)]) } catch { return "\(error)" }
      return ""
    }
    #expect(message("f8", "none") == "dtype f8: allowed are \(StorageType.allowed)")
    #expect(message("f32", "lz4") == "codec lz4: allowed are \(ShardCodec.allowed)")
  }

  @Test func anInterruptionEndsIt() {
    #expect(throws: MeasureError.interrupted) { try CodecBenchmark(values()).run(isInterrupted: { true }) }
  }
}
