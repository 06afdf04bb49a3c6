import Evaluate
import Report
import Train

/// A comparison as text and as CSV.
struct CompareReport {
  private let comparison: Comparison
  /// Of each result.
  private let groups: [String]
  private let results: [EvaluationResult]

  init(_ comparison: Comparison, groups: [String], results: [EvaluationResult]) {
    (self.comparison, self.groups, self.results) = (comparison, groups, results)
  }

  var text: String {
    var parts = [runs]
    let plot = frontier
    if !plot.isEmpty { parts.append(plot) }
    if comparison.groups.count < 2 {
      parts.append("one group, \(comparison.groups[0]): nothing to compare it with; add runs, or choose --group-by")
    }
    parts += Quantity.allCases.compactMap(levels)
    if !comparison.ratios.isEmpty { parts.append(ratios) }
    if let pathways { parts.append(pathways) }
    if let pathwayRatios { parts.append(pathwayRatios) }
    parts.append(
      comparison.resamples > 0
        ? "[…]: 95 % of \(grouped(comparison.resamples)) resamples of \(grouped(results[0].sequences)) held-out sequences, "
          + "seed \(comparison.seed)"
        : "no intervals: --resamples is 0")
    return parts.joined(separator: "\n\n")
  }

  private var runs: String {
    let hasTax = results.contains { $0.alignmentTax != nil }
    var table = TextTable(
      [
        ("run", .left), ("group", .left), ("L0", .right), ("CE incr.", .right), ("KL", .right), ("FVU", .right),
        ("alive", .right), ("top-1 same", .right), ("error share", .right), ("later FVU", .right),
      ] + (hasTax ? [("tax CE incr.", .right), ("tax KL", .right)] : []))
    for (group, r) in zip(groups, results) {
      let tax = r.alignmentTax.map { [fixed($0.ceIncrease, 4), fixed($0.kl, 4)] } ?? ["–", "–"]
      table.add(
        [
          r.run, group, fixed(r.l0, 1), fixed(r.ceIncrease, 4), fixed(r.kl, 4), fixed(r.fvu, 4), grouped(r.alive),
          fixed(r.top1Agreement, 4), r.errorShare.map { fixed($0, 3) } ?? "–",
          r.downstream.last.map { fixed($0.fvu, 4) } ?? "–",
        ] + (hasTax ? tax : []))
    }
    let note = hasTax ? "; tax: of the model with the trained half-layers, without the SAE" : ""
    return "\(results[0].hook); later FVU: of the last residual stream\(note)\n\(table.text)"
  }

  private func mark(_ group: Int) -> Character {
    let letters = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    return letters[group % letters.count]
  }

  private var frontier: String {
    let points = zip(groups, results).map { group, r in
      TextScatter.Point(x: r.l0, y: r.ceIncrease, mark: mark(comparison.groups.firstIndex(of: group) ?? 0))
    }
    let names = comparison.groups.enumerated().map { "\(mark($0.offset)): \($0.element)" }.joined(separator: ", ")
    return TextScatter(x: "L0", y: "CE increase, \(names)", points).text()
  }

  private func name(_ quantity: Quantity) -> String {
    switch quantity {
    case .l0: "L0"
    case .ceIncrease: "CE increase"
    case .alive: "alive latents"
    }
  }

  private func number(_ value: Double, _ quantity: Quantity) -> String {
    switch quantity {
    case .l0: fixed(value, 1)
    case .ceIncrease: fixed(value, 4)
    case .alive: fixed(value, 0)
    }
  }

  private func interval(_ estimate: Estimate, _ digits: Int) -> String {
    let value = fixed(estimate.value, digits)
    guard let low = estimate.low, let high = estimate.high, low < high else { return value }
    return "\(value) [\(fixed(low, digits)), \(fixed(high, digits))]"
  }

  private func levels(_ quantity: Quantity) -> String? {
    let levels = comparison.levels.filter { $0.equal == quantity }
    if comparison.apart.contains(quantity) { return "At equal \(name(quantity)): the groups have no value in common" }
    guard comparison.groups.count > 1, !levels.isEmpty else { return nil }
    let others = Quantity.allCases.filter { $0 != quantity }
    var table = TextTable(
      [(name(quantity), .right), ("group", .left)] + others.map { (name($0), .right) }
        + [("KL", .right), ("FVU", .right)])
    var notes: [String] = []
    for level in levels {
      for reading in level.readings {
        let values = [Quantity.l0: (reading.l0, 1), .ceIncrease: (reading.ceIncrease, 4), .alive: (reading.alive, 0)]
        table.add(
          [number(level.value, quantity), reading.group]
            + others.map { other in values[other].map { interval($0.0, $0.1) } ?? "" }
            + [interval(reading.kl, 4), interval(reading.fvu, 4)])
      }
      for range in level.missing {
        notes.append(
          "\(number(level.value, quantity)) is not reached by \(range.group), which goes from "
            + "\(number(range.low, quantity)) to \(number(range.high, quantity))")
      }
    }
    return (["At equal \(name(quantity)) (runs that are equal in it count as their mean)", table.text] + notes)
      .joined(separator: "\n")
  }

