import Foundation
import Memory

/// What became of one run of a sweep.
package struct SweepResult: Sendable {
  package enum Outcome: Equatable, Sendable {
    case finished
    case interrupted(step: Int)
    /// Stopped by itself: why, and what to do.
    case failed(String)
    case notStarted

    /// Why the run stopped by itself; nil if it did not.
    package var reason: String? {
      if case .failed(let why) = self { why } else { nil }
    }

    package var isUnfinished: Bool {
      switch self {
      case .interrupted, .notStarted: true
      case .finished, .failed: false
      }
    }

    package var word: String {
      switch self {
      case .finished: "finished"
      case .interrupted: "interrupted"
      case .failed: "failed"
      case .notStarted: "not started"
      }
    }
  }

  package var name: String
  package var outcome: Outcome
  /// What stopped a failed run.
  package var error: (any Error)?
  package var configuration: TrainConfiguration
  /// Of its last logged step, if there is one.
  package var metrics: StepMetrics?
  /// Spent on its steps by this process.
  package var seconds: Double
  /// Of its steps with the model; what members share counts as equal parts. nil if there were none.
  package var costs: StepCosts?

  package init(
    _ name: String, outcome: Outcome, error: (any Error)? = nil, configuration: TrainConfiguration, seconds: Double = 0,
    costs: StepCosts? = nil
  ) {
    self.name = name
    self.outcome = outcome
    self.error = error
    self.configuration = configuration
    self.seconds = seconds
    self.costs = costs
    metrics = MetricsLog.last(path: RunFolder(configuration.out).metrics)
  }
}

/// `sweep.csv` and `sweep.jsonl`: one line per member, the options that differ first.
package struct SweepTable {
  private struct Line: Encodable {
    var run, outcome: String
    var reason: String?
    var options: [String: String]
    var metrics: StepMetrics?
    var seconds: Double
    var costs: StepCosts?
  }

  private let rows: [(result: SweepResult, options: [String: String])]
  private let variedKeys: [String]

  /// - Parameter results: one per member of `grid`, in its order.
  package init(_ results: [SweepResult], of grid: SweepGrid) {
    rows = zip(results, grid.members).map { ($0, $1.options) }
    variedKeys = grid.variedKeys
  }

  /// Writes both files into `folder`.
  package func write(to folder: String) throws {
    try DurableFile.write([UInt8](csv.utf8), to: "\(folder)/sweep.csv")
    try DurableFile.write([UInt8](try jsonl.utf8), to: "\(folder)/sweep.jsonl")
  }

  package var csv: String {
    let header =
      ["run"] + variedKeys + [
        "outcome", "step", "tokens", "loss", "mse", "fvu", "l0", "l1", "dead", "lr", "seconds", "times-local",
        "reason",
      ]
    let lines = rows.map { result, options in
      let metrics = result.metrics
      func number(_ value: Double?) -> String { value.map { "\($0)" } ?? "" }
      let cells =
        [result.name] + variedKeys.map { options[$0] ?? "" } + [
          result.outcome.word, metrics.map { "\($0.step)" } ?? "", metrics.map { "\($0.tokens)" } ?? "",
          number(metrics?.loss), number(metrics?.mse), number(metrics?.fvu), number(metrics?.l0), number(metrics?.l1),
          metrics.map { "\($0.dead)" } ?? "", metrics.map { "\($0.lr)" } ?? "", String(format: "%.2f", result.seconds),
          result.costs?.relativeToLocal.map { String(format: "%.2f", $0) } ?? "", result.outcome.reason ?? "",
        ]
      return cells.map(SweepTable.quoted).joined(separator: ",")
    }
    return ([header.joined(separator: ",")] + lines).joined(separator: "\n") + "\n"
  }

  package var jsonl: String {
    get throws {
      let encoder = JSONEncoder()
      encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
      return try rows.map { result, options in
        let line = Line(
          run: result.name, outcome: result.outcome.word, reason: result.outcome.reason,
          options: options, metrics: result.metrics, seconds: result.seconds, costs: result.costs)
        return String(decoding: try encoder.encode(line), as: UTF8.self) + "\n"
      }.joined()
    }
  }

  /// As RFC 4180 wants it.
  package static func quoted(_ cell: String) -> String {
    cell.contains { ",\"\n".contains($0) } ? "\"" + cell.replacingOccurrences(of: "\"", with: "\"\"") + "\"" : cell
  }
}
