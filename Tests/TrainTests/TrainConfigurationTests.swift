import ActCache
import SAE
import Testing
import Train

@Suite struct TrainConfigurationTests {
  @Test func yamlRoundTripKeepsEveryField() throws {
    var configuration = TrainConfiguration(cache: "c", hook: "blocks.0.hook_resid_pre", out: "o")
    configuration.kAux = 5
    configuration.lr = 0.25
    configuration.kStart = 64
    configuration.kAnnealFraction = 0.25
    configuration.multiTopK = true
    configuration.groups = "1/2"
    configuration.sparsity = .tanh
    configuration.targetL0 = 5
    configuration.pPower = true
    configuration.normalization = "factor:2.5"
    configuration.io = .pread
    configuration.memory = "1048576"
    configuration.window = "64KiB"
    configuration.onCorrupt = .skip
    configuration.skipBOS = true
    configuration.skipPositions = 3
    #expect(try TrainConfiguration(yaml: configuration.yaml, path: "config.yaml") == configuration)
  }

  @Test func missingKeysAreDefaults() throws {
    let configuration = try TrainConfiguration(yaml: "cache: c\nk: 7\n", path: "x.yaml")
    #expect(configuration.k == 7 && configuration.cache == "c" && configuration.batch == 4096)
  }

  @Test func unknownKeySuggestsTheNearest() {
    #expect(throws: TrainError.self) { _ = try TrainConfiguration(yaml: "latent: 5", path: "x.yaml") }
    do {
      _ = try TrainConfiguration(yaml: "latent: 5", path: "x.yaml")
    } catch {
      #expect("\(error)".hasPrefix("x.yaml: unknown key latent; did you mean latents? Known: cache, hook"))
    }
  }

