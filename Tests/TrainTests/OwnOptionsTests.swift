import Foundation
import SAE
import TestSupport
import Testing
import Train

/// Options of single architectures are refused with all others, by their names in YAML.
@Suite struct OwnOptionsTests {
  private static let withK: Set<SAEConfiguration.Architecture> = [.topk, .batchtopk, .matryoshka]
  private static let all = Set(SAEConfiguration.Architecture.allCases)
  /// Those of two matrices, one on either side of the latents.
  private static let untied = all.subtracting([.deep, .tied, .rica])

  /// Lines of YAML, and the architectures that take them (deep with a ReLU layer).
  private static let own: [(text: String, kinds: Set<SAEConfiguration.Architecture>)] = [
    ("k: 4", withK), ("k-start: 6", withK), ("k-start: 6\nk-anneal-fraction: 0.5", withK),
    ("multi-topk: false", [.topk]),
    ("groups: 1/2", [.matryoshka]), ("k-aux: 3", withK), ("aux-coefficient: 0.03125", withK), ("dead: auxk", withK),
    ("l1: 1", [.relu, .tied, .rica, .gated, .panneal, .deep]), ("p: 1", [.relu, .tied]),
    ("decoder-norm: unit", untied), ("target-hook: t", untied), ("target-hook: t\nskip: true", untied),
    ("l0: 1", [.jumprelu]), ("sparsity: step", [.jumprelu]), ("sparsity: tanh\ntanh-scale: 4", [.jumprelu]),
    ("target-l0: 5", [.jumprelu]), ("bandwidth: 0.05", [.jumprelu]), ("threshold: 0.01", [.jumprelu]),
    ("p-start: 1", [.panneal]), ("p-end: 0.2", [.panneal]), ("p-power: false", [.panneal]),
    ("anneal-start: 0.1", [.panneal]), ("anneal-updates: 10", [.panneal]),
    ("sparse-layer: relu", [.deep]), ("encoder-hidden: 1x", [.deep]), ("decoder-hidden: 1x", [.deep]),
    ("encoder-activation: tanh", [.deep]), ("decoder-activation: relu", [.deep]), ("layer-norm: true", [.deep]),
    ("residual: true", [.deep]), ("dead: resample\nresample-steps: 5", all.subtracting([.deep, .rica])),
    ("init: identity", untied), ("encoder-init: random", untied),
    ("decoder-init: random", all.subtracting([.deep])), ("bias-init: mean", all.subtracting([.deep])),
  ]

  /// Keys that mean something whatever the architecture.
  private static let common: Set<String> = [
    "cache", "hook", "generation", "out", "arch", "latents", "dead-tokens", "objective", "weights", "output-loss",
    "downstream", "teacher", "finetune-fraction", "balance", "half-layers", "model", "tokens", "batch", "optimizer",
    "sparse-adam-steps", "lr", "schedule", "warmup-fraction", "decay-fraction", "min-lr-factor", "beta1", "beta2",
    "momentum", "weight-decay", "ema", "clip", "normalization", "seed", "order-seed", "io", "memory", "window",
    "on-corrupt", "skip-bos", "skip-positions", "skip-outliers", "log-steps", "checkpoint-steps",
  ]

  private func configuration(_ arch: SAEConfiguration.Architecture, _ text: String = "") throws -> TrainConfiguration {
    try TrainConfiguration(yaml: "cache: c\nhook: h\nout: o\narch: \(arch.rawValue)\n\(text)\n", path: "x.yaml")
  }

  @Test(arguments: SAEConfiguration.Architecture.allCases)
  func eachOptionIsTakenByItsArchitecturesAlone(arch: SAEConfiguration.Architecture) throws {
    try configuration(arch).validate()
    for (text, kinds) in Self.own {
      let names = text.split(separator: "\n").map { $0.split(separator: ":")[0] }
      do {
        try configuration(arch, text).validate()
        #expect(kinds.contains(arch), "\(arch.rawValue) took \(text)")
      } catch {
        #expect(!kinds.contains(arch), "\(arch.rawValue) refused \(text): \(error)")
        #expect(names.contains { "\(error)".hasPrefix("\($0) is ") } && "\(error)".contains("arch is \(arch.rawValue)"))
      }
    }
  }

  @Test func aDeepOneTakesThoseOfItsSparseLayer() throws {
    try configuration(.deep, "sparse-layer: topk\nk: 4\nk-start: 6\nk-anneal-fraction: 0.5").validate()
    #expect(
      throws: TrainError.invalid(
        "k is given, but arch is deep with sparse-layer relu; it belongs to topk, batchtopk, matryoshka and deep with "
          + "sparse-layer topk")
    ) { try configuration(.deep, "k: 4").validate() }
  }

  @Test func everyKeyIsInOneOfTheTwoTables() throws {
    var known: Set<String> = []
    do { _ = try configuration(.topk, "nonsense: 1") } catch {
      let names = try #require("\(error)".split(separator: "Known: ").last)
      known = Set(names.components(separatedBy: ", "))
    }
    let own = Set(
      Self.own.flatMap { $0.text.split(separator: "\n").map { String($0.split(separator: ":")[0]) } })
    #expect(own.intersection(Self.common).isEmpty)
    #expect(own.union(Self.common) == known)
  }

  @Test(arguments: SAEConfiguration.Architecture.allCases)
  func configurationOfARunIsCompleteAndReplaysIt(arch: SAEConfiguration.Architecture) throws {
    let folder = try TemporaryFolder()
    for text in ["", "optimizer: signum\nschedule: constant", "dead: none"] {
      var settings = try configuration(arch, text)
      settings.out = "\(folder.path)/\(text.count)"
      (settings.batch, settings.tokens, settings.latents) = (32, 64, "4x")
      #expect(try TrainRun(settings, source: ToyBatches()).run(resuming: false) == .finished)
      let path = settings.out + "/config.yaml"
      let written = String(decoding: try #require(FileManager.default.contents(atPath: path)), as: UTF8.self)
      let replay = try TrainConfiguration(yaml: written, path: path)
      try replay.validate()
      #expect(try TrainRun(replay, source: ToyBatches()).run(resuming: false) == .alreadyFinished)
      #expect(written.contains("\nk: 32\n") == Self.withK.contains(arch))
      #expect(
        written.contains("\nl1: 1e+0\n") == [.relu, .tied, .rica, .gated, .panneal, .deep].contains(arch), "\(written)")
      #expect(written.contains("aux-coefficient: ") == (Self.withK.contains(arch) && text != "dead: none"))
      #expect(written.contains("beta1: 9e-1") == (text != "optimizer: signum\nschedule: constant"))
    }
  }
}
