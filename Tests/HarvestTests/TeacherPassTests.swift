import ActCache
import Foundation
import LinearAlgebra
import Memory
import TestSupport
import Testing
import Transformer

@testable import Harvest

/// The bounds of docs/design.md on a few tokens of each model at hand; in release builds on every batch of the models'
/// text, where they are. `CachedTargetsTests` does the same with the embedded model, through a cache.
@Suite struct TeacherPassTests {
  private static let folders: [String] = {
    let shared = ["models/stories260K", "models/tinystories-1m-shape"].compactMap { SharedInputs.path($0) }
    let all = shared + [SharedInputs.packageRoot.appendingPathComponent("data/model").path]
    #if DEBUG
      // The smallest there is; a vocabulary of 50,257 takes minutes.
      return [all[0]]
    #else
      return all
    #endif
  }()
  private static let policies = ["topk:1", "topk:16", "topk:64", "mass:0.05", "mass:0.001:300", "full"]

  /// A model's final states on tokens of its text or, which is as good for bounds, of any other.
  private final class Example {
    let model: TransformerModel
    let workspace = ForwardWorkspace()
    let block: TeacherPass.Block
    var normalized = Matrix(0, 0)

    init(_ path: String, context: Int, lengths: [UInt32], seed: UInt64) throws {
      model = try TransformerModel.load(path: path)
      block = TeacherPass.Block(first: 16, context: context, lengths: lengths)
      let v = model.configuration.dVocab
      var random = SeededGenerator(seed: seed)
      // The model continues its own likely text: predictions are then as sharp as on a corpus.
      var ids = (0..<lengths.count * context).map { _ in UInt32.random(in: 0..<UInt32(v), using: &random) }
      for _ in 0..<2 {
        let batch = TokenBatch(ids: ids, nSequences: lengths.count, nPositions: context)
        try model.forward(batch, wantsFinalState: true, workspace: workspace)
        let top = workspace.finalState.copy()
        model.forEachLogitTile(top, scratch: Scratch()) { logits, rows in
          let best = selectTargets(logits, .topK(1), scratch: TargetScratch())
          for (i, row) in rows.enumerated() where (row + 1) % context != 0 { ids[row + 1] = best.tokens[i] }
        }
      }
      let batch = TokenBatch(ids: ids, nSequences: lengths.count, nPositions: context)
      try model.forward(batch, hooks: [.finalNormalized], wantsFinalState: true, workspace: workspace) {
        normalized = $1.copy()
      }
    }

    func isText(_ row: Int) -> Bool { row % block.context < Int(block.lengths[row / block.context]) }
  }

  private func streams(_ names: [String], _ v: Int) throws -> [TeacherPass.Stream] {
    try names.map { name in
      let policy = try #require(LogitPolicy(name))
      let shape = try #require(TargetFrameShape(policy: policy, nVocabulary: v))
      return TeacherPass.Stream(shape, sequencesPerFrame: 2)
    }
  }

  @Test(arguments: folders) func boundsHoldOnEveryToken(path: String) throws {
    let example = try Example(path, context: 12, lengths: [12, 7, 12], seed: 5)
    let streams = try streams(TeacherPassTests.policies, example.model.configuration.dVocab)
    let pass = TeacherPass(example.model, streams: streams)
    var errors = streams.map { _ in PolicyError() }
    let frames = try pass.frames(of: example.block, finalState: example.workspace.finalState, errors: &errors)
    var random = SeededGenerator(seed: 6)
    let teacher = example.model.logits(example.workspace.finalState)
    let student = example.model.logits(noisy(example.workspace.finalState, &random))
    let parts = [0..<24, 24..<36].map { Predictions(teacher: teacher.copy(rows: $0), student: student.copy(rows: $0)) }
    for (stream, contents) in zip(streams, frames) {
      #expect(contents.count == 2)
      for (i, content) in contents.enumerated() {
        let targets = try stream.shape.decode(content.bytes, nTokens: i == 0 ? 24 : 12)
        parts[i].expectBounds(of: targets, stream.shape.policy) { example.isText(24 * i + $0) }
      }
    }
  }

