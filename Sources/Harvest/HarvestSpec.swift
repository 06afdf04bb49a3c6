import ActCache
import Memory

/// What a harvest writes, from its configuration, the model and the cache that is there.
enum HarvestSpec {
  /// The streams beside the tokens.
  /// - Throws: `HarvestError.setting`, and what the model says of an unknown hook.
  static func streams(
    _ configuration: HarvestConfiguration, _ source: any ActivationSource, _ contents: CacheContents
  ) throws -> [StreamSpec] {
    let policies = try configuration.logitPolicies
    var hooks = try configuration.hooks.map {
      StreamSpec.hook($0, width: try source.width(of: $0), dtype: configuration.dtype, codec: configuration.codec)
    }
    if hooks.isEmpty {
      // As they are kept there, each in its own form.
      let there = contents.receipts.sorted { $0.key < $1.key }.compactMap(\.value.first?.stream)
      hooks = there.filter { $0.hookName != nil || policies.isEmpty && $0.policyName != nil }
      guard !hooks.isEmpty || !policies.isEmpty else {
        throw HarvestError.setting(
          name: "hook", value: "(none)",
          allowed: "one or more hook names, or --logits alone (no cache is there yet)")
      }
    }
    if policies.isEmpty { return hooks }
    let dModel = try source.width(of: StreamSpec.finalHook)
    // Hidden states are kept to be exact: fixed point is for activations.
    let isFloat = ElementType(rawValue: configuration.dtype) != nil
    return hooks
      + policies.map { policy in
        StreamSpec.logits(
          policy, nVocabulary: source.nVocabulary, dModel: dModel, dtype: isFloat ? configuration.dtype : "bf16",
          codec: configuration.codec)
      }
  }

  /// The cache: as it is there, or what the settings ask for. Text from the cache itself comes with its own settings.
  static func cache(
    _ configuration: HarvestConfiguration, _ source: any ActivationSource, _ tokenizer: any TextTokenizer,
    _ streams: [StreamSpec], _ there: CacheSpec?, _ minFrameBytes: Int
  ) throws -> CacheSpec {
    let tokens = try configuration.corpora.isEmpty ? there?.identity.tokens : tokens(configuration, tokenizer)
    guard let tokens else {
      throw HarvestError.setting(
        name: "corpus", value: "(none)", allowed: "one or more files, or - for standard input (no cache is there yet)")
    }
    guard tokens.context <= source.maxContext else {
      throw HarvestError.setting(
        name: "context", value: "\(tokens.context)", allowed: "at most \(source.maxContext), the model's context"
      )
    }
    let identity = CacheIdentity(
      weights: try source.weightsDigest, modelConfiguration: source.configurationDescription,
      tokenizer: tokenizer.digest, tokens: tokens, numerics: source.numerics)
    // 512 MiB decoded at most, which is about 350 MiB on disk.
    let bytesPerToken = max(1, streams.map { expectedBytes(nTokens: 1, streams: [$0]) }.max() ?? 1)
    let wanted = try CacheSpec(
      identity: identity, streams: streams, nVocabulary: source.nVocabulary,
      tokensPerShard: configuration.shardTokens ?? min(1 << 20, max(1, (512 << 20) / bytesPerToken)),
      heldOut: HeldOutRule(
        fraction: configuration.heldOutFraction ?? there?.heldOut.fraction ?? HeldOutRule().fraction,
        seed: configuration.seed ?? there?.heldOut.seed ?? 0),
      minFrameBytes: minFrameBytes)
    guard let there else { return wanted }
    // The cut into frames and shards is fixed by the first harvest; a later one may have other hooks.
    let kept = there.keepingLayout(of: wanted, tokensPerShard: configuration.shardTokens)
    try there.requireSame(as: kept, path: configuration.out)
    return there
  }

  private static func tokens(_ configuration: HarvestConfiguration, _ tokenizer: any TextTokenizer) throws -> TokenSpec
  {
    let usesBOS = configuration.bos ?? tokenizer.addsBOS
    if usesBOS && tokenizer.bosID == nil {
      throw HarvestError.setting(name: "bos", value: "", allowed: "--no-bos: the tokenizer has no BOS token")
    }
    guard !usesBOS || configuration.context >= 2 else {
      throw HarvestError.setting(name: "context", value: "1", allowed: "at least 2 with BOS")
    }
    let bos = usesBOS ? tokenizer.bosID.map { Int($0) } : nil
    return TokenSpec(
      context: configuration.context, pack: configuration.pack, bos: bos,
      separator: bos == nil ? tokenizer.eosID.map { Int($0) } : nil,
      padding: Int(tokenizer.eosID ?? tokenizer.bosID ?? 0), documentSeparator: configuration.separator,
      textField: configuration.textField)
  }

  /// Bytes on disk that `nTokens` tokens will take, about: bf16 takes 70 % of its bytes, the others 85 %, tokens all of
  /// 4. `Int.max` if there is no such number.
  static func expectedBytes(nTokens: Int, streams: [StreamSpec]) -> Int {
    let bytesPerHundred = streams.reduce(400) { sum, stream in
      let share = stream.codec == "none" ? 100 : stream.type == .float(.bf16) ? 70 : 85
      if let type = stream.type { return sum + stream.width * type.byteCount * share }
      let shape = stream.policy.flatMap { TargetFrameShape(policy: $0, nVocabulary: stream.width) }
      return sum + (shape?.largest(nTokens: 1) ?? 0) * share
    }
    let (total, overflow) = nTokens.multipliedReportingOverflow(by: bytesPerHundred)
    return overflow ? Int.max : total / 100
  }
}

extension StreamSpec {
  /// The hook point of the model whose values the stream keeps.
  var sourceHook: String { hookName ?? StreamSpec.finalHook }

  /// The values that the final norm's weights and the unembedding turn into logits.
  static let finalHook = "ln_final.hook_normalized"
}