  private var ratios: String {
    var table = TextTable([
      ("CE increase", .right), ("A / B", .left), ("L0 of A / L0 of B", .right), ("alive A / alive B", .right),
      ("MSE of the last stream, A / B", .right),
    ])
    for ratio in comparison.ratios {
      table.add([
        fixed(ratio.ceIncrease, 4), "\(ratio.a) / \(ratio.b)", interval(ratio.l0, 3), interval(ratio.alive, 3),
        ratio.downstream.last.map { interval($0, 3) } ?? "–",
      ])
    }
    return "Pairs at equal CE increase\n\(table.text)"
  }

  /// FVU of every later stream at the middle one of the CE increases.
  private var pathways: String? {
    let levels = comparison.levels.filter { $0.equal == .ceIncrease && $0.readings.count > 1 }
    guard !levels.isEmpty else { return nil }
    let level = levels[levels.count / 2]
    guard let streams = level.readings.first?.downstream, !streams.isEmpty else { return nil }
    var table = TextTable([("stream", .left)] + level.readings.map { ($0.group, .right) })
    for (i, stream) in streams.enumerated() {
      table.add([stream.hook] + level.readings.map { interval($0.downstream[i].fvu, 4) })
    }
    return "FVU of the residual streams after the hook, at CE increase \(fixed(level.value, 4))\n\(table.text)"
  }

  /// MSE of every later stream of A over that of B, at the middle one of each pair's CE increases.
  private var pathwayRatios: String? {
    let hooks = results[0].downstream.map(\.hook)
    var pairs: [(name: String, ratios: [Comparison.Ratio])] = []
    for ratio in comparison.ratios {
      let name = "\(ratio.a) / \(ratio.b)"
      if pairs.last?.name != name { pairs.append((name, [])) }
      pairs[pairs.count - 1].ratios.append(ratio)
    }
    if hooks.isEmpty || pairs.isEmpty { return nil }
    let middle = pairs.map { $0.ratios[$0.ratios.count / 2] }
    var table = TextTable(
      [("stream", .left)] + zip(pairs, middle).map { ("\($0.name) at \(fixed($1.ceIncrease, 4))", .right) })
    for (i, hook) in hooks.enumerated() { table.add([hook] + middle.map { interval($0.downstream[i], 3) }) }
    return "MSE of the residual streams after the hook, A / B at equal CE increase\n\(table.text)"
  }

  /// One number with its interval per line.
  var csv: String {
    var lines = ["equal,at,group,over,quantity,hook,value,low,high"]
    func add(_ cells: [String], _ estimate: Estimate) {
      let numbers = [estimate.value, estimate.low, estimate.high].map { $0.map { "\($0)" } ?? "" }
      lines.append((cells + numbers).map(SweepTable.quoted).joined(separator: ","))
    }
    for level in comparison.levels {
      for reading in level.readings {
        let place = [level.equal.rawValue, "\(level.value)", reading.group, ""]
        let values = [
          ("l0", reading.l0), ("ceIncrease", reading.ceIncrease), ("alive", reading.alive), ("kl", reading.kl),
          ("fvu", reading.fvu),
        ]
        for (quantity, estimate) in values { add(place + [quantity, ""], estimate) }
        for stream in reading.downstream {
          add(place + ["mse", stream.hook], stream.mse)
          add(place + ["fvu", stream.hook], stream.fvu)
        }
      }
    }
    for ratio in comparison.ratios {
      let place = [Quantity.ceIncrease.rawValue, "\(ratio.ceIncrease)", ratio.a, ratio.b]
      add(place + ["l0", ""], ratio.l0)
      add(place + ["alive", ""], ratio.alive)
      for (stream, estimate) in zip(results[0].downstream, ratio.downstream) {
        add(place + ["mse", stream.hook], estimate)
      }
    }
    return lines.joined(separator: "\n")
  }
}
