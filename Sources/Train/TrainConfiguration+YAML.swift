import ActCache
import LinearAlgebra
import Memory
import SAE
import Yams

extension TrainConfiguration {
  /// Reads YAML over the defaults. An unknown key is an error that suggests the nearest known one.
  package init(yaml text: String, path: String) throws {
    let known = CodingKeys.allCases.map(\.rawValue)
    let mapping = try Self.mapping(yaml: text, path: path)
    for key in mapping.keys.compactMap(\.string) where !known.contains(key) {
      if key == "runs" { throw TrainError.invalid("\(path): runs is for actcache sweep, not for a single run") }
      let nearest = nearest(to: key, among: known) ?? ""
      throw TrainError.invalid(
        "\(path): unknown key \(key); did you mean \(nearest)? Known: \(known.joined(separator: ", "))")
    }
    let defaults = try Yams.compose(yaml: YAMLEncoder().encode(Self.defaults))
    var merged = defaults?.mapping ?? [:]
    for (key, value) in mapping { merged[key] = value }
    do {
      self = try YAMLDecoder().decode(Self.self, from: Yams.serialize(node: .mapping(merged)))
    } catch let error as DecodingError {
      throw TrainError.invalid("\(path): \(Self.misfit(error, in: mapping))")
    }
  }

  /// What is set, as YAML; of `complete`, a run's `config.yaml`, which replays it.
  package var yaml: String {
    get throws { try YAMLEncoder().encode(self) }
  }

  /// Keys of this configuration that a file has not, in their order.
  func missingKeys(yaml text: String, path: String) throws -> [String] {
    let written = try Self.mapping(yaml: text, path: path)
    return try Self.mapping(yaml: yaml, path: path).keys.compactMap(\.string).filter { written[$0] == nil }
  }

  /// What a YAML file says about some keys, as text; nil for those that it does not have.
  static func options(_ keys: [String], yaml text: String, path: String) throws(TrainError) -> [String?] {
    let mapping = try mapping(yaml: text, path: path)
    let known = CodingKeys.allCases.map(\.rawValue)
    return try keys.map { (key) throws(TrainError) in
      guard known.contains(key) else {
        throw .invalid(
          "no run has an option \(key); did you mean \(nearest(to: key, among: known) ?? "")? Known: "
            + known.joined(separator: ", "))
      }
      return mapping[key]?.scalar?.string
    }
  }

  /// The names and values of a file. Throws `TrainError.invalid` for what is no YAML, or none of names and values.
  static func mapping(yaml text: String, path: String) throws(TrainError) -> Node.Mapping {
    let node: Node?
    do { node = try Yams.compose(yaml: text) } catch {
      let reason = "\(error)".split(separator: "\n")[0]
      throw .invalid("\(path): not YAML (\(reason))")
    }
    guard let mapping = node?.mapping else {
      throw .invalid("\(path): not a YAML mapping of names to values")
    }
    return mapping
  }

  /// Which key has which value, and what it may be.
  private static func misfit(_ error: DecodingError, in mapping: Node.Mapping) -> String {
    let (context, type): (DecodingError.Context, (any Any.Type)?) =
      switch error {
      case .typeMismatch(let type, let context), .valueNotFound(let type, let context): (context, type)
      case .keyNotFound(_, let context), .dataCorrupted(let context): (context, nil)
      @unknown default: (DecodingError.Context(codingPath: [], debugDescription: "\(error)"), nil)
      }
    let key = context.codingPath.map(\.stringValue).joined(separator: ".")
    let value = mapping[key]
    if value?.sequence != nil { return "\(key) is a list; give one value here (lists are for actcache sweep)" }
    if value?.mapping != nil { return "\(key) is a mapping; give one value" }
    let written = value?.scalar?.string ?? "nothing"
    if let choices = choices(key) { return "\(key) is \(written); expected one of \(choices.joined(separator: ", "))" }
    let kinds: [ObjectIdentifier: String] = [
      ObjectIdentifier(Int.self): "a whole number", ObjectIdentifier(UInt64.self): "a whole number from 0 to 2^64 - 1",
      ObjectIdentifier(Double.self): "a number", ObjectIdentifier(Bool.self): "true or false",
    ]
    if let type, let kind = kinds[ObjectIdentifier(type)] { return "\(key) is \(written); expected \(kind)" }
    return "the value of \(key) does not fit (\(context.debugDescription))"
  }

  /// What may be said of a key that has names for values.
  private static func choices(_ key: String) -> [String]? {
    func names<T: CaseIterable & RawRepresentable<String>>(_: T.Type) -> [String] { T.allCases.map(\.rawValue) }
    return switch CodingKeys(rawValue: key) {
    case .arch: names(SAEConfiguration.Architecture.self)
    case .sparsity: names(SAEConfiguration.Sparsity.self)
    case .decoderNorm: names(SAEConfiguration.DecoderNorm.self)
    case .sparseLayer: names(DeepShape.Sparse.self)
    case .encoderActivation, .decoderActivation: names(HiddenActivation.self)
    case .dead: names(DeadLatents.self)
    case .encoderInit: names(Initialization.Encoder.self)
    case .decoderInit: names(Initialization.Decoder.self)
    case .biasInit: names(Initialization.Bias.self)
    case .optimizer: names(OptimizerConfiguration.Kind.self)
    case .sparseAdamSteps: names(OptimizerConfiguration.SparseSteps.self)
    case .schedule: names(Schedule.Kind.self)
    case .outputLoss: names(OutputLoss.self)
    case .io: names(CacheIO.self)
    case .onCorrupt: CorruptionPolicy.allCases.map(\.rawValue)
    default: nil
    }
  }
}
