import SAE
import Testing

@testable import Train

@Suite struct ObjectiveTests {
  @Test func weightsFollowTheirSchedule() throws {
    let progress = [0, 0.1, 0.5, 0.9, 0.95, 1]
    for (text, expected) in [
      ("2", [2, 2, 2, 2, 2, 2]), ("2@0.9", [0, 0, 0, 2, 2, 2]), ("2@..0.9", [2, 2, 2, 0, 0, 0]),
      ("0>2@0.1..0.9", [0, 0, 1, 2, 2, 2]), ("0.5>0@0..1", [0.5, 0.45, 0.25, 0.05, 0.025, 0]),
    ] {
      let weight = try #require(TermWeight(text), "\(text)")
      for (p, value) in zip(progress, expected) {
        #expect(abs(weight.value(at: p) - value) < 1e-12, "\(text) at \(p): \(weight.value(at: p))")
      }
    }
    for text in [
      "", "x", "-1", "nan", "inf", "1@2", "1@-0.1", "1>2", "1>2@0.5", "1>2@..0.5", "1@0.2..0.8", "1>2@0.8..0.2", "1@@1",
    ] {
      #expect(TermWeight(text) == nil, "\(text)")
    }
  }

  private func configuration(_ change: (inout TrainConfiguration) -> Void) -> TrainConfiguration {
    var configuration = TrainConfiguration(cache: "c", hook: "h", out: "o")
    configuration.objective = "e2e"
    configuration.model = "m"
    change(&configuration)
    return configuration
  }

  @Test func namedObjectivesAreWeightedSums() throws {
    func objective(_ name: String, _ change: (inout TrainConfiguration) -> Void = { _ in }) throws -> Objective {
      try configuration {
        $0.objective = name
        change(&$0)
      }.makeObjective()
    }
    #expect(try objective("local") { $0.model = nil }.weights == [.local: TermWeight(1)])
    #expect(try objective("e2e").weights == [.kl: TermWeight(1)])
    #expect(try objective("e2e+ds").weights == [.kl: TermWeight(1), .downstream: TermWeight(1)])
    #expect(try objective("e2e") { $0.outputLoss = .nextToken } == objective("next-token"))
    let mixed = try objective("mixed") {
      $0.weights = "kl=1,kl-without-sae=1"; $0.halfLayers = true
    }
    #expect(try mixed == objective("non-intrusive"))
    let tuned = try objective("local-kl") { $0.finetuneFraction = 0.1 }
    #expect(tuned.weight(.local, at: 0.89) == 1 && tuned.weight(.kl, at: 0.89) == 0 && !tuned.needsModel(at: 0.89))
    #expect(tuned.weight(.local, at: 0.9) == 0.5 && tuned.weight(.kl, at: 0.9) == 0.5 && tuned.needsModel(at: 0.9))
    #expect(tuned.balances && !tuned.trainsHalfLayers)
    let nextTokens = try objective("local-kl") { $0.outputLoss = .nextToken }
    #expect(nextTokens.has(.nextToken) && !nextTokens.has(.kl) && nextTokens.balances && !nextTokens.needsTeacher)
  }

