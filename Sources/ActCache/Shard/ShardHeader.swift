import Foundation
import Memory

/// The limits of the format, kept by writers and readers alike.
package enum ShardLimits {
  package static let maxFrameBytes = 64 << 20
  package static let maxFrames = 1 << 20
  package static let maxShardBytes = 8 << 30
  /// Values of a shard with codec none: they are one skippable frame, whose size has 32 bits.
  package static let maxRawBytes = 0xFFFF_FFFF - 8
  package static let maxSequences = 1 << 40
  package static let maxWidth = 65_536
  package static let maxContext = 1 << 20
  package static let maxHeaderBytes = 64 << 10
  package static let maxManifestBytes = 1 << 30
  package static let maxHooks = 1024
  package static let maxVocabulary = 1 << 20
  /// Of tokens and values counted in one receipt, so that their sums over a cache stay below 2^63.
  package static let maxCount = 1 << 42
}

/// The first frame of a shard: what the data frames are. JSON, padded with spaces.
struct ShardHeader: Codable, Equatable, Sendable {
  static let format = "actcache.shard"
  static let version = 2

  var format = ShardHeader.format
  var version = ShardHeader.version
  /// "tokens", "hooks/<hook name>" or "logits/<policy>".
  let stream: String
  /// Digest that names model, tokenizer and token stream.
  let baseKey: String
  /// Digest that names this stream in particular.
  let streamKey: String
  /// Sequences `first..<end` of the cache.
  let first: Int
  let end: Int
  /// Positions per sequence.
  let context: Int
  /// Values per position (1 for tokens, the vocabulary for targets).
  let width: Int
  /// A `StorageType`; "u16" or "u32" for tokens, "targets" for teacher targets.
  let dtype: String
  /// ["byteplanes"] for compressed activations, otherwise [].
  let transforms: [String]
  /// A `ShardCodec`.
  let codec: String
  /// Whole sequences per data frame; the last frame may have fewer.
  let sequencesPerFrame: Int
  /// True if the values of a frame are followed by one u32 per sequence: how many of its positions are text.
  let hasLengths: Bool
  /// Of fixed point: `FixedPoint.digest` of the steps; absent otherwise.
  var steps: String? = nil

  var nSequences: Int { end - first }
  var nFrames: Int { (nSequences + sequencesPerFrame - 1) / sequencesPerFrame }

  func sequences(inFrame frame: Int) -> Int { min(sequencesPerFrame, nSequences - frame * sequencesPerFrame) }

  var bytesPerValue: Int {
    switch dtype {
    case "u32": 4
    case "u16": 2
    default: StorageType(dtype)?.byteCount ?? 4
    }
  }

  /// Of teacher targets: what their frames look like; nil for other streams.
  var targetShape: TargetFrameShape? {
    guard dtype == StreamSpec.targets, stream.hasPrefix(StreamSpec.logitsPrefix) else { return nil }
    return LogitPolicy(String(stream.dropFirst(StreamSpec.logitsPrefix.count)))
      .flatMap { TargetFrameShape(policy: $0, nVocabulary: width) }
  }

  /// Whether frame `frame` can have so many bytes of content.
  func allows(contentBytes: Int, ofFrame frame: Int) -> Bool {
    if let shape = targetShape {
      return shape.allows(contentBytes: contentBytes, nTokens: sequences(inFrame: frame) * context)
    }
    return contentBytes == self.contentBytes(ofFrame: frame)
  }

  /// Bytes of one sequence in a frame's content, of streams where it is always the same.
  var sequenceBytes: Int { context * width * bytesPerValue + (hasLengths ? 4 : 0) }

  func contentBytes(ofFrame frame: Int) -> Int { sequences(inFrame: frame) * sequenceBytes }

  /// Whether the values lie in one frame as they are, without zstd.
  var isRaw: Bool { ShardCodec(codec) == ShardCodec.none }