  @Test(arguments: folders) func errorsAreMeasuredOnTheSample(path: String) throws {
    let lengths = [UInt32](repeating: 20, count: 17)
    let example = try Example(path, context: 20, lengths: lengths, seed: 8)
    let streams = try streams(TeacherPassTests.policies, example.model.configuration.dVocab)
    let pass = TeacherPass(example.model, streams: streams)
    var errors = streams.map { _ in PolicyError() }
    let frames = try pass.frames(of: example.block, finalState: example.workspace.finalState, errors: &errors)
    for (i, error) in errors.enumerated() {
      // Sequences 16 and 32 of 16..<33, positions 0 and 16.
      #expect(error.nTokens == 40 && error.nRounded == 4)
      let (loss, tail) = (try #require(error.meanUniformLoss), try #require(error.meanTailMass))
      #expect(loss >= 0 && loss <= error.uniformLossMax && tail <= error.tailMassMax && error.tailMassMax < 1)
      #expect(error.roundingMax < 1e-6, "\(streams[i].shape.policy.name): \(error.roundingMax)")
      #expect(abs(error.entropySum - errors[0].entropySum) < 1e-3)
      // Counted again from what was written.
      var again = PolicyError()
      let first = try streams[i].shape.decode(frames[i][0].bytes, nTokens: 40)
      again.add(first.tokens(0..<20))
      again.add(try streams[i].shape.decode(frames[i][8].bytes, nTokens: 20))
      #expect(again.tailMassSum == error.tailMassSum && again.uniformLossMax == error.uniformLossMax)
    }
    #expect(errors[0].tailMassSum > errors[1].tailMassSum && errors[5].tailMassMax == 0)

    var last = -1.0
    for type in [ElementType.f32, .f16, .bf16] {
      var error = PolicyError()
      try pass.addRounding(
        of: example.normalized, as: type, block: example.block, finalState: example.workspace.finalState, to: &error)
      #expect(error.nRounded == 4 && error.roundingMax < 1e-2)
      let mean = try #require(error.meanRounding)
      #expect(mean > last, "\(type): \(mean)")
      if type == .f32 { #expect(error.roundingMax == 0) }
      last = mean
    }
  }

  @Test func logitsThatAreNotFiniteAreNamed() throws {
    let path = SharedInputs.packageRoot.appendingPathComponent("data/model").path
    let example = try Example(path, context: 4, lengths: [4, 2], seed: 9)
    var values = example.workspace.finalState.values
    values[5 * 128 + 3] = .nan
    let state = Matrix(8, 128, values)
    for name in ["topk:2", "full"] {
      let pass = TeacherPass(example.model, streams: try streams([name], 2048))
      var errors = [PolicyError()]
      let error = #expect(throws: ActCacheError.self) {
        try pass.frames(of: example.block, finalState: state, errors: &errors)
      }
      #expect(
        error?.description
          == "logits/\(name): sequence 17, position 1: the logits are not finite, or too far apart for "
          + "f32; check the model's weights, or leave this policy out")
    }
    // In padding nobody looks.
    values.swapAt(5 * 128 + 3, 6 * 128 + 3)
    let pass = TeacherPass(example.model, streams: try streams(["topk:2", "full"], 2048))
    var errors = [PolicyError(), PolicyError()]
    let padded = Matrix(8, 128, values)
    #expect(try pass.frames(of: example.block, finalState: padded, errors: &errors).map(\.count) == [1, 1])
  }

  #if !DEBUG
    /// The first 2,048 tokens of the models' text, in batches of two windows of 64.
    @Test(arguments: ["stories260K", "tinystories-1m-shape"]) func boundsHoldOnEveryBatchOfText(name: String) throws {
      guard let path = SharedInputs.path("models/\(name)") else { return }
      let file = try MappedFile(
        path: SharedInputs.packageRoot.appendingPathComponent("Tests/TransformerTests/Fixtures/\(name).u16").path)
      let ids = file.withBytes { bytes in
        (0..<2048).map { UInt32(bytes.integer(at: 2 * $0, as: UInt16.self)) }
      }
      let model = try TransformerModel.load(path: path)
      let workspace = ForwardWorkspace()
      let streams = try streams(TeacherPassTests.policies, model.configuration.dVocab)
      let pass = TeacherPass(model, streams: streams)
      var random = SeededGenerator(seed: 6)
      var shares = streams.map { _ in 0.0 }
      for first in stride(from: 0, to: 32, by: 2) {
        let batch = TokenBatch(ids: Array(ids[first * 64..<(first + 2) * 64]), nSequences: 2, nPositions: 64)
        try model.forward(batch, wantsFinalState: true, workspace: workspace)
        var errors = streams.map { _ in PolicyError() }
        let frames = try pass.frames(
          of: TeacherPass.Block(first: first, context: 64, lengths: [64, 64]), finalState: workspace.finalState,
          errors: &errors)
        let predictions = Predictions(
          teacher: model.logits(workspace.finalState),
          student: model.logits(noisy(workspace.finalState, &random)))
        for (i, stream) in streams.enumerated() {
          let targets = try stream.shape.decode(frames[i][0].bytes, nTokens: 128)
          shares[i] = max(shares[i], predictions.expectBounds(of: targets, stream.shape.policy))
        }
      }
      // The bound is no idle one.
      print("\(name): gradients off by these parts of 2r at most: \(shares)")
      #expect(shares[0] > 0.2)
    }