  @Test func localStepsAreThoseInWhichNoOtherTermHasAWeight() throws {
    for (name, weights, isTrue) in [
      ("e2e", nil, false), ("local-kl", nil, true), ("mixed", "local=1,kl=1", false), ("mixed", "kl=1@0.5", true),
      ("mixed", "kl=1@..0.5", true), ("mixed", "kl=1@..0.5,next-token=1@0.5", false),
      ("mixed", "kl=1@..0.5,next-token=1@0.7", true), ("mixed", "kl=1@..0.7,next-token=1@0.5", false),
      ("mixed", "kl=1@..1", false), ("mixed", "kl=0>1@0..0.5", true), ("mixed", "kl=1>0@0..0.5", true),
    ] {
      let objective = try configuration {
        $0.objective = name
        $0.weights = weights
      }.makeObjective()
      #expect(objective.hasLocalSteps == isTrue, "\(name) \(weights ?? "")")
      // As many steps as show each piece of the schedules.
      #expect((0..<20).contains { !objective.needsModel(at: Double($0) / 20) } == isTrue, "\(name) \(weights ?? "")")
    }
    #expect(
      try configuration {
        $0.objective = "local-kl"; $0.finetuneFraction = 1
      }.makeObjective().hasLocalSteps == false)
    #expect(
      try configuration {
        $0.objective = "local-kl"; $0.halfLayers = true
      }.makeObjective().hasLocalSteps == false)
  }

  @Test func whatBelongsToLocalStepsIsRefusedWhereThereAreNone() throws {
    func problem(_ change: (inout TrainConfiguration) -> Void) -> String {
      do throws(TrainError) { try configuration(change).validate() } catch { return error.description }
      return ""
    }
    let reason = "objective e2e runs the model in every step, and it belongs to steps of the local objective"
    let options: [(String, (inout TrainConfiguration) -> Void)] = [
      ("multi-topk", { $0.multiTopK = true }), ("k-aux", { $0.kAux = 3 }),
      ("aux-coefficient", { $0.auxCoefficient = 1 }),
      (
        "groups",
        {
          $0.groups = "1/2"; $0.arch = .matryoshka
        }
      ),
    ]
    for (name, change) in options {
      #expect(problem(change) == "\(name) is given, but \(reason); leave it out")
      #expect(
        problem {
          change(&$0); $0.objective = "local-kl"
        } == "", "\(name)")
    }
    #expect(problem { $0.dead = .auxk } == "dead is auxk, but \(reason); resample and none work")
    #expect(
      problem { $0.arch = .matryoshka }
        == "arch is matryoshka, but \(reason); choose batchtopk, which is the same there")
    #expect(
      problem {
        $0.arch = .matryoshka; $0.objective = "local-kl"
      } == "")
    // What is not said is none, in the run's config.yaml, too.
    let e2e = configuration { _ in }
    #expect(e2e.deadLatents == .none && e2e.complete.auxCoefficient == nil)
    #expect(try e2e.saeConfiguration(width: 8).auxCoefficient == 0)
    let tuned = configuration { $0.objective = "local-kl" }
    #expect(tuned.deadLatents == .auxk && tuned.complete.auxCoefficient == 1 / 32)
  }

  @Test func whatTheObjectiveDoesNotHaveIsRefused() {
    func problem(_ change: (inout TrainConfiguration) -> Void) -> String {
      do throws(TrainError) { _ = try configuration(change).makeObjective() } catch { return error.description }
      return ""
    }
    #expect(
      problem { $0.objective = "e2e-ds" }
        == "objective is e2e-ds; allowed: local, e2e, e2e+ds, next-token, intrusive, non-intrusive, local-kl, mixed")
    #expect(
      problem { $0.model = nil }
        == "objective e2e runs the layers after the hook; add --model DIR, the one that was harvested")
    #expect(
      problem { $0.objective = "local" }
        == "model is given, but objective local runs no layer of the model; leave it out")
    #expect(
      problem { $0.downstream = "all" }
        == "downstream is given, but no weight; choose --objective e2e+ds, or --weights downstream=1")
    #expect(
      problem { $0.finetuneFraction = 0.1 } == "finetune-fraction is given, but objective is e2e; it is for local-kl")
    #expect(
      problem { $0.weights = "kl=1,kl=2" } == "weights names kl twice")
    #expect(
      problem { $0.weights = "mse=1" }
        == "weights has mse=1; expected term=weight with a term of local, kl, next-token, downstream, kl-without-sae, "
        + "next-token-without-sae")
    #expect(
      problem { $0.weights = "kl-without-sae=1" }
        == "kl-without-sae has a weight, but no half-layer is trained; add --half-layers")
    #expect(
      problem { $0.weights = "kl=0" }
        == "objective e2e has no term of a weight above 0; give --weights, for instance local=1,kl=0.5")
    #expect(
      problem {
        $0.outputLoss = .nextToken; $0.teacher = "hidden"
      }.hasPrefix("teacher is given, but no term"))
    #expect(
      problem { $0.balance = true }
        == "balance weighs kl or next-token against local; give local and one of them a weight")
    #expect(
      problem {
        $0.objective = "local-kl"; $0.finetuneFraction = 0
      }.hasPrefix("finetune-fraction is 0.0"))
  }
}
