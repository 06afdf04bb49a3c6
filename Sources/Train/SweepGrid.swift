import Foundation
import Yams

/// The runs that one YAML file stands for.
package struct SweepGrid: Sendable {
  package struct Member: Sendable, Equatable {
    /// What sets it apart from the others, for instance `k-32_lr-0.001`; the name of its folder.
    package var name: String
    /// Values of the varied keys that the file gives it, as written there.
    package var options: [String: String]
    package var configuration: TrainConfiguration
  }

  /// Runs of one sweep at most.
  package static let maxRuns = 10_000

  package let members: [Member]
  /// The folder of the sweep.
  package let out: String
  /// Keys whose values differ between members, in the order of the file.
  package let variedKeys: [String]

  /// YAML of a training configuration in which some values are lists stands for every combination of them, in the order
  /// of the keys, the last of them changing first. With `runs`, a list of such mappings, each is put over the rest of the
  /// file:
  ///
  ///     latents: [4x, 8x]
  ///     runs:
  ///     - k: [16, 32, 64]              6 runs
  ///     - {arch: relu, l1: [1, 2]}     4 more
  ///
  /// Each member's folder is `<out>/<name>`. Members share the order of the tokens: `order-seed` is the first one's seed
  /// unless the file says otherwise.
  ///
  /// - Throws: `TrainError.invalid` for an empty list, more than `maxRuns` runs, two equal runs, and what a single run is
  ///   refused for.
  ///
  /// - Parameters: `cache`, `out` and `model` win over what the file says; the model only where the objective runs it.
  package init(
    yaml text: String, path: String, cache: String? = nil, out: String? = nil, model: String? = nil
  ) throws {
    let mapping = try TrainConfiguration.mapping(yaml: text, path: path)
    let base = Node.Mapping(mapping.filter { $0.key.string != "runs" }.map { ($0.key, $0.value) })
    var parts: [Node.Mapping] = [[:]]
    if let runs = mapping["runs"] {
      guard let list = runs.sequence, !list.isEmpty, list.allSatisfy({ $0.mapping != nil }) else {
        throw TrainError.invalid("\(path): runs is not a list of mappings of names to values")
      }
      parts = list.compactMap(\.mapping)
    }
    var combinations: [[(key: String, value: Node)]] = []
    for part in parts {
      var merged = base
      for (key, value) in part { merged[key] = value }
      combinations += try SweepGrid.combinations(merged, path: path)
      try SweepGrid.check(combinations.count, path)
    }
    var keys: [String] = []
    for combination in combinations {
      for (key, _) in combination where !keys.contains(key) { keys.append(key) }
    }
    func written(_ combination: [(key: String, value: Node)], _ key: String) -> String? {
      // A scalar without its quotes.
      combination.first { $0.key == key }.map {
        $0.value.scalar?.string ?? (try? Yams.serialize(node: $0.value)) ?? ""
      }?
      .trimmingCharacters(in: .whitespacesAndNewlines)
    }
    variedKeys = keys.filter { key in Set(combinations.map { written($0, key) }).count > 1 }
    var sweepFolder: String?
    let orderSeed = try combinations.first.map { try SweepGrid.configuration($0, path: path).seed }
    var members: [Member] = []
    for combination in combinations {
      var configuration = try SweepGrid.configuration(combination, path: path)
      configuration.cache = cache ?? configuration.cache
      configuration.out = out ?? configuration.out
      if let model {
        var withModel = configuration
        withModel.model = model
        // What makes no objective is refused later, with the run's name.
        if (try? withModel.makeObjective())?.runsModel ?? false { configuration = withModel }
      }
      guard configuration.out == sweepFolder ?? configuration.out else {
        throw TrainError.invalid(
          "\(path): out is \(configuration.out) and \(sweepFolder ?? ""); give one folder for all")
      }
      sweepFolder = configuration.out
      if configuration.orderSeed == nil && combinations.count > 1 { configuration.orderSeed = orderSeed }
      let options = variedKeys.compactMap { key in written(combination, key).map { (key, $0) } }
      let name = options.map { "\($0)-\(SweepGrid.fileName($1))" }.joined(separator: "_")
      if !name.isEmpty && !configuration.out.isEmpty { configuration.out += "/\(name)" }
      if members.contains(where: { $0.name == name }) {
        throw TrainError.invalid("\(path): two runs are the same (\(name)); leave one out")
      }
      members.append(
        Member(name: name, options: Dictionary(uniqueKeysWithValues: options), configuration: configuration))
    }
    self.members = members
    self.out = sweepFolder ?? ""
  }

  private static func check(_ count: Int, _ path: String) throws {
    guard count <= maxRuns else { throw TrainError.invalid("\(path): more than \(maxRuns) runs; shorten its lists") }
  }

  private static func combinations(_ mapping: Node.Mapping, path: String) throws -> [[(key: String, value: Node)]] {
    var runs: [[(key: String, value: Node)]] = [[]]
    for (key, value) in mapping {
      let name = key.string ?? "a key"
      let values = value.sequence.map { Array($0) } ?? [value]
      guard !values.isEmpty else {
        throw TrainError.invalid("\(path): the list of \(name) is empty; give values, or leave it out")
      }
      try check(runs.count * values.count, path)
      runs = runs.flatMap { run in values.map { run + [(name, $0)] } }
    }
    return runs
  }

  private static func configuration(
    _ combination: [(key: String, value: Node)], path: String
  ) throws -> TrainConfiguration {
    let mapping = Node.Mapping(combination.map { (Node($0.key), $0.value) })
    return try TrainConfiguration(yaml: Yams.serialize(node: .mapping(mapping)), path: path)
  }

  /// Letters, digits, points and dashes stay.
  private static func fileName(_ text: String) -> String {
    String(text.map { $0.isLetter || $0.isNumber || $0 == "." || $0 == "-" || $0 == "+" ? $0 : "-" })
  }
}