  @Test func valuesThatMakeNoSenseAreNamed() throws {
    func message(_ change: (inout TrainConfiguration) -> Void) -> String {
      var configuration = TrainConfiguration(cache: "c", hook: "h", out: "o")
      change(&configuration)
      do { try configuration.validate() } catch { return "\(error)" }
      return "valid"
    }
    #expect(message { _ in } == "valid")
    #expect(message { $0.batch = 0 } == "batch is 0; 1 to 1,048,576 are allowed")
    #expect(
      message { $0.latents = "x8" }
        == "latents is x8; expected a number such as 4096 or a multiple of the width such as 8x")
    #expect(
      message { $0.normalization = "unit-ish" } == "normalization is unit-ish; expected scale, none or factor:<c>")
    #expect(message { $0.skipPositions = -1 } == "skip-positions is -1; it must not be negative")
    for text in ["", "0", "-1", "1MB", "MiB", "1.5GiB", "2 GiB", "99999999999GiB", "+5"] {
      #expect(
        message { $0.memory = text }
          == "memory is \(text); expected bytes such as 268435456, 256MiB or 1GiB (KiB, MiB, GiB), up to 2^50")
    }
    #expect(message { $0.window = "x" }.hasPrefix("window is x; expected bytes"))
    #expect(
      message {
        $0.arch = .relu
        $0.kStart = 64
      } == "k-start is given, but arch is relu; it is for topk, batchtopk and matryoshka")
    #expect(message { $0.kAnnealFraction = 0.1 } == "k-anneal-fraction is given without k-start; add --k-start K")
    #expect(
      message {
        $0.arch = .batchtopk
        $0.multiTopK = false
      } == "multi-topk is given, but arch is batchtopk; it is for topk")
    #expect(message { $0.groups = "1/2" } == "groups is given, but arch is topk; it is for matryoshka")
    #expect(message { $0.hook = "" } == "no hook given; add --hook NAME (`actcache info CACHE` lists them)")
  }

  @Test func readingOptionsAreTakenFromTheirKeys() throws {
    let configuration = try TrainConfiguration(
      yaml: "memory: 4096\nwindow: 3KiB\non-corrupt: skip\nskip-bos: true\nskip-positions: 2\nio: pread", path: "x")
    let options = try configuration.readingOptions()
    #expect(options.memoryBytes == 4096 && options.windowBytes == 3072 && options.onCorrupt == .skip)
    #expect(options.filter.skipsBOS && options.filter.positions?.lowerBound == 2 && configuration.io == .pread)
    #expect(throws: TrainError.self) { try TrainConfiguration(yaml: "io: fread", path: "x") }
    let defaults = try TrainConfiguration(yaml: "cache: c", path: "x").readingOptions()
    #expect(defaults.memoryBytes == ReadingOptions().memoryBytes && defaults.windowBytes == 128 << 20)
    #expect(defaults.filter == TokenFilter() && defaults.onCorrupt == .stop)
  }

  @Test func optionsOfKAreChecked() throws {
    var configuration = TrainConfiguration(cache: "c", hook: "h", out: "o")
    configuration.kStart = 99
    #expect(throws: SAEError.invalid("k-start is 99; it must be from 1 to the number of latents, 80")) {
      _ = try configuration.saeConfiguration(width: 10)
    }
    configuration.kStart = 64
    configuration.kAnnealFraction = 1.5
    #expect(throws: SAEError.invalid("k-anneal-fraction is 1.5; it must be from 0 to 1")) {
      _ = try configuration.saeConfiguration(width: 10)
    }
    configuration.kAnnealFraction = 0.5
    configuration.arch = .matryoshka
    configuration.groups = "1/4"
    #expect(try configuration.saeConfiguration(width: 10).prefixes == [20, 80])
  }

  @Test func optionsThatMeanNothingToTheArchitectureAreRefused() throws {
    func message(_ arch: SAEConfiguration.Architecture, _ change: (inout TrainConfiguration) -> Void) -> String {
      var configuration = TrainConfiguration(cache: "c", hook: "h", out: "o")
      configuration.arch = arch
      change(&configuration)
      do {
        try configuration.validate()
        _ = try configuration.saeConfiguration(width: 8)
      } catch { return "\(error)" }
      return "valid"
    }
    #expect(message(.topk) { $0.l0 = 1 } == "l0 means nothing to arch topk; it belongs to jumprelu")
    #expect(message(.relu) { $0.bandwidth = 1 } == "bandwidth means nothing to arch relu; it belongs to jumprelu")
    #expect(message(.jumprelu) { $0.pStart = 1 } == "p-start means nothing to arch jumprelu; it belongs to panneal")
    #expect(
      message(.jumprelu) { ($0.targetL0, $0.sparsity) = (20, .step) }
        == "target-l0 and sparsity are two kinds of penalty; leave one of them out")
    #expect(message(.jumprelu) { $0.tanhScale = 2 } == "tanh-scale is 2.0; it belongs to sparsity tanh")
    #expect(
      message(.jumprelu) { $0.targetL0 = 65 }
        == "target-l0 is 65.0; it must be above 0 and at most the number of latents, 64")
    #expect(message(.jumprelu) { $0.bandwidth = 0 } == "bandwidth is 0.0; it must be positive")
    #expect(message(.jumprelu) { $0.threshold = -1 } == "threshold is -1.0; it must not be negative")
    #expect(message(.jumprelu) { $0.l0 = -1 } == "l0 is -1.0; it must not be negative")
    #expect(
      message(.panneal) { $0.pEnd = 0 }
        == "p-start is 1.0 and p-end 0.0; p-end must be above 0 and p-start not below it")
    #expect(message(.panneal) { $0.annealStart = 1 } == "anneal-start is 1.0; from 0 to below 1 are allowed")
    #expect(message(.panneal) { $0.annealUpdates = 0 } == "anneal-updates is 0; 1 to 10,000 are allowed")
    #expect(message(.jumprelu) { ($0.l0, $0.sparsity, $0.tanhScale, $0.bandwidth) = (2, .tanh, 4, 2) } == "valid")
    #expect(message(.panneal) { ($0.pEnd, $0.pPower) = (0.5, true) } == "valid")
  }

  @Test func scheduleRisesHoldsAndFalls() {
    let schedule = Schedule(peak: 1, nSteps: 100, warmupFraction: 0.1, decayFraction: 0.2)
    #expect(schedule.learningRate(step: 0) == 0.1)
    #expect(schedule.learningRate(step: 9) == 1)
    #expect(schedule.learningRate(step: 50) == 1)
    #expect(schedule.learningRate(step: 79) == 1)
    #expect(schedule.learningRate(step: 99) == 0.05)
  }
}
