extension TrainConfiguration {
  /// The optimizer's settings, those not given with their defaults.
  var optimizerConfiguration: OptimizerConfiguration {
    var settings = OptimizerConfiguration()
    settings.kind = optimizer
    if let beta1 { settings.beta1 = Float(beta1) }
    if let beta2 { settings.beta2 = Float(beta2) }
    settings.momentum = Float(momentum ?? (optimizer == .signum ? 0.95 : 0.9))
    settings.weightDecay = Float(weightDecay ?? (optimizer == .adamw ? 0.01 : 0))
    settings.sparseSteps = sparseAdamSteps ?? .global
    settings.clip = Float(clip)
    settings.ema = Float(ema)
    return settings
  }

  /// The learning rate of each step, for `dSAE` latents.
  func makeSchedule(dSAE: Int) throws(TrainError) -> Schedule {
    guard let peak = lr.peak(optimizer, dSAE: dSAE) else {
      throw .invalid("lr is auto; \(optimizer.rawValue) has no rule for it, give a number with --lr")
    }
    return Schedule(
      schedule, peak: peak, nSteps: nSteps, warmupFraction: warmupFraction, decayFraction: decayFraction,
      floor: Float(minLRFactor ?? 0))
  }

  /// Throws `TrainError.invalid` for the first setting of optimizer and schedule that makes no sense, or that the one chosen
  /// does not have.
  func validateOptimizer() throws(TrainError) {
    func check(_ holds: Bool, _ what: String) throws(TrainError) { if !holds { throw .invalid(what) } }
    if case .fixed(let rate) = lr {
      try check(rate > 0 && Float(rate).isFinite, "lr is \(rate); it must be positive, or auto")
    }
    _ = try makeSchedule(dSAE: 1)
    let decay = decayFraction ?? (schedule == .linear ? 0.2 : 0)
    try check(
      warmupFraction >= 0 && decay >= 0 && warmupFraction + decay <= 1,
      "warmup-fraction \(warmupFraction) and decay-fraction \(decay) must not be negative, nor more than 1 together")
    try check(
      (0...1).contains(minLRFactor ?? 0), "min-lr-factor is \(minLRFactor ?? 0); it must be from 0 to 1")
    for (name, beta) in [("beta1", beta1 ?? 0), ("beta2", beta2 ?? 0)] {
      try check(beta >= 0 && Float(beta) < 1, "\(name) is \(beta); it must be in [0, 1)")
    }
    try check(
      momentum.map { $0 >= 0 && Float($0) < 1 } ?? true, "momentum is \(momentum ?? 0); it must be in [0, 1)")
    try check(
      weightDecay.map { $0 >= 0 && Float($0).isFinite } ?? true,
      "weight-decay is \(weightDecay ?? 0); expected a finite number, 0 or more")
    try check(ema >= 0 && Float(ema) < 1, "ema is \(ema); it must be in [0, 1) (0 keeps no average)")
    try check(
      clip >= 0 && Float(clip).isFinite, "clip is \(clip); expected a finite number, 0 or more (0 switches it off)")

    let isAdam = optimizer.isAdam
    func refuse(_ isGiven: Bool, _ what: String, _ owners: String) throws(TrainError) {
      try check(!isGiven, "\(what) is given, but \(optimizer.rawValue) has none; it belongs to \(owners)")
    }
    try refuse(!isAdam && beta1 != nil, "beta1", "adam, adamw and sparse-adam")
    try refuse(!isAdam && beta2 != nil, "beta2", "adam, adamw and sparse-adam")
    try refuse(isAdam && momentum != nil, "momentum", "sgd and signum")
    try refuse(
      weightDecay != nil && (optimizer == .adam || optimizer == .sparseAdam), "weight-decay", "adamw, sgd and signum")
    try refuse(sparseAdamSteps != nil && optimizer != .sparseAdam, "sparse-adam-steps", "sparse-adam")
    for (name, isGiven) in [("decay-fraction", decayFraction != nil), ("min-lr-factor", minLRFactor != nil)] {
      try check(
        schedule != .constant || !isGiven,
        "\(name) is given, but a constant schedule does not fall; it belongs to linear and cosine")
    }
  }
}
