import ActCache
import Transformer

/// What an objective reads of a cache and runs of the model, for an SAE at one hook.
package struct ObjectivePlan: Equatable, Sendable {
  /// Where the reconstruction takes the place of the activation.
  package let hook: HookPoint
  /// What a transcoder reads; nil: the SAE reads what it reconstructs.
  package let source: HookPoint?
  /// The stream that steps begin with: the hook's, or with trained half-layers the input of the one before it. This and
  /// those below by the name that the cache has, which can be the other one of the same stream.
  package let input: HookPoint
  /// What the value at the hook is added to, where that is no residual stream.
  package let base: HookPoint?
  /// Later residual streams that are compared.
  package let downstream: [HookPoint]
  /// Trained half-layers.
  package let before: HalfLayer?
  package let after: HalfLayer?
  /// Where the original's predictions come from; nil: the layers above run on the cached activations.
  package let teacher: LogitPolicy?
  package let needsTeacher: Bool

  /// What to read of each sequence.
  package var streams: SequenceBatches.Streams {
    SequenceBatches.Streams(
      hooks: own + ([base].compactMap(\.self) + downstream).filter { !own.contains($0) },
      nOwn: own.count, teacher: needsTeacher ? teacher : nil)
  }

  /// What the SAE reads, and what it reconstructs, or what that is made from.
  private var own: [HookPoint] { [source, input].compactMap(\.self) }

  /// - Parameters:
  ///   - name: of the hook that the SAE reads.
  ///   - target: of the hook that a transcoder reconstructs.
  ///   - teacher: a policy, `none`, or nil: the first of hidden, full, mass and topk that the cache has, else none.
  ///   - modelPath: for the command that adds what the cache lacks.
  ///
  /// Throws `TransformerError` for a hook that the model does not have or that no gradient goes back to,
  /// `TrainError.invalid` for what the objective cannot mean there, and `TrainError.missing` with the command that adds the
  /// streams that the cache lacks.
  package init(
    _ objective: Objective, hook name: String, target: String? = nil, model: TransformerModel, cache: CacheReader,
    teacher policy: String?, modelPath: String
  ) throws {
    hook = try model.configuration.hook(named: target ?? name)
    // Says so if no gradient goes back to the hook.
    _ = try DifferentiablePass(model, hook: hook)
    before = objective.trainsHalfLayers ? try model.halfLayer(before: hook) : nil
    after = objective.trainsHalfLayers ? try model.halfLayer(after: hook) : nil
    needsTeacher = objective.needsTeacher
    teacher = try Self.teacher(policy, of: cache)
    let wanted =
      objective.has(.downstream) ? try Self.later(than: hook, objective.downstream, model.configuration) : []
    var missing: [String] = []
    // As the cache names it.
    func stored(_ hook: HookPoint) -> HookPoint {
      let there = hook.names.first { cache.manifest.hooks[$0.name] != nil }
      if there == nil && !missing.contains(hook.name) { missing.append(hook.name) }
      return there ?? hook
    }
    source = try target.map { _ in stored(try model.configuration.hook(named: name)) }
    input = stored(before?.input ?? hook)
    base = DifferentiablePass.base(of: hook, in: model).map(stored)
    downstream = wanted.map(stored)
    let lacksTeacher = needsTeacher && teacher.map { cache.manifest.logits[$0.name] == nil } ?? false
    if !missing.isEmpty || lacksTeacher {
      let command = cache.adding(
        hooks: missing, logits: lacksTeacher ? teacher.map { [$0.name] } ?? [] : [], model: modelPath,
        like: [input.name, hook.name])
      throw TrainError.missing(
        "\(cache.path): this objective needs what the cache does not have; add it with: \(command)")
    }
  }

  private static func teacher(_ policy: String?, of cache: CacheReader) throws(TrainError) -> LogitPolicy? {
    guard let policy else {
      let there = cache.manifest.logits.keys.compactMap { LogitPolicy($0) }
      return there.min { rank($0) < rank($1) }
    }
    if policy == "none" { return nil }
    guard let policy = LogitPolicy(policy) else {
      throw .invalid(
        "teacher is \(policy); expected none or one of the cache's logit policies (\(LogitPolicy.allowed))")
    }
    return policy
  }

  /// The exact ones first, then the cheaper.
  private static func rank(_ policy: LogitPolicy) -> (Int, Int) {
    switch policy {
    case .hidden: (0, 0)
    case .full: (1, 0)
    case .mass(_, let cap): (2, -cap)
    case .topK(let k): (3, -k)
    }
  }

  /// The chosen residual streams after the hook: `hook_resid_pre` of later layers, as e2e_sae has them.
  private static func later(
    than hook: HookPoint, _ choice: Objective.Downstream, _ c: ModelConfiguration
  ) throws -> [HookPoint] {
    if case .named(let names) = choice {
      let hooks = try names.map { try c.hook(named: $0) }
      for (i, hook) in hooks.enumerated() {
        guard let same = hooks[..<i].first(where: { hook.names.contains($0) }) else { continue }
        throw TrainError.invalid(
          "downstream names \(same == hook ? "\(hook) twice" : "\(same) and \(hook), one stream"); name each once")
      }
      return hooks
    }
    guard case .block(let layer, let kind) = hook else { return [] }
    // The stream after the last layer of the hook is that of the hook itself.
    let first = kind == .residPost || kind == .mlpOut && !c.isParallel ? layer + 2 : layer + 1
    let all = (first..<max(first, c.nLayers)).map { HookPoint.block($0, .residPre) }
    let last = HookPoint.block(c.nLayers - 1, .residPost)
    guard hook != last else {
      throw TrainError.invalid(
        "downstream: no residual stream comes after \(hook); choose another objective")
    }
    guard !all.isEmpty else {
      throw TrainError.invalid(
        "downstream: no layer begins after \(hook); name the streams, for instance \(last)")
    }
    guard case .next(let n) = choice else { return all }
    guard n <= all.count else {
      throw TrainError.invalid(
        "downstream is \(n), but only \(all.count) layers begin after \(hook); choose less, or all")
    }
    return Array(all.prefix(n))
  }
}
