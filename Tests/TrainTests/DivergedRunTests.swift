import Foundation
import LinearAlgebra
import SAE
import TestSupport
import Testing

@testable import Train

@Suite struct DivergedRunTests {
  private func configuration(
    _ out: String, _ arch: SAEConfiguration.Architecture, steps: Int = 40,
    changing change: (inout TrainConfiguration) -> Void = { _ in }
  ) -> TrainConfiguration {
    var configuration = TrainConfiguration(cache: "toy", hook: "h", out: out)
    configuration.arch = arch
    configuration.latents = "3x"
    configuration.setSparsity(k: 3, l1: 0.3)
    configuration.batch = 32
    configuration.tokens = 32 * steps
    configuration.lr = 3e-3
    configuration.checkpointSteps = 7
    change(&configuration)
    return configuration
  }

  /// Why a run stopped by itself; nil if it did not.
  private func reason(
    _ configuration: TrainConfiguration, resuming: Bool = false, source: any BatchSource = ToyBatches(),
    stoppingAfter stop: Int = .max
  ) throws -> String? {
    var steps = 0
    do {
      _ = try TrainRun(configuration, source: source).run(
        resuming: resuming,
        isInterrupted: {
          steps += 1
          return steps > stop
        })
      return nil
    } catch TrainError.diverged(let why) {
      #expect(!FileManager.default.fileExists(atPath: "\(configuration.out)/sae/cfg.json"))
      return why
    }
  }

  private func checkpoints(_ configuration: TrainConfiguration) throws -> [String] {
    try FileManager.default.contentsOfDirectory(atPath: "\(configuration.out)/checkpoints").sorted()
  }

  /// Toys that are multiplied from batch `first` on.
  private struct GrowingBatches: BatchSource {
    let toy = ToyBatches()
    let first: Int
    var factor: Float = 30
    var width: Int { toy.width }
    var tokensPerEpoch: Int { toy.tokensPerEpoch }
    var normalizationScale: Double { toy.normalizationScale }
    var secondsWaited: Double { 0 }
    var identity: DataIdentity { toy.identity }
    var provenance: SAELensFormat.Provenance { toy.provenance }

    func read(batch index: Int, into batch: inout Matrix) throws {
      try toy.read(batch: index, into: &batch)
      if index >= first { batch.scale(by: factor) }
    }
  }

  @Test func aResumedRunIsJudgedAsTheWholeOneIs() throws {
    let folder = try TemporaryFolder()
    // The loss of step 110 is some 900 times that of the hundred before it.
    let source = GrowingBatches(first: 110)
    func run(_ name: String) -> TrainConfiguration { configuration("\(folder.path)/\(name)", .topk, steps: 400) }
    let whole = try #require(try reason(run("whole"), source: source))
    #expect(whole.contains(" at step 110; ") && whole.hasSuffix("; the checkpoint of step 105 is kept"), "\(whole)")
    for stop in [1, 50, 109] {
      let parts = run("parts-\(stop)")
      #expect(try reason(parts, source: source, stoppingAfter: stop) == nil)
      for _ in 0..<2 {
        let why = try #require(try reason(parts, resuming: true, source: source), "stopped at \(stop)")
        #expect(why.hasPrefix(whole.replacing("/whole:", with: "/parts-\(stop):").prefix(whole.count - 40)), "\(why)")
      }
    }
  }

  @Test func theCheckpointKeptHadALossThatWasWell() throws {
    let folder = try TemporaryFolder()
    let broken = configuration("\(folder.path)/broken", .topk)
    let why = try #require(try reason(broken, source: GrowingBatches(first: 14, factor: .infinity)))
    #expect(why.hasSuffix("; the checkpoint of step 7 is kept"), "\(why)")
    #expect(try checkpoints(broken) == ["step-7"])
    // What is kept goes on, to the same end.
    #expect(try reason(broken, resuming: true, source: GrowingBatches(first: 14, factor: .infinity)) == why)

    let wild = configuration("\(folder.path)/wild", .topk) { ($0.lr, $0.checkpointSteps) = (1e30, 1) }
    let first = try #require(try reason(wild))
    #expect(!first.contains("checkpoint") && first.contains(" at step 1; "), "\(first)")
    #expect(try checkpoints(wild) == [])
  }

  @Test func aCheckpointOfAnInterruptedRunIsNotYetAGoodOne() throws {
    let folder = try TemporaryFolder()
    let source = GrowingBatches(first: 10, factor: .infinity)
    let run = configuration("\(folder.path)/run", .topk)
    #expect(try reason(run, source: source, stoppingAfter: 10) == nil)
    #expect(try checkpoints(run) == ["step-10", "step-7"])
    let why = try #require(try reason(run, resuming: true, source: source))
    #expect(why.hasSuffix("; the checkpoint of step 7 is kept"), "\(why)")
    #expect(try checkpoints(run) == ["step-7"])
  }

  @Test func explosionsOfShortRunsAreSeen() throws {
    let folder = try TemporaryFolder()
    let topk = configuration("\(folder.path)/topk", .topk) { ($0.optimizer, $0.lr) = (.sgd, 1e6) }
    #expect(try reason(topk) != nil)
    let relu = configuration("\(folder.path)/relu", .relu, steps: 90) { ($0.optimizer, $0.lr) = (.sgd, 100.0) }
    #expect(try reason(relu) != nil)
  }

  @Test func aLossThatRisesBecauseKFallsDoesNotStopTheRun() throws {
    let folder = try TemporaryFolder()
    for (index, fraction) in [0.2, 0.9].enumerated() {
      let run = configuration("\(folder.path)/\(index)", .topk, steps: 400) {
        ($0.kStart, $0.k, $0.kAnnealFraction, $0.logSteps, $0.lr) = (12, 1, fraction, 1, 1e-2)
      }
      #expect(try reason(run) == nil)
    }
  }

