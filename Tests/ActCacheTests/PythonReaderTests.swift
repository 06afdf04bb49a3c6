import Crypto
import Foundation
import TestSupport
import Testing

@testable import ActCache

/// `Python/actcache.py` was written from docs/format.md alone: what it reads is what we wrote, and what we refuse it
/// refuses.
@Suite(.enabled(if: Python.canRead, Comment(rawValue: Python.missing))) struct PythonReaderTests {
  /// Ways to store a hook, with a factor that makes the values use all bytes that they are stored in.
  struct Stored: CustomTestStringConvertible {
    let dtype: String
    let codec: String
    var factor: Float = 1
    var step: Float?

    var testDescription: String { "\(dtype) \(codec)" }

    func cache(pack: String = "concatenate", nVocabulary: Int = 100) -> SmallCache {
      let steps = step.map { [Float](repeating: $0, count: 5) }
      return SmallCache(
        hooks: [.hook("h", width: 5, dtype: dtype, codec: codec, steps: steps)], nVocabulary: nVocabulary, pack: pack,
        factor: factor)
    }

    static let all = [
      Stored(dtype: "bf16", codec: "zstd:1"),
      Stored(dtype: "f16", codec: "zstd:1"),
      Stored(dtype: "f32", codec: "zstd:3", factor: 1.234_567_8),
      Stored(dtype: "fix:2", codec: "zstd:1", factor: 1024.25, step: 0.25),
      Stored(dtype: "bf16", codec: "none"),
      Stored(dtype: "f16", codec: "none"),
      Stored(dtype: "f32", codec: "none", factor: 1.234_567_8),
    ]
  }

  private func sha256<Element>(_ values: [Element]) -> String {
    values.withUnsafeBytes { SHA256.hash(data: $0) }.map { hexadecimal($0) }.joined()
  }

  private func hexadecimal(_ byte: UInt8) -> String { (byte < 16 ? "0" : "") + String(byte, radix: 16) }

  @Test(arguments: zip(Stored.all, ["none", "concatenate", "none", "none", "concatenate", "none", "concatenate"]))
  func arraysAreWhatWasWritten(stored: Stored, pack: String) throws {
    let folder = try TemporaryFolder()
    let small = stored.cache(pack: pack, nVocabulary: stored.dtype == "f32" ? 70_000 : 100)
    try small.write(13, to: folder.path)
    let printed = try Python.run(
      """
      import sys, hashlib, actcache
      cache = actcache.Cache(sys.argv[1], digest=True)
      for a, b in (0, 13), (5, 9), (2, 3), (12, 13):
          for array in cache.activations("h", a, b), cache.tokens(a, b):
              print(array.dtype, array.shape, hashlib.sha256(array.tobytes()).hexdigest())
      """, [folder.path])
    var expected: [String] = []
    for range in [0..<13, 5..<9, 2..<3, 12..<13] {
      let values = range.flatMap { s in (0..<4).flatMap { p in (0..<5).map { small.value(s, p, $0, hook: 0) } } }
      let ids = range.flatMap { s in (0..<4).map { $0 < small.length(s) ? Int64(small.token(s, $0)) : -1 } }
      expected += [
        "float32 (\(range.count), 4, 5) \(sha256(values))", "int64 (\(range.count), 4) \(sha256(ids))",
      ]
    }
    #expect(printed.split(separator: "\n").map(String.init) == expected)
  }

  @Test func uncompressedF32IsMappedAndNotCopied() throws {
    let folder = try TemporaryFolder()
    try Stored(dtype: "f32", codec: "none").cache().write(13, to: folder.path)
    let printed = try Python.run(
      """
      import sys, numpy, actcache
      def owner(array):
          while isinstance(array, numpy.ndarray) and not isinstance(array, numpy.memmap): array = array.base
          return type(array).__name__
      cache = actcache.Cache(sys.argv[1])
      print(owner(cache.activations("h", 1, 6)), owner(cache.activations("h", 5, 7)))
      """, [folder.path])
    #expect(printed == "memmap NoneType\n")
  }

  @Test(arguments: Stored.all.filter { ["bf16 zstd:1", "f32 none"].contains($0.testDescription) })
  func everyFlippedByteIsRefusedOrChangesNothing(stored: Stored) throws {
    let folder = try TemporaryFolder()
    try stored.cache(pack: "none").write(5, to: folder.path)
    let name = "000000000-000000005"
    // zstd ignores one bit in the head of each frame, which only XXH64 and the SHA-256 of the file cover. Of the spaces
    // that fill the header, and of JSON files, a part will do.
    let printed = try Python.run(
      """
      import sys, actcache
      def arrays(digest=False):
          actcache.Shard.cache_clear()
          cache = actcache.Cache(sys.argv[1], digest=digest)
          return cache.activations("h", 0, 5).tobytes(), cache.tokens(0, 5).tobytes(), cache.training.tobytes()
      def refused(path, data, digest):
          open(f"{sys.argv[1]}/{path}", "wb").write(data)
          try: return "harmless" if arrays(digest) == original else "wrong"
          except actcache.CorruptCache as error: return path in str(error)
      original, harmless = arrays(), []
      for path in sys.argv[2:]:
          whole = open(f"{sys.argv[1]}/{path}", "rb").read()
          changed = [(len(whole), whole[:-1]), (len(whole), whole[: len(whole) // 2]), (len(whole), whole + b"x")]
          for i in range(0, len(whole), 1 if path.endswith("zst") else 5):
              if i % 199 == 0 or not (1000 < i < 4000 and whole[i] == 32):
                  changed.append((i, whole[:i] + bytes([whole[i] ^ 1 << i % 8]) + whole[i + 1 :]))
          for i, data in changed:
              result = refused(path, data, False)
              if result == "harmless": harmless.append(refused(path, data, True) is True)
              elif result is not True: print(path, i, result)
          if refused(path, whole, True) != "harmless": print(path, "itself")
      print(len(harmless) < 4, all(harmless))
      """,
      [
        folder.path, "hooks/h/\(name).zst", "tokens/\(name).zst", "receipts/hooks/h/\(name).json",
        "receipts/tokens/\(name).json", "manifest.json",
      ])
    #expect(printed == "True True\n")
  }

  @Test func swappedFramesAreRefused() throws {
    let folder = try TemporaryFolder()
    var small = Stored(dtype: "f32", codec: "zstd:1", factor: 1.234_567_8).cache()
    small.perShard = 100
    try small.write(100, to: folder.path)
    // Frames that are whole, of one size, and in each other's place.
    let printed = try Python.run(
      """
      import sys, actcache
      path = f"{sys.argv[1]}/hooks/h/000000000-000000100.zst"
      cache = actcache.Cache(sys.argv[1])
      shard = actcache.Shard(cache.path, cache.base_key, "hooks/h", 0, 100, False)
      frames = {}
      for i, size in enumerate(shard.table[1:-1, 0].tolist()): frames.setdefault(size, []).append(i)
      i, j = max(frames.values(), key=len)[:2]
      whole, (a, b), n = open(path, "rb").read(), shard.ends[[i, j]].tolist(), int(shard.table[i + 1, 0])
      open(path, "wb").write(whole[:a] + whole[b : b + n] + whole[a + n : b] + whole[a : a + n] + whole[b + n :])
      for k in i, j:
          try: print(actcache.Cache(sys.argv[1]).activations("h", 2 * k, 2 * k + 2))
          except actcache.CorruptCache as error: print(str(error) == f"{path}: frame {k} is not the one expected; "
                                                       "restore the file or harvest its range again")
      """, [folder.path])
    #expect(printed == "True\nTrue\n")
  }

  @Test func aCacheWithoutManifestIsReadFromItsReceipts() throws {
    let folder = try TemporaryFolder()
    var small = SmallCache(hooks: [
      .hook("h", width: 5, dtype: "bf16"), .hook("i", width: 5, dtype: "fix:2", steps: [1, 1, 1, 1, 1]),
    ])
    try small.write(20, to: folder.path)
    small.hooks.removeLast()
    try small.write(33, to: folder.path)
    // What a killed process leaves does not count.
    try overwrite(folder.path + "/receipts/hooks/h/.x.json.tmp.1", [1])
    let script = """
      import sys, actcache
      def look(path, generation):
          cache = actcache.Cache(path, generation)
          hooks = {name: [hook["nSequences"], hook["dtype"]] for name, hook in cache.hooks.items()}
          print(cache.n_sequences, cache.ranges, hooks, cache.training.tolist(), cache.spec, cache.base_key)
          print(cache.activations("i", 3, 9).sum(), cache.activations("h", 0, cache.n_sequences).sum())
          for hook, b in (("k", 1), ("i", 21), ("h", 34)):
              try: cache.activations(hook, 0, b)
              except LookupError as error: print(error)
      for generation in map(int, sys.argv[2:]): look(sys.argv[1], generation)
      """
    let whole = try Python.run(script, [folder.path, "0", "1", "2"])
    #expect(
      whole.contains("\(folder.path): no hook k; the cache holds h, i\nhooks/i: no sequences 0..<21; there are 20"))
    #expect(whole.contains("hooks/h: no sequences 0..<34; there are 33\n"))
    try FileManager.default.removeItem(atPath: folder.path + "/manifest.json")
    #expect(try Python.run(script, [folder.path, "0", "1", "2"]) == whole)
    try FileManager.default.removeItem(atPath: folder.path + "/generations")
    let message = try Python.run(
      """
      import sys, actcache
      for path in sys.argv[1:]:
          try: actcache.Cache(path)
          except actcache.CorruptCache as error: print(error)
      """, [folder.path, folder.path + "/none"])
    let remedy = ": has no complete harvest; restore the file or harvest its range again\n"
    #expect(message == folder.path + remedy + folder.path + "/none" + remedy)
  }

  @Test func messagesSayWhatWhereAndWhatToDo() throws {
    let folder = try TemporaryFolder()
    let small = SmallCache(hooks: [.hook("h", width: 5, dtype: "bf16"), .hook("i", width: 5, dtype: "bf16")])
    try small.write(12, to: folder.path)
    let files = try tree(folder.path)
    let (shard, receipt) = ("hooks/h/000000000-000000006.zst", "receipts/hooks/h/000000000-000000006.json")
    let (later, ofOther) = ("hooks/h/000000006-000000012", "hooks/i/000000000-000000006")
    /// What is said when files are others than they were.
    func message(_ changes: [String: [UInt8]?]) throws -> String {
      for (path, bytes) in changes {
        if let bytes { try overwrite("\(folder.path)/\(path)", bytes) } else { unlink("\(folder.path)/\(path)") }
      }
      defer { for path in changes.keys { try? overwrite("\(folder.path)/\(path)", files[path] ?? []) } }
      return try Python.run(
        """
        import os, sys, actcache
        os.chdir(sys.argv[1])
        try: print(actcache.Cache(".").activations("h", 0, 12).shape)
        except (actcache.CorruptCache, OSError) as error: print(error)
        """, [folder.path])
    }
    func flipped(_ path: String, _ i: Int) -> [UInt8] {
      var bytes = files[path] ?? []
      bytes[i < 0 ? bytes.count + i : i] ^= 1
      return bytes
    }
    let remedy = "; restore the file or harvest its range again\n"
    let size = files[shard]?.count ?? 0
    #expect(try message([:]) == "(12, 4, 5)\n")
    #expect(try message([shard: [1, 2, 3]]) == "\(shard): has 3 bytes instead of \(size)" + remedy)
    #expect(
      try message([shard: flipped(shard, 20)]) == "\(shard): has a damaged header, index or seek table" + remedy)
    #expect(try message([shard: flipped(shard, -6)]) == "\(shard): does not end in a seek table" + remedy)
    #expect(try message([shard: flipped(shard, 4110)]).hasPrefix("\(shard): frame 0: "))
    #expect(try message([receipt: flipped(receipt, 30)]) == "\(receipt): differs from its SHA-256" + remedy)
    #expect(
      try message(["manifest.json": flipped("manifest.json", 30)]) == "manifest.json: differs from its SHA-256" + remedy
    )
    #expect(try message([receipt: nil]) == "\(receipt): is missing" + remedy)
    #expect(try message([shard: nil]) == "\(shard): has no bytes instead of \(size)" + remedy)
    #expect(try message(["manifest.json": nil]) == "(12, 4, 5)\n")
    // Whole, but of another range or hook, together with its receipt.
    for other in [later, ofOther] {
      let changes = [shard: files["\(other).zst"], receipt: files["receipts/\(other).json"]]
      #expect(
        try message(changes) == """
          \(shard): is another shard than {'format': 'actcache.shard', 'version': 2, 'baseKey': \
          '\(try small.spec.identity.baseKey())', 'first': 0, 'end': 6, 'stream': 'hooks/h', 'width': 5, 'dtype': \
          'bf16', 'codec': 'zstd:1'}\(remedy)
          """)
    }
  }

  @Test func olderGenerationsAndHeldOutSequencesAreKnown() throws {
    let folder = try TemporaryFolder()
    let small = SmallCache(heldOut: HeldOutRule(fraction: 0.3, minimum: 2, seed: 7))
    let script = """
      import sys, numpy, actcache
      for generation in map(int, sys.argv[2:]):
          cache = actcache.Cache(sys.argv[1], generation)
          print(cache.n_sequences, *numpy.flatnonzero(~cache.training))
      """
    func line(_ manifest: Manifest) -> String {
      ([manifest.nSequences] + manifest.heldOut).map(String.init).joined(separator: " ")
    }
    try small.write(8, to: folder.path)
    let first = line(try CacheReader(path: folder.path).manifest)
    try small.write(31, to: folder.path)
    let second = line(try CacheReader(path: folder.path).manifest)
    #expect(try Python.run(script, [folder.path, "1", "2", "0"]) == "\(first)\n\(second)\n\(second)\n")
  }

  /// In batches of one every training token comes once per epoch, and nothing else comes.
  private let trainsOnText = """
    import collections, sys, numpy, actcache
    if __name__ == "__main__":
        cache = actcache.Cache(sys.argv[1])
        x, ids = cache.activations("h", 0, cache.n_sequences), cache.tokens(0, cache.n_sequences)
        expected = collections.Counter(row.tobytes() for row in x[cache.training[:, None] & (ids >= 0)])
        def rows(batches): return [row.tobytes() for batch in batches for row in numpy.asarray(batch)]
        def loaded(dataset, workers):
            if workers is None: return dataset
            import torch.utils.data
            return torch.utils.data.DataLoader(dataset, batch_size=None, num_workers=workers)
        for workers in [None if w == "-" else int(w) for w in sys.argv[2:]]:
            batches = actcache.TokenBatches(cache, "h", batch=1, window=3, seed=1, epochs=2)
            shuffled = rows(loaded(batches, workers))
            print(collections.Counter(shuffled) == expected + expected, shuffled == rows(loaded(batches, workers)))
            sizes = [len(batch) for batch in loaded(actcache.TokenBatches(cache, "h", batch=7, window=3), workers)]
            print(set(sizes) == {7}, expected.total() - sum(sizes) < 7 * (workers or 1))
            for heldout in False, True:
                items = list(loaded(actcache.Sequences(cache, "h", heldout=heldout), workers))
                print([int(item["sequence"]) for item in items] == numpy.flatnonzero(cache.training != heldout).tolist(),
                      all((numpy.asarray(i["h"]) == x[int(i["sequence"])]).all() for i in items),
                      all((numpy.asarray(i["tokens"]) == ids[int(i["sequence"])]).all() for i in items))
    """

  private func expectTrainingOnText(workers: [String]) throws {
    let folder = try TemporaryFolder()
    let hook = StreamSpec.hook("h", width: 5, dtype: "f32")
    try SmallCache(hooks: [hook], pack: "none", heldOut: HeldOutRule(fraction: 0.1, minimum: 1, seed: 7)).write(
      45, to: folder.path)
    // A file, for workers that import it.
    let script = folder.path + "/train.py"
    try overwrite(script, Array(trainsOnText.utf8))
    let printed = try Python.run(script, [folder.path] + workers)
    let expected = "True True\nTrue True\nTrue True True\nTrue True True\n"
    #expect(printed == String(repeating: expected, count: workers.count))
  }

  @Test func datasetsReturnTrainingTokensAndNothingElse() throws { try expectTrainingOnText(workers: ["-"]) }

  @Test(.enabled(if: Python.modules.contains("torch"), "needs torch"))
  func datasetsDoSoInWorkersOfADataLoader() throws { try expectTrainingOnText(workers: ["0", "1", "3"]) }

  /// Everything else that the document says: digests, identity, statistics, order.
  @Test(arguments: zip(Stored.all, ["none", "concatenate", "none", "none", "concatenate", "none", "concatenate"]))
  func theDocumentSaysHowEverythingIsComputed(stored: Stored, pack: String) throws {
    let folder = try TemporaryFolder()
    let small = stored.cache(pack: pack)
    for n in [20, 33] { try small.write(n, to: folder.path) }
    let cache = try CacheReader(path: folder.path)
    let reader = try TrainingReader(cache, hook: "h", batchSize: 5, seed: 9, windowFrames: 4)
    let batches = [0, 1, reader.nBatchesPerEpoch - 1, reader.nBatchesPerEpoch, 1000]
    let script = SharedInputs.packageRoot.appendingPathComponent("Tests/ActCacheTests/Fixtures/prove_format.py").path
    let printed = try Python.run(script, [folder.path, "9", "4", "5"] + batches.map(String.init))
    let sequences = try SequenceReader(cache, seed: 9)
    let nTraining = 33 - cache.manifest.heldOut.count
    var expected = batches.map { batch in reader.places(batch: batch).map { $0.sequence * 4 + $0.position } }
    expected.append(try (nTraining..<(2 * nTraining)).map { try sequences.sequence($0).number })
    let lines = expected.map { numbers in numbers.map(String.init).joined(separator: " ") }
    #expect(printed.split(separator: "\n").map(String.init) == lines)
  }
}
