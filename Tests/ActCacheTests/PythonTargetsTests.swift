import Foundation
import TestSupport
import Testing

@testable import ActCache

/// Teacher targets, read by a program that knows docs/format.md and nothing else of us.
@Suite(.enabled(if: Python.canRead, Comment(rawValue: Python.missing))) struct PythonTargetsTests {
  private static let policies = ["topk:1", "topk:7", "mass:0.3:20", "mass:0.0001:5", "full", "hidden"]

  @Test(arguments: [("none", 100), ("concatenate", 100), ("none", 66_000)])
  func theDocumentSaysHowTargetsAreRead(pack: String, nVocabulary: Int) throws {
    let folder = try TemporaryFolder()
    var small = SmallCache(nVocabulary: nVocabulary, pack: pack, perShard: 18)
    // Beyond 65,536 ids take four bytes.
    let names = nVocabulary > 100 ? ["topk:2"] : PythonTargetsTests.policies
    small.logits = try LogitPolicy.list(names)
    try small.write(nVocabulary > 100 ? 1 : 37, to: folder.path)
    let cache = try CacheReader(path: folder.path)
    let stored = try StoredSequences(cache)
    var expected: [Double] = []
    for name in names {
      for sequence in 0..<cache.manifest.nSequences {
        guard name != "hidden" else {
          var values = [Float](repeating: 0, count: 4 * 5)
          var output = values.mutableSpan
          try stored.read(sequence, stream: "logits/hidden", into: &output)
          expected += values.map(Double.init)
          continue
        }
        let policy = try #require(LogitPolicy(name))
        let targets = try stored.targets(of: sequence, policy: policy)
        for token in 0..<targets.nTokens {
          let entries = targets.starts[token]..<targets.starts[token + 1]
          expected += [Double(entries.count), Double(targets.tailMasses[token]), Double(targets.entropies[token])]
          expected += targets.indices[entries].map(Double.init) + targets.probabilities[entries].map(Double.init)
        }
      }
    }
    let script = SharedInputs.packageRoot.appendingPathComponent("Tests/ActCacheTests/Fixtures/prove_targets.py").path
    let printed = try Python.output(script, [folder.path] + names)
    let read = stride(from: 0, to: printed.count - 7, by: 8).map { i in
      Double(bitPattern: printed[i..<i + 8].reversed().reduce(0) { $0 << 8 | UInt64($1) })
    }
    #expect(read.count == expected.count)
    // Probabilities are f32 here, f64 there; all else is exact.
    let wrong = zip(read, expected).enumerated().first { abs($1.0 - $1.1) > 2e-7 * abs($1.1) }
    #expect(wrong == nil, "\(wrong.map { "number \($0.offset): \($0.element)" } ?? "")")
  }
}
