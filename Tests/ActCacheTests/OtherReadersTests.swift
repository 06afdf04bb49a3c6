import TestSupport
import Testing

@testable import ActCache

/// Readers of the zstd seekable format that know nothing of us; the tool `zstd` itself is in `ShardTests`.
@Suite struct OtherReadersTests {
  @Test(
    .enabled(if: Python.modules.isSuperset(of: ["pyzstd", "indexed_zstd"]), "needs pyzstd and indexed_zstd"),
    arguments: ["bf16", "f32", "none"], ["pyzstd.SeekableZstdFile", "indexed_zstd.IndexedZstdFile"])
  func theyReadOurShardsAtRandom(type: String, reader: String) throws {
    let folder = try TemporaryFolder()
    let small = SmallCache(
      hooks: [.hook("h", width: 700, dtype: type == "none" ? "f32" : type)], perShard: 40
    ).coded(type == "none" ? "none" : "zstd:1")
    try small.write(40, to: folder.path)
    for path in ["hooks/h/000000000-000000040.zst", "tokens/000000000-000000040.zst"] {
      let shard = try ShardReader(path: "\(folder.path)/\(path)", bytes: nil)
      let decoder = try FrameDecoder()
      var content: [UInt8] = []
      for frame in 0..<(type == "none" && path.hasPrefix("hooks") ? 0 : shard.header.nFrames) {
        var bytes = [UInt8](repeating: 0, count: shard.header.contentBytes(ofFrame: frame))
        var elements = bytes.mutableSpan
        var output = elements.mutableBytes
        try shard.decode(frame: frame, with: decoder, into: &output)
        content += bytes
      }
      try overwrite(folder.path + "/content", content)
      let printed = try Python.run(
        """
        import random, sys, importlib
        path, expected, (module, name) = sys.argv[1], open(sys.argv[2], "rb").read(), sys.argv[3].split(".")
        file, generator = getattr(importlib.import_module(module), name)(path), random.Random(1)
        same = file.read() == expected
        for _ in range(200):
            start = generator.randrange(len(expected) + 1)
            n = generator.choice((1, 100, 5000, 50000))
            file.seek(start)
            same &= file.read(n) == expected[start : start + n]
        print(same)
        """, ["\(folder.path)/\(path)", folder.path + "/content", reader])
      #expect(printed == "True\n", "\(path)")
    }
  }
}
