import ActCache
import Foundation
import Harvest
import TestSupport

/// A "model" whose activations say which token they belong to.
final class EchoModel: ActivationSource {
  let weightsDigest = "echo"
  let configurationDescription = "{}"
  let numerics = "f32 test"
  let nVocabulary = 300
  let maxContext = 64
  static let width = 6

  func width(of hook: String) throws -> Int { EchoModel.width }

  static func value(token: UInt32, channel: Int) -> Float { Float(Int(token) * 8 + channel) }

  func run(
    tokens: [UInt32], nSequences: Int, hooks: [String], teacher: TeacherRequest?,
    observe: (Int, borrowing Span<Float>) throws -> Void
  ) throws -> TeacherOutput? {
    let values = tokens.flatMap { token in (0..<EchoModel.width).map { EchoModel.value(token: token, channel: $0) } }
    for i in hooks.indices { try observe(i, values.span) }
    return nil
  }
}

/// One token per byte.
struct ByteTokenizer: TextTokenizer {
  let bosID: UInt32? = nil
  let eosID: UInt32? = 257
  let addsBOS = false
  let digest = "bytes"

  func makeEncoder() -> (ArraySlice<UInt8>, inout [UInt32]) -> Void {
    { text, ids in ids += text.map { UInt32($0) } }
  }
}

/// A cache of `EchoModel` at hook "h", 16 tokens a sequence, in frames of 4 KiB.
struct SmallHarvest {
  let folder: TemporaryFolder
  let summary: HarvestRun.Summary
  var path: String { folder.path + "/cache" }

  init(dtype: String = "f32", nBytes: Int = 6000) throws {
    folder = try TemporaryFolder()
    var generator = SeededGenerator(seed: 3)
    let text = (0..<nBytes).map { _ in UInt8.random(in: 0x61...0x7A, using: &generator) }
    try Data(text).write(to: URL(fileURLWithPath: folder.path + "/text.txt"))
    var configuration = HarvestConfiguration()
    configuration.model = "echo"
    configuration.corpora = [folder.path + "/text.txt"]
    configuration.hooks = ["h"]
    configuration.context = 16
    configuration.out = folder.path + "/cache"
    configuration.dtype = dtype
    configuration.shardTokens = 2048
    let run = try HarvestRun(configuration, source: EchoModel(), tokenizer: ByteTokenizer(), minFrameBytes: 4096)
    guard case .finished(let summary) = try run.run(keepsSpans: true) else { throw CocoaError(.coderInvalidValue) }
    self.summary = summary
  }

  /// The folder lives as long as the call.
  func withCache(_ body: (CacheReader) throws -> Void) throws {
    try body(CacheReader(path: path))
    withExtendedLifetime(folder) {}
  }
}
