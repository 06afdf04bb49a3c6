import Foundation
import LinearAlgebra
import SAE
import TestSupport
import Testing
import Train

@Suite struct DeadLatentsTests {
  private func configuration(
    _ out: String, _ change: (inout TrainConfiguration) -> Void = { _ in }
  ) -> TrainConfiguration {
    var configuration = TrainConfiguration(cache: "toy", hook: "blocks.0.hook_resid_post", out: out)
    configuration.arch = .topk
    // Far more latents than k of a batch can use, so that many die.
    configuration.latents = "20x"
    configuration.batch = 16
    configuration.tokens = 16 * 60
    configuration.lr = 3e-3
    configuration.deadTokens = 100
    configuration.logSteps = 5
    configuration.checkpointSteps = 9
    configuration.dead = .resample
    configuration.resampleSteps = "11,24,40"
    change(&configuration)
    configuration.setSparsity(k: 1, l1: 0.3)
    return configuration
  }

  private func weights(_ run: String) throws -> Data {
    try #require(FileManager.default.contents(atPath: "\(run)/sae/sae_weights.safetensors"))
  }

  static let variants: [@Sendable (inout TrainConfiguration) -> Void] = [
    { _ in }, { $0.arch = .relu }, { $0.arch = .jumprelu }, { $0.arch = .gated }, { $0.arch = .batchtopk },
    {
      $0.optimizer = .sparseAdam
      $0.sparseAdamSteps = .row
      $0.ema = 0.9
    },
  ]

  @Test(arguments: variants.indices) func resamplingResumesByteForByte(index: Int) throws {
    let folder = try TemporaryFolder()
    let before = Threads.count
    defer { Threads.count = before }
    let whole = configuration("\(folder.path)/whole", Self.variants[index])
    #expect(try TrainRun(whole, source: ToyBatches()).run(resuming: false) == .finished)
    Threads.count = 3
    for stop in [10, 11, 30] {
      let parts = configuration("\(folder.path)/parts-\(stop)", Self.variants[index])
      var steps = 0
      let first = try TrainRun(parts, source: ToyBatches()).run(
        resuming: false,
        isInterrupted: {
          steps += 1; return steps > stop
        })
      #expect(first == .interrupted(step: stop))
      #expect(try TrainRun(parts, source: ToyBatches()).run(resuming: true) == .finished)
      #expect(try weights(parts.out) == weights(whole.out), "stopped at \(stop)")
    }
  }

  @Test func resampledLatentsLive() throws {
    let folder = try TemporaryFolder()
    func dead(_ name: String, _ choice: DeadLatents) throws -> Int {
      let run = configuration("\(folder.path)/\(name)") {
        $0.dead = choice
        if choice != .resample { $0.resampleSteps = nil }
        $0.tokens = 16 * 45
      }
      _ = try TrainRun(run, source: ToyBatches()).run(resuming: false)
      let text = try #require(FileManager.default.contents(atPath: "\(run.out)/metrics.jsonl"))
      let last = try #require(text.split(separator: 0x0A).last)
      return try JSONDecoder().decode(StepMetrics.self, from: last).dead
    }
    let (none, resampled) = (try dead("none", .none), try dead("resample", .resample))
    // The last 16 were set anew less than 100 tokens ago; they may have taken the tokens of others.
    #expect(resampled < none, "\(none) dead without, \(resampled) with")
  }

  @Test func metricsHaveALineForEachStepThatSetLatentsAnew() throws {
    let folder = try TemporaryFolder()
    let run = configuration("\(folder.path)/run")
    _ = try TrainRun(run, source: ToyBatches()).run(resuming: false)
    let text = try #require(FileManager.default.contents(atPath: "\(run.out)/metrics.jsonl"))
    let lines = try text.split(separator: 0x0A).map { try JSONDecoder().decode(StepMetrics.self, from: $0) }
    #expect(lines.map(\.step) == [5, 10, 11, 15, 20, 24, 25, 30, 35, 40, 45, 50, 55, 60])
    for line in lines {
      if [11, 24, 40].contains(line.step) {
        // No more than there are tokens in a batch.
        #expect(line.resampled == min(16, line.dead) && line.dead > 0, "\(line)")
      } else {
        #expect(line.resampled == nil)
      }
    }
  }

