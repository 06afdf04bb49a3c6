import ActCache
import Foundation
import TestSupport
import Testing

@testable import Harvest

struct RecomputationTests {
  /// A model whose values differ from those of another.
  private final class Other: ActivationSource {
    private let model = FakeModel()
    private let change: (Float, Int) -> Float
    var weightsDigest: String { model.weightsDigest }
    var configurationDescription: String { model.configurationDescription }
    var numerics: String { model.numerics }
    var nVocabulary: Int { model.nVocabulary }
    var maxContext: Int { model.maxContext }

    /// - Parameter change: gives another value for a value and its place among those of its pass.
    init(_ change: @escaping (Float, Int) -> Float) { self.change = change }

    func width(of hook: String) throws -> Int { try model.width(of: hook) }

    func run(
      tokens: [UInt32], nSequences: Int, hooks: [String], teacher: TeacherRequest?,
      observe: (Int, borrowing Span<Float>) throws -> Void
    ) throws -> TeacherOutput? {
      try model.run(tokens: tokens, nSequences: nSequences, hooks: hooks) { i, values in
        let changed = values.indices.map { change(values[$0], $0) }
        try observe(i, changed.span)
      }
      return nil
    }
  }

  private let folder: TemporaryFolder
  private var cache: String { folder.path + "/cache" }

  init() throws {
    folder = try TemporaryFolder()
    try write(stories(8).joined(separator: "<|endoftext|>"), to: folder.path + "/text.txt")
  }

  private func harvest(_ dtype: String, pack: String = "concatenate") throws {
    var configuration = HarvestConfiguration()
    configuration.model = "fake"
    configuration.corpora = [folder.path + "/text.txt"]
    configuration.hooks = ["wide", "narrow"]
    configuration.context = 16
    configuration.pack = pack
    configuration.dtype = dtype
    configuration.out = cache
    // A third, so that most values are rounded.
    _ = try HarvestRun(
      configuration, source: Other { value, _ in value / 3 }, tokenizer: ByteTokenizer(), minFrameBytes: 2048
    ).run()
  }

  private func recompute(
    _ source: any ActivationSource, count: Int = 1000, seed: UInt64 = 0, tokensPerPass: Int = 64
  ) throws -> Recomputation {
    try Recomputation(
      cache: CacheReader(path: cache), source: source, count: count, seed: seed, tokensPerPass: tokensPerPass)
  }

  @Test(arguments: ["f32", "bf16", "f16", "fix:8"], ["concatenate", "none"])
  func theModelThatWasHarvestedIsRecognised(dtype: String, pack: String) throws {
    try harvest(dtype, pack: pack)
    let result = try recompute(Other { value, _ in value / 3 })
    let n = try CacheReader(path: cache).manifest.nSequences
    #expect(result.findings.isEmpty && result.notCompared.isEmpty && result.sequences == Array(0..<n))
    #expect(
      result.streams.map(\.name) == ["hooks/narrow", "hooks/wide"] && result.streams.map(\.dtype) == [dtype, dtype])
    #expect(result.streams.map(\.values) == [n * 16 * 24, n * 16 * 40])
    for stream in result.streams { #expect(stream.equal == stream.values && stream.wrong == 0) }
    // On another kind of CPU.
    let near = try recompute(Other { value, place in value / 3 * (1 + 5e-6 * Float(place % 3 - 1)) })
    #expect(near.findings.isEmpty && near.streams.allSatisfy { $0.wrong == 0 })
    if dtype == "f32" {
      #expect(near.streams.allSatisfy { $0.equal < $0.values && $0.largestError > 4e-6 && $0.largestError < 6e-6 })
    }
  }

  @Test func otherWeightsUnderTheSameNameAreFoundByTheDigest() throws {
    try harvest("bf16")
    let model = FakeModel()
    model.weightsDigest = String(repeating: "c", count: 64)
    let result = try recompute(model)
    #expect(
      result.findings.map(\.description) == [
        "otherModel: \(cache): it was made with another model: weights: weights, not cccccccccccc; give the model that was "
          + "harvested with --model"
      ])
    #expect(model.nPasses == 0 && result.findings.gravest?.exitCode == 78)
  }

  @Test(arguments: ["f32", "bf16", "f16", "fix:8"]) func otherValuesUnderTheRightDigestAreFound(dtype: String) throws {
    try harvest(dtype)
    // One value of each pass of four sequences of 16 × width, off by a hundredth of the largest.
    let result = try recompute(Other { value, place in place == 5 ? value / 3 + 0.4 : value / 3 })
    #expect(result.findings.count == 2 && result.findings.allSatisfy { $0.kind == .otherModel })
    let passes = (result.sequences.count + 3) / 4
    #expect(result.streams.map(\.wrong) == [passes, passes])
    let narrow = result.findings[0]
    #expect(narrow.file == "\(cache)/hooks/narrow")
    #expect(
      narrow.what.hasPrefix(
        "\(passes) of \(result.streams[0].values) values are not what the model gives; the first is sequence 0, position 0, "
          + "channel 5: "))
    #expect(narrow.remedy == "harvest the cache anew into another folder; this one was not made by this model")
    let notANumber = try recompute(Other { value, place in place == 5 ? .nan : value / 3 })
    #expect(notANumber.streams.map(\.wrong).allSatisfy { $0 >= passes })
  }

  @Test func theSequencesAreChosenByTheSeed() throws {
    try harvest("bf16")
    func chosen(_ count: Int, _ seed: UInt64) throws -> [Int] {
      try recompute(Other { value, _ in value / 3 }, count: count, seed: seed).sequences
    }
    let (a, b) = (try chosen(5, 0), try chosen(5, 1))
    #expect(a.count == 5 && Set(a).count == 5 && a == a.sorted() && a != b)
    #expect(try chosen(5, 0) == a)
  }

  @Test func aStreamThatIsNotWholeIsNamed() throws {
    try harvest("bf16")
    var configuration = HarvestConfiguration()
    configuration.model = "fake"
    configuration.corpora = [folder.path + "/text.txt", folder.path + "/more.txt"]
    try write(stories(9, seed: 3).joined(separator: "<|endoftext|>"), to: folder.path + "/more.txt")
    configuration.hooks = ["wide"]
    configuration.context = 16
    configuration.out = cache
    _ = try HarvestRun(configuration, source: Other { value, _ in value / 3 }, tokenizer: ByteTokenizer()).run()
    let manifest = try CacheReader(path: cache).manifest
    let result = try recompute(Other { value, _ in value / 3 })
    #expect(result.findings.isEmpty && result.streams.map(\.name) == ["hooks/wide"])
    #expect(
      result.notCompared == [
        "hooks/narrow: it has \(manifest.generations[0].nSequences) of \(manifest.nSequences) sequences"
      ]
    )
  }
}
