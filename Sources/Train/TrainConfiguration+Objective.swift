import SAE

extension TrainConfiguration {
  /// What the predictions are compared with.
  package enum OutputLoss: String, Codable, Sendable, CaseIterable {
    /// KL(original ‖ spliced).
    case kl
    /// Cross-entropy of the next token.
    case nextToken = "next-token"
  }

  /// Throws `TrainError.invalid` for what is no objective, and for options that mean nothing to it.
  package func makeObjective() throws(TrainError) -> Objective {
    guard let preset = Objective.Preset(rawValue: objective) else {
      let hint = objective == "frozen" ? "frozen is e2e here; " : objective == "local→kl" ? "write local-kl; " : ""
      throw .invalid(
        "objective is \(objective); \(hint)allowed: \(Objective.Preset.allCases.map(\.rawValue).joined(separator: ", "))"
      )
    }
    if let finetuneFraction {
      guard preset == .localToKL else {
        throw .invalid("finetune-fraction is given, but objective is \(objective); it is for local-kl")
      }
      guard finetuneFraction > 0 && finetuneFraction <= 1 else {
        throw .invalid("finetune-fraction is \(finetuneFraction); above 0 and at most 1 are allowed")
      }
    }
    var result = Objective(preset, finetuneFraction: finetuneFraction ?? 0.05)
    for (term, weight) in try termWeights() { result.weights[term] = weight }
    if outputLoss == .nextToken { result.useNextTokens() }
    if let balance { result.balances = balance }
    if let halfLayers { result.trainsHalfLayers = halfLayers }
    try check(result, preset)
    if let downstream {
      guard let choice = Objective.Downstream(downstream) else {
        throw .invalid("downstream is \(downstream); expected all, next, a number of hooks or their names")
      }
      result.downstream = choice
    }
    return result
  }

  private func check(_ result: Objective, _ preset: Objective.Preset) throws(TrainError) {
    guard result.needsModel || result.has(.local) else {
      throw .invalid(
        "objective \(objective) has no term of a weight above 0; give --weights, for instance local=1,kl=0.5")
    }
    if targetHook != nil && result.trainsHalfLayers {
      throw .invalid(
        "target-hook is given, but half-layers are trained (objective \(objective)), which is for autoencoders; leave one of "
          + "them out")
    }
    if targetHook != nil && result.needsModel && arch == .gated {
      throw .invalid(
        "target-hook is given, but arch is gated, whose gates learn from the target in --objective local alone; choose "
          + "another arch")
    }
    if preset == .local && result.needsModel {
      throw .invalid("weights has terms that run the model, but objective is local; choose --objective mixed")
    }
    for term in Objective.Term.allCases where result.has(term) && term.needsHalfLayers && !result.trainsHalfLayers {
      throw .invalid("\(term.rawValue) has a weight, but no half-layer is trained; add --half-layers")
    }
    for (key, isGiven) in [
      ("model", model != nil), ("teacher", teacher != nil), ("downstream", downstream != nil),
      ("output-loss", outputLoss != nil), ("balance", balance != nil),
    ] where isGiven && !result.runsModel {
      throw .invalid("\(key) is given, but objective \(objective) runs no layer of the model; leave it out")
    }
    if result.runsModel && model == nil {
      throw .invalid(
        "objective \(objective) runs the layers after the hook; add --model DIR, the one that was harvested")
    }
    if downstream != nil && !result.has(.downstream) {
      throw .invalid("downstream is given, but no weight; choose --objective e2e+ds, or --weights downstream=1")
    }
    if teacher != nil && !result.needsTeacher {
      throw .invalid("teacher is given, but no term compares predictions with the original's; leave it out")
    }
    if result.balances && !(result.has(.local) && (result.has(.kl) || result.has(.nextToken))) {
      throw .invalid("balance weighs kl or next-token against local; give local and one of them a weight")
    }
    if !result.hasLocalSteps { try checkLocalOptions() }
  }

  /// Throws `TrainError.invalid` for what belongs to steps of the local objective, where there is none.
  private func checkLocalOptions() throws(TrainError) {
    let problem = "objective \(objective) runs the model in every step, and it belongs to steps of the local objective"
    for (name, isGiven) in [
      ("multi-topk", multiTopK != nil), ("groups", groups != nil), ("k-aux", kAux != nil),
      ("aux-coefficient", auxCoefficient != nil),
    ] where isGiven {
      throw .invalid("\(name) is given, but \(problem); leave it out")
    }
    if dead == .auxk { throw .invalid("dead is auxk, but \(problem); resample and none work") }
    if arch == .matryoshka {
      throw .invalid("arch is matryoshka, but \(problem); choose batchtopk, which is the same there")
    }
  }

  /// `weights`, such as `local=1,kl=0.5@0.9`.
  private func termWeights() throws(TrainError) -> [Objective.Term: TermWeight] {
    guard let weights else { return [:] }
    var result: [Objective.Term: TermWeight] = [:]
    for part in weights.split(separator: ",", omittingEmptySubsequences: false) {
      let sides = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      let allowed = Objective.Term.allCases.map(\.rawValue).joined(separator: ", ")
      guard sides.count == 2, let term = Objective.Term(rawValue: String(sides[0])) else {
        throw .invalid("weights has \(part); expected term=weight with a term of \(allowed)")
      }
      guard let weight = TermWeight(String(sides[1])) else {
        throw .invalid(
          "the weight of \(term.rawValue) is \(sides[1]); expected a number such as 2, 2@0.95 (from 95 % of the steps on), "
            + "2@..0.95 (until there) or 0>2@0.1..0.9 (a line)")
      }
      if result.updateValue(weight, forKey: term) != nil { throw .invalid("weights names \(term.rawValue) twice") }
    }
    return result
  }
}