  @Test func resettingForgetsOneLatentAlone() throws {
    for kind in OptimizerConfiguration.Kind.allCases {
      // The same gradients twice: with the first forgotten, row 1 moves as at a first step of a fresh optimizer.
      var settings = OptimizerConfiguration()
      (settings.kind, settings.clip, settings.ema, settings.sparseSteps) = (kind, 0, 0.5, .row)
      func make() -> [Parameter] {
        [Parameter("W_enc", Matrix(3, 2, [1, 2, 3, 4, 5, 6])), Parameter("b_enc", Matrix(1, 3, [1, 2, 3]))]
      }
      func step(_ parameters: [Parameter], _ optimizer: Optimizer) {
        parameters[0].gradient = Matrix(3, 2, [0.1, -0.2, 0.3, 0.4, -0.5, 0.6])
        parameters[1].gradient = Matrix(1, 3, [0.3, 0.2, -0.1])
        _ = optimizer.apply(learningRate: 0.1)
      }
      let (kept, reset) = (make(), make())
      let (a, b) = (Optimizer(kept, settings), Optimizer(reset, settings))
      step(kept, a)
      step(reset, b)
      for parameter in reset { b.reset([1], of: parameter) }
      let before = reset[0].value.values
      step(kept, a)
      step(reset, b)
      let (x, y) = (kept[0].value.values, reset[0].value.values)
      #expect([x[0], x[1], x[4], x[5]] == [y[0], y[1], y[4], y[5]], "\(kind)")
      #expect([kept[1].value[0, 0], kept[1].value[0, 2]] == [reset[1].value[0, 0], reset[1].value[0, 2]])
      // signum moves by the sign, which is the same; adam's second moment starts anew, sgd's momentum is less.
      if kind == .sgd || kind == .adam || kind == .adamw { #expect(x[2] != y[2], "\(kind)") }
      if kind == .sparseAdam {
        // Its first update by its own steps is the learning rate.
        #expect(abs(before[2] - y[2] - 0.1) < 1e-5 && abs(before[3] - y[3] - 0.1) < 1e-5)
      }
      // The average of the row is of what came after the reset.
      b.useAverage()
      a.useAverage()
      #expect(reset[0].value.values[0] == kept[0].value.values[0])
      let expected = before[2] + (1 - 0.5) / (1 - 0.25) * (y[2] - before[2])
      #expect(abs(reset[0].value.values[2] - expected) < 1e-5, "\(kind)")
    }
  }

  @Test func settingsThatDoNotFitAreNamed() throws {
    func message(_ change: (inout TrainConfiguration) -> Void) -> String {
      do { try configuration("o", change).validate() } catch { return "\(error)" }
      return "valid"
    }
    #expect(message { _ in } == "valid")
    #expect(
      message { ($0.arch, $0.dead, $0.resampleSteps) = (.relu, .auxk, nil) }
        == "dead is auxk, but arch is relu; AuxK is for topk, batchtopk and matryoshka, others have resample and none")
    #expect(
      message { ($0.dead, $0.auxCoefficient, $0.resampleSteps) = (.auxk, 0, nil) }
        == "dead is auxk, but aux-coefficient is 0; leave one of them out")
    #expect(message { $0.kAux = 4 } == "k-aux is given, but dead is resample; it belongs to auxk")
    #expect(message { $0.auxCoefficient = 1 } == "aux-coefficient is given, but dead is resample; it belongs to auxk")
    #expect(
      message { ($0.dead, $0.resampleSteps, $0.auxCoefficient, $0.kAux) = (nil, nil, 0, 4) }
        == "k-aux is given, but aux-coefficient is 0, which switches AuxK off; leave one of them out")
    #expect(message { $0.dead = nil } == "resample-steps is given, but dead is auxk; it belongs to resample")
    #expect(
      message { $0.resampleSteps = nil }
        == "dead is resample, which is by default after step 25,000, but the run has 60 steps; give --resample-steps")
    for text in ["", "0", "20,10", "10,10", "60", "1,x", "5,"] {
      #expect(
        message { $0.resampleSteps = text }
          == "resample-steps is \(text); expected ascending steps with commas such as 1000,2000, each below the 60 of the "
          + "run")
    }
    #expect(message { ($0.resampleSteps, $0.tokens) = (nil, 16 * 30_000) } == "valid")
  }

  @Test func noneSwitchesAuxKOff() throws {
    let none = configuration("o") { ($0.dead, $0.resampleSteps) = (DeadLatents.none, nil) }
    #expect(try none.saeConfiguration(width: 12).auxCoefficient == 0)
    #expect(try configuration("o").saeConfiguration(width: 12).auxCoefficient == 0)
    let auxK = configuration("o") { ($0.dead, $0.resampleSteps) = (nil, nil) }
    #expect(try auxK.saeConfiguration(width: 12).auxCoefficient == 1 / 32)
    #expect(throws: SAEError.invalid("aux-coefficient is -1.0; expected a finite number, 0 or more")) {
      _ = try configuration("o") { ($0.dead, $0.resampleSteps, $0.auxCoefficient) = (nil, nil, -1) }
        .saeConfiguration(width: 12)
    }
    let text = try TrainConfiguration(yaml: "dead: resample\nresample-steps: 5,9\n", path: "x.yaml")
    #expect(text.dead == .resample && text.resampleSteps == "5,9")
  }
}
