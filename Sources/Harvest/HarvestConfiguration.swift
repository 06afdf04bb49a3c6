import ActCache

/// Everything `actcache harvest` can be told; one field per flag.
package struct HarvestConfiguration: Codable, Equatable, Sendable {
  /// Model folder or `.gguf` file.
  package var model = ""
  /// Text files (`.txt`, `.jsonl`, each also `.gz` or `.zst`), token files (`.bin`), or `-` for text on standard
  /// input; read one after the other. None: the text that the cache has already, for another hook.
  package var corpora: [String] = []
  /// TransformerLens names of the activations to keep; none: those that the cache has (and its policies, unless `logits`
  /// names some).
  package var hooks: [String] = []
  /// Positions per sequence.
  package var context = 128
  /// Folder of the cache.
  package var out = ""
  /// Stop after so many tokens (positions of whole sequences); nil for all of the text.
  package var tokens: Int?
  /// How activations are stored: a `StorageType`.
  package var dtype = "bf16"
  /// What f16 cannot hold becomes ±65,504 and is counted; otherwise it ends the harvest.
  package var saturate = false
  /// How they are compressed: a `ShardCodec`.
  package var codec = "zstd:1"
  /// Policies of the teacher logits to keep, or "none" alone.
  package var logits = ["none"]
  /// Tokens per shard, the most that an interruption loses; nil for that of the cache that is there, otherwise 2^20, or
  /// fewer if a hook's shard would exceed 512 MiB.
  package var shardTokens: Int?
  /// "I/N": harvest only the shards whose number leaves the remainder I when divided by N (0 ≤ I < N). nil: what the
  /// environment says (`WorkerAssignment`).
  package var worker: String?
  /// Decides which sequences are held out; nil for that of the cache that is there, otherwise 0.
  package var seed: UInt64?
  /// Begin every sequence and document with the BOS token; nil for what the tokenizer says.
  package var bos: Bool?
  /// "concatenate": documents follow each other without gaps. "none": one document per sequence, its end cut off or
  /// padded.
  package var pack = "concatenate"
  /// What parts documents in `.txt` files.
  package var separator = "<|endoftext|>"
  /// The member of a `.jsonl` line that holds its text.
  package var textField = "text"
  /// Part of the sequences that is kept from training, 0 to 0.5; at least 64 sequences, at most half. nil for that of
  /// the cache that is there, otherwise 0.02.
  package var heldOutFraction: Double?
  /// Tokens per forward pass.
  package var batchTokens = 4096

  package init() {}

  /// Throws `HarvestError.setting` for the first setting that makes no sense.
  package func validate() throws {
    func require(_ condition: Bool, _ name: String, _ value: String, _ allowed: String) throws {
      guard condition else { throw HarvestError.setting(name: name, value: value, allowed: allowed) }
    }
    try require(!model.isEmpty, "model", "\"\"", "a model folder or a .gguf file")
    try require(!out.isEmpty, "out", "\"\"", "a folder")
    try require(corpora.filter { $0 == "-" }.count <= 1, "corpus", "- twice", "one - at most")
    for corpus in corpora { _ = try CorpusFormat(path: corpus) }
    _ = try logitPolicies
    for (i, hook) in hooks.enumerated() where hooks[..<i].contains(hook) {
      throw HarvestError.setting(name: "hook", value: "\(hook) twice", allowed: "each hook once")
    }
    try require((1...(1 << 20)).contains(context), "context", "\(context)", "1...1048576 positions")
    try require(tokens ?? context >= context, "tokens", "\(tokens ?? 0)", "at least one sequence of \(context)")
    try require(StorageType(dtype) != nil, "dtype", dtype, StorageType.allowed)
    try require(ShardCodec(codec) != nil, "codec", codec, ShardCodec.allowed)
    try require(shardTokens ?? 1 >= 1, "shard-tokens", "\(shardTokens ?? 0)", "1 and more")
    try require(["concatenate", "none"].contains(pack), "pack", pack, "concatenate, none")
    try require(!separator.isEmpty, "separator", "\"\"", "a text of at least one character")
    try require(!textField.isEmpty, "text-field", "\"\"", "the name of a member")
    try require((0...0.5).contains(heldOutFraction ?? 0), "held-out", "\(heldOutFraction ?? 0)", "0...0.5")
    try require((1...(1 << 24)).contains(batchTokens), "batch-tokens", "\(batchTokens)", "1...16777216")
    _ = try WorkerAssignment(option: worker)
  }

  /// Throws `HarvestError.setting` for what is no policy.
  var logitPolicies: [LogitPolicy] {
    get throws {
      do { return try LogitPolicy.list(logits) } catch {
        throw HarvestError.setting(
          name: "logits", value: logits.joined(separator: " "), allowed: "\(LogitPolicy.allowed), each once")
      }
    }
  }
}
