import Foundation
import Memory

/// The limits of the format, kept by writers and readers alike.
package enum ShardLimits {
  package static let maxFrameBytes = 64 << 20
  package static let maxFrames = 1 << 20
  package static let maxShardBytes = 8 << 30
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

/// The first frame of a shard: what the data frames are. JSON, padded with spaces to a multiple of 4096 bytes
/// (frame head included).
struct ShardHeader: Codable, Equatable, Sendable {
  static let format = "actcache.shard"
  static let version = 2

  /// What one element of the stream is.
  enum Kind: Equatable { case tokens(byteCount: Int), activations(ElementType) }

  var format = ShardHeader.format
  var version = ShardHeader.version
  /// "tokens", or "hooks/" and the name of the hook.
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
  /// Values per position (1 for tokens).
  let width: Int
  /// "bf16", "f16", "f32"; "u16" or "u32" for tokens.
  let dtype: String
  /// ["byteplanes"] for activations, [] for tokens.
  let transforms: [String]
  /// "zstd:<level>".
  let codec: String
  /// Whole sequences per data frame; the last frame may have fewer.
  let sequencesPerFrame: Int
  /// True if the values of a frame are followed by one u32 per sequence: how many of its positions are text.
  let hasLengths: Bool

  var nSequences: Int { end - first }
  var nFrames: Int { (nSequences + sequencesPerFrame - 1) / sequencesPerFrame }

  func sequences(inFrame frame: Int) -> Int { min(sequencesPerFrame, nSequences - frame * sequencesPerFrame) }

  var bytesPerValue: Int {
    switch dtype {
    case "f32", "u32": 4
    default: 2
    }
  }

  func contentBytes(ofFrame frame: Int) -> Int {
    sequences(inFrame: frame) * (context * width * bytesPerValue + (hasLengths ? 4 : 0))
  }

  /// Throws what breaks a limit or makes no sense, as a sentence.
  func validate() throws(ShardFault) {
    guard format == ShardHeader.format else { throw ShardFault("the header calls the format \"\(format)\"") }
    guard version == ShardHeader.version else {
      throw ShardFault("the format version is \(version), this program reads \(ShardHeader.version)")
    }
    let isTokens = stream == "tokens"
    let allowed = isTokens ? ["u16", "u32"] : ElementType.allCases.map(\.rawValue)
    guard allowed.contains(dtype) else {
      throw ShardFault("the element type is \"\(dtype)\", this program reads \(allowed.joined(separator: ", "))")
    }
    guard transforms == (isTokens ? [] : ["byteplanes"]) else {
      throw ShardFault("the transforms are \(transforms), which this program does not know")
    }
    guard codec.hasPrefix("zstd:") else {
      throw ShardFault("the codec is \"\(codec)\", this program reads zstd:<level>")
    }
    guard first >= 0, end > first, end <= ShardLimits.maxSequences else {
      throw ShardFault("the sequences \(first)..<\(end) are no range of a cache")
    }
    guard (1...ShardLimits.maxContext).contains(context), (1...ShardLimits.maxWidth).contains(width),
      !isTokens || width == 1, !hasLengths || isTokens
    else { throw ShardFault("context \(context) and width \(width) are outside the limits of the format") }
    guard sequencesPerFrame >= 1, sequencesPerFrame <= ShardLimits.maxFrameBytes,
      contentBytes(ofFrame: 0) <= ShardLimits.maxFrameBytes, nFrames <= ShardLimits.maxFrames
    else { throw ShardFault("frames of \(sequencesPerFrame) sequences are outside the limits of the format") }
  }

  /// The skippable frame: magic, size, JSON, spaces.
  func frame() throws -> [UInt8] {
    let json = try CanonicalJSON.encode(self)
    let total = (8 + json.count + 1 + 4095) / 4096 * 4096
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
  /// Skippable frame 14: the seek table of the zstd seekable format.
  static let seekTableMagic: UInt32 = 0x184D_2A5E
  /// The last four bytes of a file in that format.
  static let seekableMagic: UInt32 = 0x8F92_EAB1
  static let footerBytes = 9
  static let seekEntryBytes = 12
  /// First bytes of the index frame's content.
  static let indexTag = Array("ACINDEX1".utf8)
}
