import SAE

/// What is done about latents that are never active.
package enum DeadLatents: String, Codable, Sendable, CaseIterable {
  /// They reconstruct the residual (Gao et al. 2024).
  case auxk
  /// At some steps they are set to inputs that are reconstructed badly (Bricken et al. 2023).
  case resample
  case none
}

extension TrainConfiguration {
  /// Where the arch has AuxK and some steps are local, that, unless `dead` says otherwise.
  package var deadLatents: DeadLatents {
    if let dead { return dead }
    return arch.usesK && (try? makeObjective())?.hasLocalSteps ?? true ? .auxk : .none
  }

  func validateDeadLatents() throws(TrainError) {
    if dead == .auxk && !arch.usesK {
      throw .invalid(
        "dead is auxk, but arch is \(arch.rawValue); AuxK is for topk, batchtopk and matryoshka, others have resample and "
          + "none")
    }
    if dead == .resample && (arch == .deep || arch == .rica) {
      throw .invalid("dead is resample, but arch is \(arch.rawValue), which has only none")
    }
    if dead == .auxk && auxCoefficient == 0 {
      throw .invalid("dead is auxk, but aux-coefficient is 0; leave one of them out")
    }
    for (name, isGiven) in [("k-aux", kAux != nil), ("aux-coefficient", auxCoefficient != nil)] {
      if let dead, dead != .auxk, isGiven {
        throw .invalid("\(name) is given, but dead is \(dead.rawValue); it belongs to auxk")
      }
    }
    if kAux != nil && auxCoefficient == 0 {
      throw .invalid("k-aux is given, but aux-coefficient is 0, which switches AuxK off; leave one of them out")
    }
    if resampleSteps != nil && dead != .resample {
      throw .invalid("resample-steps is given, but dead is \(deadLatents.rawValue); it belongs to resample")
    }
    _ = try resamplingSteps()
  }

  /// After which steps, from 1, dead latents are set anew; where not said, those of Bricken et al. 2023 that the run has.
  func resamplingSteps() throws(TrainError) -> [Int] {
    guard dead == .resample else { return [] }
    guard let resampleSteps else {
      let steps = [25_000, 50_000, 75_000, 100_000].filter { $0 < nSteps }
      if steps.isEmpty {
        throw .invalid(
          "dead is resample, which is by default after step 25,000, but the run has \(nSteps) steps; give --resample-steps"
        )
      }
      return steps
    }
    var steps: [Int] = []
    for word in resampleSteps.split(separator: ",", omittingEmptySubsequences: false) {
      guard let step = Int(word), step >= 1, step < nSteps, step > steps.last ?? 0 else {
        throw .invalid(
          "resample-steps is \(resampleSteps); expected ascending steps with commas such as 1000,2000, each below the "
            + "\(nSteps) of the run")
      }
      steps.append(step)
    }
    return steps
  }
}
