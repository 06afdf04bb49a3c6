import Foundation
import Memory
import TestSupport
import Testing

@testable import ActCache

/// Files that carry right digests and wrong content: no crash, no hang, no memory beyond what a reader may ask for. Each
/// test runs in a process of its own, whose memory is that of nothing else.
///
/// Seeded; ACTCACHE_FUZZ_SECONDS gives each test more than its share of every day.
@Suite(.serialized) struct FuzzTests {
  private static let seconds =
    ProcessInfo.processInfo.environment["ACTCACHE_FUZZ_SECONDS"].flatMap(Double.init) ?? 2
  private static let seed = UInt64.random(in: 0 ... .max)
  /// The files have a few kB. What a header or a manifest says may cost a frame (64 MiB at most) where bytes decompress to
  /// that much, and one of it as numbers.
  private static let maxGrowth = 96 << 20

  /// Calls `body` with a generator of its own again and again, and checks time and memory.
  private func fuzz(_ name: String, _ body: (inout SeededGenerator) throws -> Void) throws {
    let start = Date()
    let before = maxResidentBytes()
    var n: UInt64 = 0
    while Date().timeIntervalSince(start) < FuzzTests.seconds {
      let seed = FuzzTests.seed &+ n
      var generator = SeededGenerator(seed: seed)
      let begin = Date()
      do { try body(&generator) } catch is ActCacheError {} catch is MemoryError {}
      #expect(Date().timeIntervalSince(begin) < 5, "\(name), seed \(seed): too slow")
      n += 1
    }
    let grown = maxResidentBytes() - before
    #expect(
      grown < FuzzTests.maxGrowth,
      "\(name): \(n) inputs from seed \(FuzzTests.seed) took \(grown >> 20) MiB more than before")
  }

  private func maxResidentBytes() -> Int {
    var usage = rusage()
    getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
    return usage.ru_maxrss << 10
  }

  /// Some member somewhere becomes another value, goes or is doubled.
  private func mutate(_ json: CanonicalJSON, _ generator: inout SeededGenerator) -> CanonicalJSON {
    func other(_ generator: inout SeededGenerator) -> CanonicalJSON {
      let integers = [0, -1, 1, 2, 3, 7, 255, 65_536, 1 << 31, 1 << 32, 1 << 40, (1 << 40) + 1, 1 << 62, .max, .min]
      switch Int.random(in: 0..<8, using: &generator) {
      case 0...3: return .integer(integers.randomElement(using: &generator) ?? 0)
      case 4: return .number([0.5, -0.0, 1e300, -1e300, 1e-300].randomElement(using: &generator) ?? 0)
      case 5:
        let texts = [
          "", "tokens", "hooks/x", "hooks/../x", "bf16", "fix:12", "none", "zstd:19", "\u{0}", "logits/hidden",
          "logits/full", "logits/topk:4096", "logits/mass:0.5:4096", "targets",
        ]
        return .string(texts.randomElement(using: &generator) ?? "")
      case 6: return .null
      default: return .array([])
      }
    }
    switch json {
    case .object(var members) where !members.isEmpty:
      guard let key = members.keys.sorted().randomElement(using: &generator), let value = members[key] else {
        return json
      }
      switch Int.random(in: 0..<10, using: &generator) {
      case 0: members[key] = nil
      case 1, 2: members[key] = other(&generator)
      default: members[key] = mutate(value, &generator)
      }
      return .object(members)
    case .array(var values) where !values.isEmpty:
      let i = Int.random(in: values.indices, using: &generator)
      switch Int.random(in: 0..<10, using: &generator) {
      case 0: values.remove(at: i)
      case 1: values.append(values[i])
      default: values[i] = mutate(values[i], &generator)
      }
      return .array(values)
    case .integer(let value) where Bool.random(using: &generator):
      return .integer(value &+ Int.random(in: -3...3, using: &generator))
    default: return other(&generator)
    }
  }

  /// The sealed file at `path` with some of its body changed and a right seal.
  private func resealed(_ whole: [UInt8], _ name: String, _ generator: inout SeededGenerator) throws -> [UInt8] {
    guard case .object(let file) = try CanonicalJSON(parsing: whole), var body = file[name] else { return whole }
    for _ in 0..<Int.random(in: 1...3, using: &generator) { body = mutate(body, &generator) }
    let bytes = body.bytes
    return Array("{\"\(name)\":".utf8) + bytes
      + Array(",\n\"sha256\":\"\(CanonicalJSON.hexDigest(of: bytes))\"}\n".utf8)
  }

  /// Opens the cache in every way and reads some of it.
  private func use(_ path: String) throws {
    for generation in [nil, 1, 2] {
      do {
        let cache = try CacheReader(path: path, generation: generation, allowIncomplete: true)
        for hook in cache.manifest.hooks.keys.sorted().prefix(2) {
          guard cache.manifest.hooks[hook]?.width ?? 0 < 1 << 10, cache.manifest.context < 1 << 10 else { continue }
          let reader = try TrainingReader(cache, hook: hook, batchSize: 4, seed: 1)
          var values = [Float](repeating: 0, count: 4 * reader.width)
          var output = values.mutableSpan
          for batch in 0..<3 { try reader.read(batch: batch, into: &output) }
          _ = reader.places(batch: 1)
        }
        if cache.manifest.context < 1 << 10 {
          for name in cache.manifest.logits.keys.sorted() {
            guard let policy = LogitPolicy(name) else { continue }
            if policy == .hidden {
              guard cache.manifest.logits[name]?.width ?? 0 < 1 << 10 else { continue }
              var values = [Float](
                repeating: 0, count: cache.manifest.context * (cache.manifest.logits[name]?.width ?? 0))
              var output = values.mutableSpan
              do { try HeldOutReader(cache).readHidden(0, into: &output) } catch is ActCacheError {}
            } else {
              do { _ = try HeldOutReader(cache).targets(0, policy: policy) } catch is ActCacheError {}
            }
          }
        }
        let heldOut = try HeldOutReader(cache)
        _ = try heldOut.sequence(0)
        _ = try SequenceReader(cache, seed: 1).sequence(3)
      } catch is ActCacheError {}
    }
  }

  /// A cache of two generations, in a new folder.
  private func makeCache() throws -> TemporaryFolder {
    let folder = try TemporaryFolder()
    var cache = SmallCache(pack: "none")
    cache.hooks.append(StreamSpec.hook("b", width: 3, dtype: "f32"))
    cache.logits = try LogitPolicy.list(["topk:3", "mass:0.2:9", "full", "hidden"])
    try cache.write(9, to: folder.path)
    try cache.write(20, to: folder.path)
    return folder
  }

  @Test func manifestsWithRightSeals() async {
    await #expect(processExitsWith: .success) { try FuzzTests().fuzzManifests() }
  }

  @Test func receiptsAndGenerationsWithRightSeals() async {
    await #expect(processExitsWith: .success) { try FuzzTests().fuzzReceipts() }
  }

  @Test func bytesOfJSONFiles() async {
    await #expect(processExitsWith: .success) { try FuzzTests().fuzzJSON() }
  }

  @Test func shardsWithRightDigests() async {
    await #expect(processExitsWith: .success) { try FuzzTests().fuzzShards() }
  }

  private func fuzzManifests() throws {
    let folder = try makeCache()
    let path = folder.path + "/manifest.json"
    let whole = try bytes(of: path)
    try fuzz("manifest") { generator in
      try overwrite(path, resealed(whole, "manifest", &generator))
      try use(folder.path)
    }
  }

  private func fuzzReceipts() throws {
    let folder = try makeCache()
    try FileManager.default.removeItem(atPath: folder.path + "/manifest.json")
    let names = try tree(folder.path).filter { $0.key.hasSuffix(".json") }.sorted { $0.key < $1.key }
    try fuzz("receipts") { generator in
      guard let (name, whole) = names.randomElement(using: &generator) else { return }
      let kind = name.hasPrefix("generations") ? "generation" : "receipt"
      try overwrite(folder.path + "/" + name, resealed(whole, kind, &generator))
      defer { try? overwrite(folder.path + "/" + name, whole) }
      try use(folder.path)
      _ = try? CacheIndex.write(cache: folder.path)
      try? FileManager.default.removeItem(atPath: folder.path + "/manifest.json")
    }
  }

  private func fuzzJSON() throws {
    let folder = try makeCache()
    let whole = try bytes(of: folder.path + "/manifest.json")
    guard case .object(let file) = try CanonicalJSON(parsing: whole), let body = file["manifest"]?.bytes else { return }
    try fuzz("JSON") { generator in
      var bytes = body
      for _ in 0..<Int.random(in: 1...4, using: &generator) {
        let i = Int.random(in: bytes.indices, using: &generator)
        switch Int.random(in: 0..<3, using: &generator) {
        case 0: bytes[i] = UInt8.random(in: 0...255, using: &generator)
        case 1: bytes.remove(at: i)
        default: bytes.insert(contentsOf: Array("[{\"-1e9\\u0000".utf8).shuffled(using: &generator).prefix(3), at: i)
        }
      }
      do { _ = try CanonicalJSON(parsing: bytes) } catch is JSONSyntaxError {}
      let sealed =
        Array("{\"manifest\":".utf8) + bytes + Array(",\n\"sha256\":\"\(CanonicalJSON.hexDigest(of: bytes))\"}\n".utf8)
      try overwrite(folder.path + "/manifest.json", sealed)
      try use(folder.path)
    }
  }

  private func fuzzShards() throws {
    let folder = try makeCache()
    let paths = try tree(folder.path).filter { $0.key.hasSuffix(".zst") }.sorted { $0.key < $1.key }
    try fuzz("shard") { generator in
      guard let (name, whole) = paths.randomElement(using: &generator) else { return }
      let path = folder.path + "/" + name
      let shard = try TestShard(whole)
      try overwrite(path, shard.mutated({ mutate($0, &$1) }, numbers: { $0.next() }, using: &generator))
      defer { try? overwrite(path, whole) }
      let reader = try ShardReader(path: path, bytes: nil)
      let decoder = try FrameDecoder()
      for frame in 0..<min(reader.header.nFrames, 8) {
        let content = FrameBuffer(count: reader.contentBytes(ofFrame: frame))
        try content.withMutableBytes(0..<content.count) { try reader.decode(frame: frame, with: decoder, into: &$0) }
        guard let shape = reader.header.targetShape else { continue }
        let nTokens = reader.header.sequences(inFrame: frame) * reader.header.context
        do {
          _ = try content.withBytes(0..<content.count) { try shape.decode($0, nTokens: nTokens) }
        } catch is TargetFault {}
      }
    }
  }
}
