import TestSupport
import Testing

@testable import ActCache

@Suite struct TargetVerificationTests {
  /// Frames of targets with a large vocabulary have fewer sequences than those of the hooks: which position is text, is
  /// looked up by their own numbers.
  @Test func framesOfTargetsAreSmallerThanThoseOfTheHooks() throws {
    let folder = try TemporaryFolder()
    var small = SmallCache(nVocabulary: 4096, pack: "none", perShard: 8, perFrame: 8)
    small.context = 64
    small.logits = try LogitPolicy.list(["mass:0.9:4096"])
    #expect(try small.spec.sequencesPerFrame(of: small.streams[1]) == 2)
    try small.write(8, to: folder.path)
    #expect(try Verification(cache: folder.path, level: .digest, threads: 2).findings.isEmpty)
    let stored = try StoredSequences(CacheReader(path: folder.path))
    let targets = try stored.targets(of: 6, policy: small.logits[0])
    #expect((0..<64).map { targets.starts[$0] < targets.starts[$0 + 1] } == (0..<64).map { $0 < 7 })
  }
}