    /// Entropy and tail masses of the first 4,096 tokens of the models' text in windows of 256, from transformers 5.23
    /// and torch in f64; prints what each policy costs and errs.
    @Test(
      .serialized,
      arguments: [
        ("stories260K", 1.2603771351, ["topk:16": 0.0342621923, "topk:64": 7.36938372e-4]),
        ("tinystories-1m-shape", 3.1810578893, ["topk:16": 0.2230589579, "topk:64": 0.1164257717]),
      ] as [(String, Double, [String: Double])])
    func realTextHasTheTailsOfTransformers(name: String, entropy: Double, tails: [String: Double]) throws {
      guard let path = SharedInputs.path("models/\(name)") else { return }
      let file = try MappedFile(
        path: SharedInputs.packageRoot.appendingPathComponent("Tests/TransformerTests/Fixtures/\(name).u16").path)
      let ids = file.withBytes { bytes in
        (0..<4096).map { UInt32(bytes.integer(at: 2 * $0, as: UInt16.self)) }
      }
      let model = try TransformerModel.load(path: path)
      let workspace = ForwardWorkspace()
      let batch = TokenBatch(ids: ids, nSequences: 16, nPositions: 256)
      let clock = ContinuousClock()
      var normalized = Matrix(0, 0)
      let forward = try clock.measure {
        try model.forward(batch, hooks: [.finalNormalized], wantsFinalState: true, workspace: workspace) {
          normalized = $1.copy()
        }
      }
      print("\(name): forward \(forward), \(Threads.count) threads")
      let block = TeacherPass.Block(first: 0, context: 256, lengths: [UInt32](repeating: 256, count: 16))
      for policy in TeacherPassTests.policies + ["mass:0.01"] {
        let streams = try streams([policy], model.configuration.dVocab)
        let pass = TeacherPass(model, streams: streams)
        var errors = [PolicyError()]
        var frames: [[TargetFrameContent]] = []
        for _ in 0..<2 {
          errors = [PolicyError()]
          let time = try clock.measure {
            frames = try pass.frames(of: block, finalState: workspace.finalState, errors: &errors)
          }
          print("\(name) \(policy): \(time)", terminator: "; ")
        }
        var (whole, nEntries, bytes) = (PolicyError(), 0, 0)
        for frame in frames[0] {
          let targets = try streams[0].shape.decode(frame.bytes, nTokens: 512)
          whole.add(targets)
          nEntries += targets.indices.count
          bytes += frame.bytes.count
        }
        print(
          "\(nEntries / 4096) entries, \(bytes / 4096) bytes per token; tail \(whole.meanTailMass ?? 0) (max "
            + "\(whole.tailMassMax)), uniform loss \(whole.meanUniformLoss ?? 0) (max \(whole.uniformLossMax)), rounding "
            + "\(errors[0].meanRounding ?? 0) (max \(errors[0].roundingMax)), entropy \(whole.meanEntropy ?? 0)")
        #expect(abs(try #require(whole.meanEntropy) - entropy) < 1e-5)
        if let tail = tails[policy] { #expect(abs(try #require(whole.meanTailMass) / tail - 1) < 1e-4, "\(policy)") }
      }
      for type in [ElementType.bf16, .f16, .f32] {
        var error = PolicyError()
        try TeacherPass(model, streams: []).addRounding(
          of: normalized, as: type, block: block, finalState: workspace.finalState, to: &error)
        print("\(name) hidden as \(type): rounding \(error.meanRounding ?? 0) (max \(error.roundingMax))")
      }
    }
  #endif
}