  /// Throws what breaks a limit or makes no sense, as a sentence.
  func validate() throws(ShardFault) {
    guard format == ShardHeader.format else { throw ShardFault("the header calls the format \"\(format)\"") }
    guard version == ShardHeader.version else {
      throw ShardFault("the format version is \(version), this program reads \(ShardHeader.version)")
    }
    let isTokens = stream == "tokens"
    let type = StorageType(dtype)
    let shape = targetShape
    guard isTokens ? ["u16", "u32"].contains(dtype) : type != nil || shape != nil else {
      throw ShardFault(
        "the element type is \"\(dtype)\", this program reads \(isTokens ? "u16, u32" : StorageType.allowed)")
    }
    guard let codec = ShardCodec(codec) else {
      throw ShardFault("the codec is \"\(codec)\", this program reads \(ShardCodec.allowed)")
    }
    guard transforms == (isTokens || codec == .none ? [] : ["byteplanes"]) else {
      throw ShardFault("the transforms are \(transforms), which this program does not know")
    }
    var hasSteps = false
    if case .fixed = type { hasSteps = true }
    guard hasSteps == (steps != nil), !(hasSteps || isTokens) || codec != .none else {
      throw ShardFault("element type \(dtype), codec \(self.codec) and steps \(steps ?? "none") do not go together")
    }
    guard first >= 0, end > first, end <= ShardLimits.maxSequences else {
      throw ShardFault("the sequences \(first)..<\(end) are no range of a cache")
    }
    let maxWidth = shape == nil ? ShardLimits.maxWidth : ShardLimits.maxVocabulary
    guard (1...ShardLimits.maxContext).contains(context), (1...maxWidth).contains(width),
      !isTokens || width == 1, !hasLengths || isTokens
    else { throw ShardFault("context \(context) and width \(width) are outside the limits of the format") }
    guard sequencesPerFrame >= 1, sequencesPerFrame <= ShardLimits.maxFrameBytes,
      shape.map({ $0.largest(nTokens: sequencesPerFrame * context) != nil && codec != .none })
        ?? (sequencesPerFrame <= ShardLimits.maxFrameBytes / sequenceBytes),
      nFrames <= ShardLimits.maxFrames
    else { throw ShardFault("frames of \(sequencesPerFrame) sequences are outside the limits of the format") }
    guard codec != .none || nSequences <= ShardLimits.maxRawBytes / sequenceBytes else {
      throw ShardFault(
        "\(nSequences) sequences of \(sequenceBytes) bytes exceed the 4 GiB of a shard without compression")
    }
  }

  /// The skippable frame: magic, size, JSON, spaces. What follows begins a page: the first data frame, or, with codec
  /// none, the values, which have 8 bytes of head before them.
  func frame() throws -> [UInt8] {
    let json = try CanonicalJSON.encode(self)
    let head = isRaw ? ShardFormat.frameHeadBytes : 0
    let page = FrameSize.page
    let total = (8 + json.count + 1 + head + page - 1) / page * page - head
    guard total <= ShardLimits.maxHeaderBytes else {
      throw ActCacheError.limit("the header of a shard of \(stream) takes \(total) bytes, 64 KiB is the most")
    }
    var frame: [UInt8] = []
    frame.append(u32: ShardFormat.headerMagic)
    frame.append(u32: UInt32(total - 8))
    frame += json
    frame += [UInt8](repeating: 0x20, count: total - 9 - json.count)
    frame.append(0x0A)
    return frame
  }
}

/// What is wrong inside a shard; the reader adds the file's name and the remedy.
struct ShardFault: Error, Equatable {
  let what: String
  init(_ what: String) { self.what = what }
}

/// The magic numbers of the container (zstd's skippable and seekable formats, little-endian).
enum ShardFormat {
  /// Skippable frame 0: the header.
  static let headerMagic: UInt32 = 0x184D_2A50
  /// Skippable frame 1: the index.
  static let indexMagic: UInt32 = 0x184D_2A51
  /// Skippable frame 2: the values of a shard with codec none.
  static let rawMagic: UInt32 = 0x184D_2A52
  /// Magic and size of a skippable frame.
  static let frameHeadBytes = 8
  /// Skippable frame 14: the seek table of the zstd seekable format.
  static let seekTableMagic: UInt32 = 0x184D_2A5E
  /// The last four bytes of a file in that format.
  static let seekableMagic: UInt32 = 0x8F92_EAB1
  static let footerBytes = 9
  static let seekEntryBytes = 12
  /// First bytes of the index frame's content.
  static let indexTag = Array("ACINDEX1".utf8)
}
