import ActCache
import Testing

@Suite struct StorageTypeTests {
  @Test func namesReadBackAndNothingElseIsTaken() {
    for name in ["bf16", "f16", "f32", "fix:1", "fix:7", "fix:12"] { #expect(StorageType(name)?.name == name) }
    for name in ["", "bf8", "fix", "fix:", "fix:0", "fix:13", "fix:07", "fix:+7", "f64"] {
      #expect(StorageType(name) == nil)
    }
    for name in ["zstd:1", "zstd:19", "none"] { #expect(ShardCodec(name)?.name == name) }
    for name in ["zstd", "zstd:0", "zstd:20", "zstd:01", "raw", ""] { #expect(ShardCodec(name) == nil) }
  }

  @Test func bytesPerValue() {
    #expect(["bf16", "f16", "f32", "fix:7"].map { StorageType($0)?.byteCount } == [2, 2, 4, 3])
  }
}
