import SAE
import Testing
import Train

@Suite struct SweepGridTests {
  private func grid(_ yaml: String) throws -> SweepGrid { try SweepGrid(yaml: yaml, path: "s.yaml") }

  @Test func listsSpanAllCombinationsAndTheLastKeyChangesFirst() throws {
    let grid = try grid("cache: c\nhook: h\nout: o\nlatents: [4x, 8x]\nk: [16, 32, 64]\nlr: [1e-3]\nseed: 3\n")
    let runs = grid.members.map(\.configuration)
    #expect(runs.map(\.latents) == ["4x", "4x", "4x", "8x", "8x", "8x"])
    #expect(runs.map(\.k) == [16, 32, 64, 16, 32, 64])
    #expect(runs.allSatisfy { $0.cache == "c" && $0.hook == "h" && $0.lr == 1e-3 && $0.batch == 4096 })
    #expect(grid.variedKeys == ["latents", "k"] && grid.out == "o")
    #expect(grid.members[4].name == "latents-8x_k-32" && runs[4].out == "o/latents-8x_k-32")
    #expect(runs.allSatisfy { $0.orderSeed == 3 })
  }

  @Test func runsAreMappingsOverTheRestOfTheFile() throws {
    let grid = try grid("out: o\nlatents: 4x\nruns:\n- k: [16, 32]\n- {arch: relu, l1: [1, 0.5], latents: 8x}\n")
    #expect(
      grid.members.map(\.name) == [
        "latents-4x_k-16", "latents-4x_k-32", "latents-8x_arch-relu_l1-1", "latents-8x_arch-relu_l1-0.5",
      ])
    #expect(grid.members.map(\.configuration.arch) == [.topk, .topk, .relu, .relu])
  }

  @Test func quotesOfAValueAreNotPartOfTheName() throws {
    let grid = try grid("weights: [\"kl=1,local=2\", 'kl=2']\nobjective: e2e\nmodel: m\n")
    #expect(grid.members.map(\.name) == ["weights-kl-1-local-2", "weights-kl-2"])
    #expect(grid.members.map(\.options) == [["weights": "kl=1,local=2"], ["weights": "kl=2"]])
  }

  @Test func aSweepOverSeedsHasOneOrderOfTokens() throws {
    #expect(try grid("seed: [5, 6]").members.map(\.configuration.orderSeed) == [5, 5])
    #expect(try grid("seed: [5, 6]\norder-seed: [5, 6]").members.map(\.configuration.orderSeed) == [5, 6, 5, 6])
  }

  @Test func withoutListsThereIsOneRunInTheFolderItself() throws {
    let grid = try grid("cache: c\nout: o\nseed: 7\n")
    #expect(grid.members.map(\.configuration.seed) == [7] && grid.members.map(\.configuration.out) == ["o"])
    #expect(grid.members.map(\.configuration.orderSeed) == [nil])
  }

  @Test func aModelGivenBesideTheFileIsForThoseRunsThatRunIt() throws {
    let yaml = "objective: [local, e2e, intrusive]\nmodel: theirs\n"
    let grid = try SweepGrid(yaml: yaml.replacing("model: theirs\n", with: ""), path: "s.yaml", model: "mine")
    #expect(grid.members.map(\.configuration.model) == [nil, "mine", "mine"])
    #expect(grid.variedKeys == ["objective"])
    let over = try SweepGrid(yaml: yaml, path: "s.yaml", model: "mine")
    #expect(over.members.map(\.configuration.model) == ["theirs", "mine", "mine"])
  }

  @Test(arguments: [
    ("k: []", "s.yaml: the list of k is empty; give values, or leave it out"),
    ("nonsense", "s.yaml: not a YAML mapping of names to values"),
    (
      "seed: [\((0..<101).map(String.init).joined(separator: ","))]\nk: [\((1..<101).map(String.init).joined(separator: ","))]",
      "s.yaml: more than 10000 runs; shorten its lists"
    ),
    ("runs: 7", "s.yaml: runs is not a list of mappings of names to values"),
    ("k: [3, 3]", "s.yaml: two runs are the same (); leave one out"),
    ("runs:\n- k: [3, 4]\n- k: 3", "s.yaml: two runs are the same (k-3); leave one out"),
    ("out: [a, b]", "s.yaml: out is b and a; give one folder for all"),
  ])
  func whatIsNoGridIsRefused(yaml: String, message: String) throws {
    #expect(throws: TrainError.invalid(message)) { try grid(yaml) }
  }

  @Test func everyRunIsCheckedAsASingleOne() throws {
    #expect(throws: TrainError.self) { try grid("kk: [1, 2]") }
    #expect(throws: TrainError.self) { try grid("k: [1, many]") }
  }
}
