import Foundation
import Memory
import TestSupport

@testable import ActCache

/// Caches of known content for the tests.
struct SmallCache {
  var context = 4
  var hooks = [StreamSpec.hook("blocks.0.hook_resid_post", width: 5, dtype: "bf16")]
  /// Policies of teacher targets.
  var logits: [LogitPolicy] = []
  var nVocabulary = 100
  var pack = "concatenate"
  var bos: Int? = 1
  var perShard = 6
  var perFrame = 2
  var heldOut = HeldOutRule(fraction: 0.02, minimum: 3, seed: 7)
  var weights = String(repeating: "a", count: 64)
  /// On all values.
  var factor: Float = 1

  var spec: CacheSpec {
    get throws {
      let identity = CacheIdentity(
        weights: weights, modelConfiguration: "c", tokenizer: "t",
        tokens: TokenSpec(
          context: context, pack: pack, bos: bos, separator: nil, padding: 0, documentSeparator: "<|endoftext|>",
          textField: "text"), numerics: "f32 test")
      // The sizes of frames and shards follow from 64 KiB in real caches; tests set them through the file form.
      let made = try CacheSpec(
        identity: identity, streams: hooks, nVocabulary: nVocabulary, tokensPerShard: 1, heldOut: heldOut)
      guard case .object(var members) = try CanonicalJSON(parsing: CanonicalJSON.encode(made)) else { return made }
      members["sequencesPerShard"] = .integer(perShard)
      members["sequencesPerFrame"] = .integer(perFrame)
      members["tokenSequencesPerFrame"] = .integer(perFrame + 1)
      let spec = try JSONDecoder().decode(CacheSpec.self, from: Data(CanonicalJSON.object(members).bytes))
      try spec.validate()
      return spec
    }
  }

  /// The same with another codec.
  func coded(_ codec: String) -> SmallCache {
    var other = self
    other.hooks = hooks.map {
      StreamSpec(name: $0.name, width: $0.width, dtype: $0.dtype, codec: codec, steps: $0.steps)
    }
    return other
  }

  /// The hooks and the teacher targets.
  var streams: [StreamSpec] {
    hooks
      + logits.map {
        .logits($0, nVocabulary: nVocabulary, dModel: 5, dtype: "f32", codec: hooks.first?.codec ?? "zstd:1")
      }
  }

  /// The token at a place: 1 (BOS) first in every sequence.
  func token(_ sequence: Int, _ position: Int) -> UInt32 {
    position == 0 && bos != nil ? 1 : UInt32((sequence * 7 + position * 3) % (nVocabulary - 2) + 2)
  }

  func length(_ sequence: Int) -> Int { pack == "none" ? 1 + sequence % context : context }

  /// A number that every stored type holds exactly, if `factor` is 1, and that names its place.
  func value(_ sequence: Int, _ position: Int, _ channel: Int, hook: Int) -> Float {
    if position >= length(sequence) { return 0 }
    return factor * Float((sequence * 31 + position * 5 + channel * 3 + hook) % 127 - 63)
  }

  func block(_ range: Range<Int>, of streams: [StreamSpec]? = nil) throws -> SequenceBlock {
    let streams = streams ?? self.streams
    let targets = try streams.filter { $0.type == nil }.map { try self.targets(range, of: $0) }
    return SequenceBlock(
      first: range.lowerBound,
      tokens: range.flatMap { s in (0..<context).map { token(s, $0) } },
      lengths: range.map { UInt32(length($0)) },
      activations: streams.filter { $0.type != nil }.map { hook in
        let h = hooks.firstIndex(of: hook) ?? 0
        return range.flatMap { s in (0..<context).flatMap { p in (0..<hook.width).map { value(s, p, $0, hook: h) } } }
      },
      targets: targets.map(\.frames),
      policyErrors: Dictionary(uniqueKeysWithValues: targets.map { ($0.name, $0.error) }))
  }

  /// Writes `n` sequences to `path`, `blockFrames` frames at a time; of `shards` only those ranges, and no end.
  @discardableResult
  func write(_ n: Int, to path: String, blockFrames: Int = 1, shards: [Int]? = nil) throws -> [Receipt] {
    let spec = try spec
    let writer = try CacheWriter(path: path, spec: spec, streams: streams)
    let contents = try writer.contents()
    var chain = TokenChain(baseKey: try spec.identity.baseKey())
    var receipts: [Receipt] = []
    var first = 0
    while first < n {
      let end = contents.tokenReceipts.first { $0.first == first }?.end ?? min(n, spec.rangeEnd(from: first))
      let range = first..<end
      let before = chain
      let whole = try block(range, of: [])
      chain.append(tokens: whole.tokens, lengths: spec.hasLengths ? whole.lengths : [])
      first = end
      let tokens = contents.tokenReceipts.first { $0.first == range.lowerBound }
      let missing = streams.filter { hook in tokens.flatMap { contents.receipt(of: hook.name, matching: $0) } == nil }
      if missing.isEmpty && tokens != nil { continue }
      if let shards, !shards.contains(range.lowerBound / perShard) { continue }
      let shard = try writer.begin(range, streams: missing, writesTokens: tokens == nil)
      for start in stride(from: range.lowerBound, to: range.upperBound, by: perFrame * blockFrames) {
        try shard.append(try block(start..<min(range.upperBound, start + perFrame * blockFrames), of: missing))
      }
      receipts += try shard.commit(chain: (before, chain))
    }
    if shards == nil {
      try writer.writeGeneration(nSequences: n, chain: chain, corpora: ["text.txt"], counts: CorpusCounts())
      try writer.writeManifest()
    }
    return receipts
  }
}

func bytes(of path: String) throws -> [UInt8] { [UInt8](try Data(contentsOf: URL(fileURLWithPath: path))) }

func overwrite(_ path: String, _ bytes: [UInt8]) throws {
  try Data(bytes).write(to: URL(fileURLWithPath: path))
}

/// All files under `folder` but temporaries and locks, with their bytes.
func tree(_ folder: String) throws -> [String: [UInt8]] {
  var files: [String: [UInt8]] = [:]
  for path in try FileManager.default.subpathsOfDirectory(atPath: folder)
  where !path.split(separator: "/").contains(where: { $0.hasPrefix(".") }) {
    var isFolder: ObjCBool = false
    _ = FileManager.default.fileExists(atPath: folder + "/" + path, isDirectory: &isFolder)
    if !isFolder.boolValue { files[path] = try bytes(of: folder + "/" + path) }
  }
  return files
}
