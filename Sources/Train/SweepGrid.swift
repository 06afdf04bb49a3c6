import Yams

extension TrainConfiguration {
  /// Runs of one sweep at most.
  package static let maxRuns = 10_000

  /// The runs of a sweep: YAML in which some values are lists stands for every combination of them, in the order of the
  /// keys, the last of them changing first.
  ///
  ///     latents: [4x, 8x]
  ///     k: [16, 32, 64]        6 runs
  ///
  /// - Throws: `TrainError.invalid` for an empty list, more than `maxRuns` runs, and what a single run is refused for.
  package static func grid(yaml text: String, path: String) throws -> [TrainConfiguration] {
    guard let node = try? Yams.compose(yaml: text), let mapping = node.mapping else {
      throw TrainError.invalid("\(path): not a YAML mapping of names to values")
    }
    var runs: [[(Node, Node)]] = [[]]
    for (key, value) in mapping {
      let values = value.sequence.map { Array($0) } ?? [value]
      guard !values.isEmpty else {
        throw TrainError.invalid("\(path): the list of \(key.string ?? "a key") is empty; give values, or leave it out")
      }
      guard runs.count * values.count <= maxRuns else {
        throw TrainError.invalid("\(path): more than \(maxRuns) runs; shorten its lists")
      }
      runs = runs.flatMap { run in values.map { run + [(key, $0)] } }
    }
    return try runs.map { run in
      try TrainConfiguration(yaml: Yams.serialize(node: .mapping(Node.Mapping(run))), path: path)
    }
  }
}
