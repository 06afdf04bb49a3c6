import ActCache
import Foundation
import LinearAlgebra
import Memory
import TestSupport
import Testing
import Transformer

@testable import Harvest

/// The bounds of docs/design.md on every batch of real models: those beside some checkouts, and the embedded one.
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
        model.forEachLogitTile(top, scratch: LogitScratch()) { logits, rows in
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

  /// log softmax of a row, in double precision.
  private func logProbabilities(_ logits: borrowing Matrix, _ row: Int) -> [Double] {
    logits.withSpan(rows: row..<row + 1) { values in
      var (top, sum) = (-Double.infinity, 0.0)
      for i in values.indices { top = max(top, Double(values[i])) }
      for i in values.indices { sum += exp(Double(values[i]) - top) }
      let logSum = top + log(sum)
      var result: [Double] = []
      for i in values.indices { result.append(Double(values[i]) - logSum) }
      return result
    }
  }

  @Test(arguments: folders) func boundsHoldOnEveryToken(path: String) throws {
    let example = try Example(path, context: 12, lengths: [12, 7, 12], seed: 5)
    let v = example.model.configuration.dVocab
    let streams = try streams(TeacherPassTests.policies, v)
    let pass = TeacherPass(example.model, streams: streams)
    var errors = streams.map { _ in PolicyError() }
    let frames = try pass.frames(of: example.block, finalState: example.workspace.finalState, errors: &errors)
    var random = SeededGenerator(seed: 6)
    let teacher = example.model.logits(example.workspace.finalState)
    // The student: the same states with noise, which moves the logits as an SAE in the model does.
    let state = example.workspace.finalState.copy()
    let scale = Float(0.1) * (state.values.reduce(0) { $0 + $1 * $1 } / Float(state.count)).squareRoot()
    let noisy = Matrix(
      state.rows, state.columns, state.values.map { $0 + scale * Float.random(in: -2...2, using: &random) })
    let student = example.model.logits(noisy)

    for (stream, contents) in zip(streams, frames) {
      #expect(contents.count == 2)
      let shape = stream.shape
      let parts = try zip(contents, [24, 12]).map { try shape.decode($0.bytes, nTokens: $1) }
      for (first, targets) in zip([0, 24], parts) {
        let rows = first..<first + targets.nTokens
        let logits = student.copy(rows: rows)
        let bucketed = bucketedDivergence(
          logits.strip,
          BucketTargets(
            starts: targets.starts, tokens: targets.indices, probabilities: targets.probabilities,
            tailMasses: targets.tailMasses), weights: [Float](repeating: 1, count: targets.nTokens))
        for (i, row) in rows.enumerated() {
          let entries = targets.starts[i]..<targets.starts[i + 1]
          let gradient = (0..<v).map { Double(logits[i, $0]) }
          guard example.isText(row) else {
            #expect(entries.isEmpty && abs(bucketed[i]) < 1e-6 && gradient.allSatisfy { abs($0) < 1e-6 })
            continue
          }
          let p = logProbabilities(teacher, row)
          let q = logProbabilities(student, row)
          let kl = zip(p, q).reduce(0.0) { $0 + exp($1.0) * ($1.0 - $1.1) }
          let listed = Set(targets.indices[entries])
          let tail = (0..<v).filter { !listed.contains(UInt32($0)) }
          let r = tail.reduce(0.0) { $0 + exp(p[$1]) }
          let qTail = tail.reduce(0.0) { $0 + exp(q[$1]) }
          let ofTail =
            tail.isEmpty ? 0 : tail.reduce(0.0) { $0 + exp(p[$1]) * (p[$1] - q[$1]) } - r * (log(r) - log(qTail))
          let missing = kl - Double(bucketed[i])
          // Codes are half a step off at most; that and f32 logits are what differs beside the tail.
          let noise = 2e-4 * max(1, kl)
          #expect(abs(missing - ofTail) < noise, "\(shape.policy.name): \(missing), r·KL(tail) is \(ofTail)")
          #expect(missing > -noise)
          #expect(abs(Double(targets.tailMasses[i]) - r) <= 1e-5 * r + 1e-9)
          let distance = (0..<v).reduce(0.0) { $0 + abs(gradient[$1] - (exp(q[$1]) - exp(p[$1]))) }
          #expect(distance <= 2 * r + 5e-4, "\(shape.policy.name): \(distance), 2r is \(2 * r)")
          switch shape.policy {
          case .topK(let k): #expect(entries.count == k)
          case .mass(let most, let cap): #expect(entries.count == min(cap, v) || r <= most * 1.0001)
          case .full: #expect(entries.count == v && r == 0)
          case .hidden: break
          }
        }
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
      #expect(error.meanUniformLoss >= 0 && error.meanUniformLoss <= error.uniformLossMax)
      #expect(error.meanTailMass <= error.tailMassMax && error.tailMassMax < 1)
      #expect(error.roundingMax < 1e-6, "\(streams[i].shape.policy.name): \(error.roundingMax)")
      #expect(abs(error.entropySum - errors[0].entropySum) < 1e-3)
      // Counted again from what was written.
      var again = PolicyError()
      let first = try streams[i].shape.decode(frames[i][0].bytes, nTokens: 40)
      again.add(first.tokens(0..<20))
      again.add(try streams[i].shape.decode(frames[i][8].bytes, nTokens: 20))
      #expect(again.tailMassSum == error.tailMassSum && again.uniformLossMax == error.uniformLossMax)
    }
    #expect(errors[0].meanTailMass > errors[1].meanTailMass && errors[5].tailMassMax == 0)

    var last = -1.0
    for type in [ElementType.f32, .f16, .bf16] {
      var error = PolicyError()
      try pass.addRounding(
        of: example.normalized, as: type, block: example.block, finalState: example.workspace.finalState, to: &error)
      #expect(error.nRounded == 4 && error.roundingMax < 1e-2)
      #expect(error.meanRounding > last, "\(type): \(error.meanRounding)")
      if type == .f32 { #expect(error.roundingMax == 0) }
      last = error.meanRounding
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
          "\(nEntries / 4096) entries, \(bytes / 4096) bytes per token; tail \(whole.meanTailMass) (max "
            + "\(whole.tailMassMax)), uniform loss \(whole.meanUniformLoss) (max \(whole.uniformLossMax)), rounding "
            + "\(errors[0].meanRounding) (max \(errors[0].roundingMax)), entropy \(whole.meanEntropy)")
        #expect(abs(whole.meanEntropy - entropy) < 1e-5)
        if let tail = tails[policy] { #expect(abs(whole.meanTailMass / tail - 1) < 1e-4, "\(policy)") }
      }
      for type in [ElementType.bf16, .f16, .f32] {
        var error = PolicyError()
        try TeacherPass(model, streams: []).addRounding(
          of: normalized, as: type, block: block, finalState: workspace.finalState, to: &error)
        print("\(name) hidden as \(type): rounding \(error.meanRounding) (max \(error.roundingMax))")
      }
    }
  #endif
}
