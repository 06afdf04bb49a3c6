import SAE

extension TrainConfiguration {
  /// An option that only some architectures have.
  private struct OwnOption {
    var name: String
    var isGiven: Bool
    var kinds: [SAEConfiguration.Architecture]
    /// Of deep only with this sparse layer.
    var sparseLayer: DeepShape.Sparse?

    init(
      _ name: String, _ isGiven: Bool, _ kinds: [SAEConfiguration.Architecture], deepWith layer: DeepShape.Sparse? = nil
    ) {
      (self.name, self.isGiven, self.kinds, sparseLayer) = (name, isGiven, kinds + (layer == nil ? [] : [.deep]), layer)
    }

    func fits(_ arch: SAEConfiguration.Architecture, _ layer: DeepShape.Sparse) -> Bool {
      kinds.contains(arch) && (arch != .deep || sparseLayer ?? layer == layer)
    }

    var owners: String {
      let names = kinds.map {
        $0 == .deep ? "deep" + (sparseLayer.map { " with sparse-layer \($0.rawValue)" } ?? "") : $0.rawValue
      }
      return (names.count > 1 ? names.dropLast().joined(separator: ", ") + " and " : "") + (names.last ?? "none")
    }
  }

  private var ownOptions: [OwnOption] {
    let all = SAEConfiguration.Architecture.allCases
    let withK: [SAEConfiguration.Architecture] = [.topk, .batchtopk, .matryoshka]
    return [
      OwnOption("k", k != nil, withK, deepWith: .topk), OwnOption("k-start", kStart != nil, withK, deepWith: .topk),
      OwnOption("k-anneal-fraction", kAnnealFraction != nil, withK, deepWith: .topk),
      OwnOption("multi-topk", multiTopK != nil, [.topk]), OwnOption("groups", groups != nil, [.matryoshka]),
      OwnOption("k-aux", kAux != nil, withK), OwnOption("aux-coefficient", auxCoefficient != nil, withK),
      OwnOption("l1", l1 != nil, [.relu, .tied, .rica, .gated, .panneal], deepWith: .relu),
      OwnOption("p", p != nil, [.relu, .tied]),
      // Rows of tied and rica are held, or free, in one way only.
      OwnOption("decoder-norm", decoderNorm != nil, all.filter { $0 != .deep && !$0.isTied }),
      OwnOption("target-hook", targetHook != nil, all.filter(\.canTranscode)),
      OwnOption("skip", skip != nil, all.filter(\.canTranscode)),
      OwnOption("l0", l0 != nil, [.jumprelu]), OwnOption("sparsity", sparsity != nil, [.jumprelu]),
      OwnOption("tanh-scale", tanhScale != nil, [.jumprelu]), OwnOption("target-l0", targetL0 != nil, [.jumprelu]),
      OwnOption("bandwidth", bandwidth != nil, [.jumprelu]), OwnOption("threshold", threshold != nil, [.jumprelu]),
      OwnOption("p-start", pStart != nil, [.panneal]), OwnOption("p-end", pEnd != nil, [.panneal]),
      OwnOption("p-power", pPower != nil, [.panneal]), OwnOption("anneal-start", annealStart != nil, [.panneal]),
      OwnOption("anneal-updates", annealUpdates != nil, [.panneal]),
      OwnOption("sparse-layer", sparseLayer != nil, [.deep]),
      OwnOption("encoder-hidden", encoderHidden != nil, [.deep]),
      OwnOption("decoder-hidden", decoderHidden != nil, [.deep]),
      OwnOption("encoder-activation", encoderActivation != nil, [.deep]),
      OwnOption("decoder-activation", decoderActivation != nil, [.deep]),
      OwnOption("layer-norm", layerNorm != nil, [.deep]), OwnOption("residual", residual != nil, [.deep]),
    ]
  }

  /// Throws `TrainError.invalid` for the first option that means nothing to the architecture, or beside another.
  func validateArchitecture() throws(TrainError) {
    func check(_ holds: Bool, _ what: String) throws(TrainError) { if !holds { throw .invalid(what) } }
    for option in ownOptions where option.isGiven && !option.fits(arch, sparseLayer ?? .relu) {
      let layer =
        arch == .deep && option.sparseLayer != nil ? " with sparse-layer \((sparseLayer ?? .relu).rawValue)" : ""
      throw .invalid(
        "\(option.name) is given, but arch is \(arch.rawValue)\(layer); it belongs to \(option.owners)")
    }
    try check(kAnnealFraction == nil || kStart != nil, "k-anneal-fraction is given without k-start; add --k-start K")
    try check(
      targetL0 == nil || sparsity == nil, "target-l0 and sparsity are two kinds of penalty; leave one of them out")
    try check(
      tanhScale == nil || sparsity == .tanh, "tanh-scale is \(tanhScale ?? 0); it belongs to sparsity tanh")
    let (encoder, decoder): ([Int], [Int])
    do {
      encoder = try DeepShape.widths(encoderHidden ?? "1x", of: "encoder-hidden", dIn: 1)
      decoder = try DeepShape.widths(decoderHidden ?? "1x", of: "decoder-hidden", dIn: 1)
    } catch { throw .invalid(error.description) }
    let ofLayers = [
      ("encoder-activation", encoderActivation != nil, encoder), ("layer-norm", layerNorm != nil, encoder),
      ("residual", residual != nil, encoder), ("decoder-activation", decoderActivation != nil, decoder),
    ]
    for (name, isGiven, layers) in ofLayers where isGiven && layers.isEmpty {
      throw .invalid("\(name) is given, but there is no hidden layer on its side; leave it out")
    }
  }

  /// With the defaults of what architecture, optimizer and schedule have and is not set: a run's `config.yaml`, which says
  /// nothing that `validate` would refuse.
  var complete: Self {
    var result = self
    let (shape, settings) = (SAEConfiguration(architecture: arch, dIn: 1, dSAE: 1), OptimizerConfiguration())
    func has(_ name: String) -> Bool {
      ownOptions.contains { $0.name == name && $0.fits(arch, sparseLayer ?? .relu) }
    }
    if has("k") { result.k = k ?? shape.k }
    if has("l1") { result.l1 = l1 ?? Double(shape.l1) }
    if deadLatents == .auxk { result.auxCoefficient = auxCoefficient ?? Double(shape.auxCoefficient) }
    if optimizer.isAdam {
      result.beta1 = beta1 ?? settings.beta1.asWritten
      result.beta2 = beta2 ?? settings.beta2.asWritten
    }
    if schedule != .constant { result.minLRFactor = minLRFactor ?? 0 }
    return result
  }
}

extension Float {
  /// 0.9 for 0.9, which as a Double is 0.899999976….
  fileprivate var asWritten: Double { Double(description) ?? Double(self) }
}
