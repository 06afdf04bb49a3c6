import Foundation
import Memory
import TestSupport

@testable import ActCache
@testable import Harvest

/// A "model" whose activations are a simple function of token, position and hook, and its predictions of the token.
final class FakeModel: ActivationSource {
  var weightsDigest = "weights"
  var configurationDescription = "{}"
  let numerics = "f32 test"
  let nVocabulary = 300
  let maxContext = 64
  /// Forward passes so far.
  private(set) var nPasses = 0
  /// Called before each pass with its number.
  var beforePass: (Int) throws -> Void = { _ in }
  /// A value that is not finite, in this pass.
  var badPass = -1
  /// On all values.
  var factor: Float = 1

  static let widths = ["wide": 40, "narrow": 24, "ln_final.hook_normalized": 8]

  struct UnknownHook: Error {}

  func width(of hook: String) throws -> Int {
    guard let width = FakeModel.widths[hook] else { throw UnknownHook() }
    return width
  }

  static func value(token: UInt32, position: Int, channel: Int, hook: String) -> Float {
    Float((Int(token) * 13 + position * 7 + channel * 3 + hook.count) % 251 - 125) / 4
  }

  func run(
    tokens: [UInt32], nSequences: Int, hooks: [String], teacher: TeacherRequest?,
    observe: (Int, borrowing Span<Float>) throws -> Void
  ) throws -> TeacherOutput? {
    try beforePass(nPasses)
    let context = tokens.count / nSequences
    for (i, hook) in hooks.enumerated().reversed() {
      let width = try width(of: hook)
      var values = [Float](repeating: 0, count: tokens.count * width)
      for (row, token) in tokens.enumerated() {
        for c in 0..<width {
          values[row * width + c] =
            factor * FakeModel.value(token: token, position: row % context, channel: c, hook: hook)
        }
      }
      if nPasses == badPass { values[3 * width + 2] = .nan }
      try observe(i, values.span)
    }
    nPasses += 1
    return try teacher.map { try FakeModel.targets($0, tokens, context) }
  }

  /// After token t comes t + i with probability 2^−(i + 1).
  private static func targets(
    _ request: TeacherRequest, _ tokens: [UInt32], _ context: Int
  ) throws -> TeacherOutput {
    var output = TeacherOutput(frames: [], errors: request.streams.map { _ in PolicyError() })
    for stream in request.streams {
      guard case .topK(let k) = stream.shape.policy else { throw ActCacheError.unsupported(stream.shape.policy.name) }
      var frames: [TargetFrameContent] = []
      var encoder = TargetFrameEncoder(stream.shape)
      for (row, token) in tokens.enumerated() {
        if row % context < Int(request.block.lengths[row / context]) {
          let indices = (0..<k).map { (token + UInt32($0)) % 300 }
          let logProbabilities = (0..<k).map { -Float($0 + 1) * log(2) }
          try encoder.append(
            indices: indices[...], logProbabilities: logProbabilities[...], tailMass: Float(pow(2, -Double(k))),
            entropy: 2)
        } else {
          encoder.appendPadding()
        }
        guard row + 1 == tokens.count || (row + 1) % (stream.sequencesPerFrame * context) == 0 else { continue }
        frames.append(encoder.content())
        encoder = TargetFrameEncoder(stream.shape)
      }
      output.frames.append(frames)
    }
    return output
  }
}

/// One token per byte, then BOS 256 and EOS 257.
struct ByteTokenizer: TextTokenizer {
  var bosID: UInt32? = 256
  var eosID: UInt32? = 257
  var addsBOS = true
  var digest = "tokenizer"

  func makeEncoder() -> (ArraySlice<UInt8>, inout [UInt32]) -> Void {
    { text, ids in ids += text.map { UInt32($0) } }
  }
}

/// All files under `folder` but temporaries and locks.
func tree(_ folder: String) throws -> [String: Data] {
  var files: [String: Data] = [:]
  for path in try FileManager.default.subpathsOfDirectory(atPath: folder)
  where !path.split(separator: "/").contains(where: { $0.hasPrefix(".") }) {
    var isFolder: ObjCBool = false
    _ = FileManager.default.fileExists(atPath: folder + "/" + path, isDirectory: &isFolder)
    if !isFolder.boolValue { files[path] = try Data(contentsOf: URL(fileURLWithPath: folder + "/" + path)) }
  }
  return files
}

func write(_ text: String, to path: String) throws { try Data(text.utf8).write(to: URL(fileURLWithPath: path)) }

/// Stories of different lengths.
func stories(_ n: Int, seed: UInt64 = 1) -> [String] {
  var generator = SeededGenerator(seed: seed)
  return (0..<n).map { i in
    let length = Int.random(in: 1...120, using: &generator)
    return "s\(i) " + String((0..<length).map { _ in "abcdefgh \n".randomElement(using: &generator) ?? "a" }) + "."
  }
}
