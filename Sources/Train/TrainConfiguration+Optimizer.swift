extension TrainConfiguration {
  /// The optimizer's settings, those not given with their defaults.
  var optimizerConfiguration: OptimizerConfiguration {
    var settings = OptimizerConfiguration()
    settings.kind = optimizer
    settings.beta1 = Float(beta1)
    settings.beta2 = Float(beta2)
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
      floor: Float(minLRFactor))
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
    try check(minLRFactor >= 0 && minLRFactor <= 1, "min-lr-factor is \(minLRFactor); it must be from 0 to 1")
    try check(
      beta1 >= 0 && Float(beta1) < 1 && beta2 >= 0 && Float(beta2) < 1,
      "beta1 \(beta1) and beta2 \(beta2) must be in [0, 1)")
    try check(
      momentum.map { $0 >= 0 && Float($0) < 1 } ?? true, "momentum is \(momentum ?? 0); it must be in [0, 1)")
    try check(
      weightDecay.map { $0 >= 0 && Float($0).isFinite } ?? true,
      "weight-decay is \(weightDecay ?? 0); it must not be negative")
    try check(ema >= 0 && Float(ema) < 1, "ema is \(ema); it must be in [0, 1) (0 keeps no average)")
    try check(clip >= 0 && Float(clip).isFinite, "clip is \(clip); it must not be negative (0 switches it off)")

    let isAdam = optimizer == .adam || optimizer == .adamw || optimizer == .sparseAdam
    func refuse(_ isGiven: Bool, _ what: String, _ owners: String) throws(TrainError) {
      try check(!isGiven, "\(what) is given, but \(optimizer.rawValue) has none; it belongs to \(owners)")
    }
    try refuse(
      !isAdam && (beta1 != Self.defaults.beta1 || beta2 != Self.defaults.beta2), "beta1 or beta2",
      "adam, adamw and sparse-adam")
    try refuse(isAdam && momentum != nil, "momentum", "sgd and signum")
    try refuse(
      weightDecay != nil && (optimizer == .adam || optimizer == .sparseAdam), "weight-decay", "adamw, sgd and signum")
    try refuse(sparseAdamSteps != nil && optimizer != .sparseAdam, "sparse-adam-steps", "sparse-adam")
    try check(
      schedule != .constant || (decayFraction == nil && minLRFactor == 0),
      "decay-fraction or min-lr-factor is given, but a constant schedule does not fall; they belong to linear and cosine"
    )
  }
}