  @Test func weightsThatAreNotFiniteOrNotOfUnitNormAreNotExported() throws {
    let folder = try TemporaryFolder()
    let free = configuration("\(folder.path)/free", .relu, steps: 1) {
      ($0.lr, $0.decoderNorm, $0.warmupFraction, $0.schedule) = (3e38, .free, 0, .constant)
    }
    #expect(
      try reason(free)
        == "\(free.out): weights in W_enc, or their squares, are not finite at step 1; lower --lr (now 3e+38) or check --normalization (now "
        + "scale)")
    let unit = configuration("\(folder.path)/unit", .topk, steps: 1) {
      ($0.lr, $0.warmupFraction, $0.schedule) = (1e30, 0, .constant)
    }
    #expect(
      try reason(unit)
        == "\(unit.out): weights in W_enc, or their squares, are not finite at step 1; lower --lr (now 1e+30) or check "
        + "--normalization (now scale)")
    let rows = Parameter("W_dec", Matrix(2, 2, [1, 0, 0, 0]))
    rows.hasUnitRows = true
    #expect(Optimizer([rows]).problemOfWeights == "a row of W_dec has norm 0.0, it is held at 1")
    rows.value = Matrix(2, 2, [1, 0, 0.6, 0.8])
    #expect(Optimizer([rows]).problemOfWeights == nil)
  }

  @Test func aRunWithoutActiveLatentsIsStopped() throws {
    let folder = try TemporaryFolder()
    let run = configuration("\(folder.path)/run", .jumprelu, steps: 250) { $0.threshold = 1000 }
    #expect(
      try reason(run)
        == "\(run.out): no latent was active in 100 steps at step 99; lower --threshold (now 1000.0), --l0 (now 1.0) or "
        + "--lr (now 0.003), or check --normalization (now scale); the checkpoint of step 98 is kept")
    let short = configuration("\(folder.path)/short", .jumprelu, steps: 5) { $0.threshold = 1000 }
    #expect(try reason(short)?.contains(": no latent was active in 2 steps at step 1; ") ?? false)
  }

  /// Of a run that stopped, after `change` to state.json: what resuming says, without the remedy.
  private func message(
    _ run: TrainConfiguration, _ change: (inout [String: Any]) throws -> Void
  ) throws -> String {
    let path = URL(fileURLWithPath: "\(run.out)/checkpoints/step-13/state.json")
    let whole = try Data(contentsOf: path)
    defer { try? whole.write(to: path) }
    var state = try #require(try JSONSerialization.jsonObject(with: whole) as? [String: Any])
    try change(&state)
    try JSONSerialization.data(withJSONObject: state).write(to: path)
    do {
      _ = try TrainRun(run, source: ToyBatches()).run(resuming: true, isInterrupted: { true })
      return "it went on"
    } catch TrainError.mismatch(let message) {
      let end = try #require(message.range(of: "; this checkpoint is damaged or of another run"))
      return String(message[..<end.lowerBound].dropFirst(path.path.count))
    }
  }

  @Test func aStateThatNoStepLeavesIsRefused() throws {
    let folder = try TemporaryFolder()
    let run = configuration("\(folder.path)/run", .panneal)
    #expect(try reason(run, stoppingAfter: 13) == nil)
    #expect(try message(run) { _ in } == "it went on")
    #expect(try message(run) { $0["step"] = -7 } == ": step is -7; expected 13, from 0 to the run's 40")
    #expect(
      try message(run) { $0["tokensSinceActive"] = [1, 2] } == ": 2 latents, the run has 36")
    for (key, count) in [("tokensSinceActive", -1), ("tokensSinceActive", Int.max), ("activity", -1)] {
      let found = try message(run) { state in
        if key == "activity" {
          state[key] = ["counts": [Int](repeating: count, count: 36), "tokens": 0]
        } else {
          state[key] = [Int](repeating: count, count: 36)
        }
      }
      #expect(found == ": a count of tokens is not from 0 to 2^56")
    }
    #expect(
      try message(run) { $0["entryFraction"] = Double.nan.bitPattern }
        == ": entryFraction is nan; expected a share from 0 to 1")
    // λ, updates, length of the queue.
    for (index, value) in [(0, Double.infinity), (1, 11), (1, -1), (2, .nan), (2, 11), (2, 0.5), (22, .nan)] {
      let found = try message(run) { state in
        var numbers = try #require(state["state"] as? [UInt64])
        numbers[index] = value.bitPattern
        state["state"] = numbers
      }
      #expect(found.hasPrefix(": state is [") && found.hasSuffix("], which no step of panneal leaves"), "\(found)")
    }
    let watch = try message(run) { state in
      var watch = try #require(state["watch"] as? [String: Any])
      watch["recent"] = [Double](repeating: 1, count: 14)
      state["watch"] = watch
    }
    #expect(watch == ": watch is not that of a run at step 13")
  }

  @Test func changedTensorsAreSeenBeforeTheyAreUsed() throws {
    let folder = try TemporaryFolder()
    let run = configuration("\(folder.path)/run", .topk)
    #expect(try reason(run, stoppingAfter: 13) == nil)
    let path = "\(run.out)/checkpoints/step-13/state.safetensors"
    var bytes = try #require(FileManager.default.contents(atPath: path))
    bytes[bytes.count - 2] ^= 0x40
    try bytes.write(to: URL(fileURLWithPath: path))
    do {
      _ = try TrainRun(run, source: ToyBatches()).run(resuming: true)
      Issue.record("it went on")
    } catch TrainError.mismatch(let message) {
      #expect(message.hasPrefix("\(path): SHA-256 is ") && message.contains("…, state.json says "), "\(message)")
    }
  }
}
