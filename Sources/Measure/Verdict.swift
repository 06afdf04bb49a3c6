import ActCache

/// One sentence on who waits for whom.
package enum Verdict {
  /// Of stages with queues between them: the one that waits least decides the pace.
  package static func pipeline(_ lanes: [Lane]) -> String {
    let shares = lanes.map { (name: $0.name, waiting: share($0.waitingSeconds, of: $0)) }
    guard let busiest = shares.min(by: { $0.waiting < $1.waiting }) else { return "nothing was measured" }
    let others = shares.filter { $0.name != busiest.name }
    guard !others.isEmpty else { return "\(busiest.name) waits \(percent(busiest.waiting)) of the time" }
    return "\(others.map(\.name).joined(separator: " and ")) wait\(others.count == 1 ? "s" : "") for \(busiest.name): "
      + shares.map { "\($0.name) waits \(percent($0.waiting))" }.joined(separator: ", ")
  }

  /// Of training: the disk, or the arithmetic.
  package static func training(_ train: Lane) -> String {
    let waiting = share(train.waitingSeconds, of: train)
    let reading = share(train.seconds(.gather), of: train)
    let word =
      waiting > 0.5
      ? "it is the disk" : waiting > 0.05 ? "it is the arithmetic, and in part the disk" : "it is the arithmetic"
    return "\(word): training waits \(percent(waiting)) of its time for data and gathers batches \(percent(reading))"
  }

  static func share(_ seconds: Double, of lane: Lane) -> Double {
    let whole = lane.busySeconds + lane.waitingSeconds
    return whole > 0 ? seconds / whole : 0
  }

  static func percent(_ share: Double) -> String {
    // Below one percent the first digit matters.
    share > 0 && share < 0.0095 ? "\(Double((share * 1000).rounded()) / 10) %" : "\(Int((share * 100).rounded())) %"
  }
}
