import Foundation
import Memory
import TestSupport
import Testing

@testable import ActCache

/// `export` and `dump`.
struct ExportTests {
  private let folder: TemporaryFolder
  private let cache: SmallCache
  private var path: String { folder.path + "/cache" }
  private let hook = "blocks.0.hook_resid_post"

  init() throws {
    folder = try TemporaryFolder()
    cache = SmallCache(
      hooks: [.hook(hook, width: 5, dtype: "bf16"), .hook("half", width: 2, dtype: "f16")], pack: "none")
    try cache.write(20, to: path)
  }

  /// The same cache with teacher targets.
  private func addTargets() throws -> SmallCache {
    var more = cache
    more.logits = try LogitPolicy.list(["hidden", "topk:3", "full"])
    try more.write(20, to: path)
    return more
  }

  private func export(
    _ format: SequenceExport.Format, _ out: String, _ change: (inout SequenceExport.Configuration) -> Void = { _ in }
  ) throws -> SequenceExport.Summary {
    var configuration = SequenceExport.Configuration()
    configuration.hook = hook
    configuration.format = format
    configuration.out = folder.path + "/" + out
    change(&configuration)
    return try SequenceExport(configuration, cache: CacheReader(path: path)).write()
  }

  private func read(_ name: String) throws -> [UInt8] { try bytes(of: folder.path + "/" + name) }

  private func floats(_ bytes: some Sequence<UInt8>) -> [Float] {
    let all = Array(bytes)
    return stride(from: 0, to: all.count, by: 4).map { i in
      Float(bitPattern: (0..<4).reduce(UInt32(0)) { $0 | UInt32(all[i + $1]) << (8 * UInt32($1)) })
    }
  }

  private func expected(_ numbers: some Sequence<Int>, width: Int = 5, hook: Int = 0) -> [Float] {
    numbers.flatMap { s in (0..<4).flatMap { p in (0..<width).map { cache.value(s, p, $0, hook: hook) } } }
  }

