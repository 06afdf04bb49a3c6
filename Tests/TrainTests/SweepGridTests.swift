import Testing
import Train

@Suite struct SweepGridTests {
  private func grid(_ yaml: String) throws -> [TrainConfiguration] {
    try TrainConfiguration.grid(yaml: yaml, path: "s.yaml")
  }

  @Test func listsSpanAllCombinationsAndTheLastKeyChangesFirst() throws {
    let runs = try grid("cache: c\nhook: h\nlatents: [4x, 8x]\nk: [16, 32, 64]\nlr: [1e-3]\n")
    #expect(runs.map(\.latents) == ["4x", "4x", "4x", "8x", "8x", "8x"])
    #expect(runs.map(\.k) == [16, 32, 64, 16, 32, 64])
    #expect(runs.allSatisfy { $0.cache == "c" && $0.hook == "h" && $0.lr == 1e-3 && $0.batch == 4096 })
  }

  @Test func withoutListsThereIsOneRun() throws {
    #expect(try grid("cache: c\nseed: 7\n").map(\.seed) == [7])
  }

  @Test(arguments: [
    ("k: []", "s.yaml: the list of k is empty; give values, or leave it out"),
    ("nonsense", "s.yaml: not a YAML mapping of names to values"),
    (
      "seed: [\((0..<101).map(String.init).joined(separator: ","))]\nk: [\((1..<101).map(String.init).joined(separator: ","))]",
      "s.yaml: more than 10000 runs; shorten its lists"
    ),
  ])
  func whatIsNoGridIsRefused(yaml: String, message: String) throws {
    #expect(throws: TrainError.invalid(message)) { try grid(yaml) }
  }

  @Test func everyRunIsCheckedAsASingleOne() throws {
    #expect(throws: TrainError.self) { try grid("kk: [1, 2]") }
    #expect(throws: TrainError.self) { try grid("k: [1, many]") }
  }
}