  @Test func theHeaderOfAnNPYFileIsAsNumpyWritesIt() {
    // numpy.save of zeros((3, 4, 5), 'f4'), numpy 2.
    let text = "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4, 5), }"
    let header = NPYHeader.bytes(type: "<f4", shape: [3, 4, 5])
    #expect(
      header == [0x93, 0x4E, 0x55, 0x4D, 0x50, 0x59, 1, 0, 118, 0] + Array(text.utf8)
        + [UInt8](repeating: 0x20, count: 118 - 1 - text.utf8.count) + [0x0A])
    #expect(
      String(decoding: NPYHeader.bytes(type: "<i8", shape: [7]).dropFirst(10), as: UTF8.self).contains(
        "'shape': (7,), "))
    for n in [0, 1, 99_999_999] { #expect(NPYHeader.bytes(type: "|b1", shape: [n, n, n]).count % 64 == 0) }
  }

  @Test func npyFilesHoldTheValuesAndTheirNumbers() throws {
    let summary = try export(.npy, "x.npy") {
      $0.sequences = "5-12"
      $0.tokens = true
    }
    let heldOut = try CacheReader(path: path).manifest.heldOut.filter { (5..<12).contains($0) }
    #expect(summary.shape == [7, 4, 5] && summary.dtype == "f32" && summary.heldOut == heldOut)
    #expect(
      summary.files == ["x.sequences", "x.held_out", "x.tokens", "x.lengths", "x"].map { folder.path + "/\($0).npy" })
    #expect(floats(try read("x.npy").dropFirst(128)) == expected(5..<12))
    let numbers = (5..<12).flatMap { n -> [UInt8] in [UInt8(n), 0, 0, 0, 0, 0, 0, 0] }
    #expect(try read("x.sequences.npy").dropFirst(128) == numbers[...])
    #expect(try read("x.held_out.npy").dropFirst(128) == (5..<12).map { UInt8(heldOut.contains($0) ? 1 : 0) }[...])
    let lengths = (5..<12).flatMap { n -> [UInt8] in [UInt8(cache.length(n)), 0, 0, 0] }
    #expect(try read("x.lengths.npy").dropFirst(128) == lengths[...])
    let tokens = (5..<12).flatMap { s -> [UInt8] in (0..<4).flatMap { [UInt8(cache.token(s, $0)), 0, 0, 0] } }
    #expect(try read("x.tokens.npy").dropFirst(128) == tokens[...])
    // Again: the same bytes, nothing else in the folder.
    let before = try tree(folder.path)
    _ = try export(.npy, "x.npy") {
      $0.sequences = "5-12"
      $0.tokens = true
    }
    #expect(try tree(folder.path) == before)
  }

  @Test func safetensorsFilesSayWhatIsHeldOut() throws {
    let heldOut = try CacheReader(path: path).manifest.heldOut
    _ = try export(.safetensors, "x.safetensors") { $0.tokens = true }
    let file = try SafetensorsFile(path: folder.path + "/x.safetensors")
    #expect(
      file.tensors.mapValues(\.type)
        == ["sequences": "I64", "tokens": "I32", "lengths": "I32", "activations": "F32", "held_out": "BOOL"])
    #expect(try file.floats("activations", shape: [20, 4, 5]) == expected(0..<20))
    for (tensor, size) in [("sequences", 8), ("tokens", 4), ("lengths", 4), ("activations", 4)] {
      #expect(try #require(file.tensors[tensor]).bytes.lowerBound % size == 0)
    }
    let text = String(decoding: try read("x.safetensors"), as: UTF8.self)
    #expect(text.contains("\"held_out\":\"\(heldOut.map(String.init).joined(separator: ","))\""))

    let training = try export(.safetensors, "t.safetensors") { $0.trainingOnly = true }
    let rest = (0..<20).filter { !heldOut.contains($0) }
    #expect(training.heldOut.isEmpty && training.shape == [rest.count, 4, 5])
    let floats = try SafetensorsFile(path: folder.path + "/t.safetensors").floats(
      "activations", shape: [rest.count, 4, 5])
    #expect(floats == expected(rest))
  }

  @Test func nativeValuesAreTheStoredOnes() throws {
    _ = try export(.safetensors, "b.safetensors") { $0.native = true }
    let file = try SafetensorsFile(path: folder.path + "/b.safetensors")
    let tensor = try #require(file.tensors["activations"])
    #expect(tensor.type == "BF16")
    let stored = try file.withBytes(of: tensor) { $0.bytes() }
    #expect(stored == expected(0..<20).flatMap { [UInt8(bf16Bits($0) & 255), UInt8(bf16Bits($0) >> 8)] })
    _ = try export(.npy, "h.npy") {
      $0.native = true
      $0.hook = "half"
    }
    let half = expected(0..<20, width: 2, hook: 1).flatMap { [UInt8(f16Bits($0) & 255), UInt8(f16Bits($0) >> 8)] }
    #expect(try read("h.npy").dropFirst(128) == half[...])
    #expect(String(decoding: try read("h.npy").prefix(128), as: UTF8.self).contains("'descr': '<f2'"))
  }

  @Test(arguments: [
    ("3", "--sequences 3: allowed are a-b with a < b, which leaves out b", 64),
    ("7-7", "--sequences 7-7: allowed are a-b with a < b, which leaves out b", 64),
    ("-1-3", "--sequences -1-3: allowed are a-b with a < b, which leaves out b", 64),
    ("0..<3", "--sequences 0..<3: allowed are a-b with a < b, which leaves out b", 64),
    ("15-21", "--sequences 15-21: PATH has the sequences 0-20; choose among them", 66),
  ])
  func rangesThatMakeNoSenseNameWhatIsAllowed(range: String, message: String, status: Int32) throws {
    let error = #expect(throws: ActCacheError.self) { try export(.npy, "x.npy") { $0.sequences = range } }
    #expect(error?.description == message.replacing("PATH", with: path) && error?.exitCode == status)
  }

  @Test func placesThatCannotBeWrittenAreRefusedBeforehand() throws {
    func message(_ out: String, _ change: (inout SequenceExport.Configuration) -> Void = { _ in }) -> (String?, Int32?)
    {
      let error = #expect(throws: ActCacheError.self) { try export(.npy, out, change) }
      return (error?.description, error?.exitCode)
    }
    #expect(
      message("cache/hooks/x.npy") == ("--out \(path)/hooks/x.npy lies inside the cache; choose another place", 64))
    #expect(message("cache") == ("--out \(path) is a folder; give the name of a file", 64))
    #expect(
      message("none/x.npy")
        == ("\(folder.path)/none: create failed: No such file or directory; check the path", 73))
    #expect(
      message("x.npy") { $0.native = true }
        == ("--dtype native: numpy has no bf16; leave it out for f32, or write safetensors", 64))
    #expect(message("x.npy") { $0.hook = "h" } == ("\(path): no hook h; the cache holds \(hook), half", 66))
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path) == ["cache"])
  }

  @Test(arguments: SequenceExport.Format.allCases)
  func anInterruptedExportLeavesNothing(format: SequenceExport.Format) throws {
    var configuration = SequenceExport.Configuration()
    configuration.hook = hook
    configuration.format = format
    configuration.tokens = true
    configuration.out = folder.path + "/x"
    var nAsked = 0
    let summary = try SequenceExport(configuration, cache: CacheReader(path: path)).write(
      isInterrupted: {
        nAsked += 1
        return nAsked > 5
      })
    #expect(summary.wasInterrupted && summary.files.isEmpty)
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path) == ["cache"])
  }

  @Test func aDamagedShardIsNotExported() throws {
    let shard = path + "/hooks/\(hook)/000000006-000000012.zst"
    var data = try bytes(of: shard)
    data[4200] ^= 1
    try overwrite(shard, data)
    let error = #expect(throws: ActCacheError.self) { try export(.npy, "x.npy") }
    #expect(error?.exitCode == 65)
    #expect(!FileManager.default.fileExists(atPath: folder.path + "/x.npy"))
  }

  @Test func finalHiddenStatesAreExportedAsActivations() throws {
    _ = try addTargets()
    for name in ["hidden", "logits/hidden"] {
      let summary = try export(.npy, "x.npy") {
        $0.hook = name
        $0.sequences = "3-9"
      }
      #expect(summary.shape == [6, 4, 5] && summary.dtype == "f32")
      #expect(floats(try read("x.npy").dropFirst(128)) == expected(3..<9))
    }
    for name in ["topk:3", "logits/full", "mass:0.1"] {
      let error = #expect(throws: ActCacheError.self) { try export(.npy, "y.npy") { $0.hook = name } }
      #expect(
        error?.description == "--hook \(name): targets are lists of tokens with probabilities, which are no array; "
          + "actcache dump shows them, docs/format.md §7 says how to read them, and of the policy hidden the states can "
          + "be exported")
    }
  }

  @Test func hiddenStatesThatAreNotThereAreAskedFor() throws {
    let error = #expect(throws: ActCacheError.self) { try export(.npy, "x.npy") { $0.hook = "hidden" } }
    #expect(
      error?.description
        == "\(path): no logits hidden; the cache holds none; harvest again with --logits hidden to add them")
  }

  @Test func tokensAreExportedAlone() throws {
    let summary = try export(.npy, "t.npy") {
      $0.hook = nil
      $0.tokens = true
      $0.sequences = "5-12"
    }
    #expect(summary.shape == [7, 4] && summary.dtype == "i32")
    #expect(summary.files == ["t.sequences", "t.held_out", "t.lengths", "t"].map { folder.path + "/\($0).npy" })
    let tokens = (5..<12).flatMap { s -> [UInt8] in (0..<4).flatMap { [UInt8(cache.token(s, $0)), 0, 0, 0] } }
    #expect(try read("t.npy").dropFirst(128) == tokens[...])
    #expect(
      String(decoding: try read("t.npy").prefix(128), as: UTF8.self).contains(
        "'<i4', 'fortran_order': False, 'shape': (7, 4), "))
    _ = try export(.safetensors, "t.safetensors") {
      $0.hook = nil
      $0.tokens = true
    }
    let file = try SafetensorsFile(path: folder.path + "/t.safetensors")
    #expect(file.tensors.keys.sorted() == ["held_out", "lengths", "sequences", "tokens"])
    #expect(file.tensors["tokens"]?.shape == [20, 4])
    let nothing = #expect(throws: ActCacheError.self) { try export(.npy, "x.npy") { $0.hook = nil } }
    #expect(nothing?.description == "nothing to export: give --hook NAME, --tokens, or both" && nothing?.exitCode == 64)
    let native = #expect(throws: ActCacheError.self) {
      try export(.npy, "x.npy") {
        $0.hook = nil
        $0.tokens = true
        $0.native = true
      }
    }
    #expect(
      native?.description == "--dtype native: token ids are written as i32; leave it out, or give --hook NAME")
  }

  @Test func aDumpShowsTargets() throws {
    let more = try addTargets()
    let dump = try SequenceDump(9, of: CacheReader(path: path))
    #expect(
      dump.hooks.map(\.name) == [hook, "half", "logits/hidden"] && dump.logits.map(\.policy) == ["full", "topk:3"])
    #expect(dump.hooks[2].firstValues == (0..<2).map { p in (0..<4).map { more.value(9, p, $0, hook: 0) } })
    for targets in dump.logits {
      #expect(targets.counts == (targets.policy == "full" ? [100, 100] : [3, 3]))
      for position in 0..<2 {
        let (logProbabilities, order) = more.distribution(9, position)
        let n = targets.policy == "full" ? 4 : 3
        #expect(targets.top[position].map(\.token) == order.prefix(n).map { UInt32($0) })
        for entry in targets.top[position] {
          #expect(abs(log(entry.probability) - logProbabilities[Int(entry.token)]) < 1e-3)
        }
        let tail = order.dropFirst(3).reduce(Float(0)) { $0 + exp(logProbabilities[$1]) }
        #expect(abs(targets.tailMasses[position] - (targets.policy == "full" ? 0 : tail)) < 1e-5)
        #expect(targets.entropies[position] > 2 && targets.entropies[position] < log(100))
      }
    }
    #expect(dump.logits[1].place.file == path + "/logits/topk:3/000000006-000000012.zst")
  }

  @Test func aDumpSaysWhatASequenceIsAndWhereItLies() throws {
    let reader = try CacheReader(path: path)
    let dump = try SequenceDump(9, of: reader)
    #expect(dump.length == cache.length(9) && dump.tokens == (0..<4).map { cache.token(9, $0) })
    #expect(dump.isHeldOut == reader.manifest.heldOut.contains(9) && dump.generation == 1)
    let first = try #require(dump.hooks.first { $0.name == hook })
    #expect(first.firstValues == (0..<dump.length).map { p in (0..<4).map { cache.value(9, p, $0, hook: 0) } })
    let norm = (0..<5).map { Double(cache.value(9, 0, $0, hook: 0)) }.map { $0 * $0 }.reduce(0, +).squareRoot()
    #expect(abs(first.norms[0] - norm) < 1e-9)
    let shard = try ShardReader(path: first.place.file, bytes: nil)
    #expect(first.place.file == path + "/hooks/\(hook)/000000006-000000012.zst")
    #expect(first.place.frame == 1 && first.place.sequenceInFrame == 1)
    #expect(first.place.firstByte..<first.place.endByte == shard.byteRange(ofFrame: 1))
    #expect(dump.tokensPlace.frame == 1 && dump.tokensPlace.sequenceInFrame == 0)
    let error = #expect(throws: ActCacheError.self) { try SequenceDump(20, of: reader) }
    #expect(error == .missing("\(path): no sequence 20; it has 0 to 19"))
    #expect(throws: ActCacheError.self) { try SequenceDump(-1, of: reader) }
  }

  @Test func whatIsThereOfAnUnfinishedHarvestCanBeNamed() throws {
    try cache.write(24, to: folder.path + "/part", shards: [0, 1, 3])
    var configuration = SequenceExport.Configuration()
    (configuration.hook, configuration.out) = (hook, folder.path + "/x.npy")
    let reader = try CacheReader(path: folder.path + "/part", allowIncomplete: true)
    func refusal() -> String {
      let error = #expect(throws: ActCacheError.self) { try SequenceExport(configuration, cache: reader) }
      return error?.description ?? ""
    }
    #expect(
      refusal()
        == "\(folder.path)/part: \(hook) is there for sequences 0..<12, the harvest is not finished; --sequences 0-12 "
        + "exports them")
    configuration.sequences = "3-13"
    #expect(refusal() == "--sequences 3-13: \(folder.path)/part has the sequences 0-12; choose among them")
    configuration.sequences = "3-12"
    configuration.trainingOnly = true
    #expect(refusal().hasPrefix("--training-only: \(folder.path)/part has no held-out sequences before "))
    configuration.trainingOnly = false
    let summary = try SequenceExport(configuration, cache: reader).write()
    #expect(summary.shape == [9, 4, 5] && summary.heldOut == Array(3..<12))
    #expect(try floats(read("x.npy").suffix(9 * 4 * 5 * 4)) == expected(3..<12))
  }
}
