import Memory

/// How the values of a stream of activations are stored: the `dtype` of headers, manifests and flags.
public enum StorageType: Hashable, Sendable {
  /// "bf16", "f16", "f32": rounded to nearest, ties to even.
  case float(ElementType)
  /// "fix:<s>": the integer nearest to x / step of its channel, where step = σ of the channel / 2^s; the absolute error
  /// is at most step / 2 in every channel.
  case fixed(Int)

  /// For messages.
  public static let allowed = "bf16, f16, f32, fix:<s> with s 1...12"

  /// nil if `name` is no type of this version.
  public init?(_ name: String) {
    if let type = ElementType(rawValue: name) {
      self = .float(type)
    } else if name.hasPrefix("fix:"), let s = Int(name.dropFirst(4)), (1...12).contains(s), name == "fix:\(s)" {
      self = .fixed(s)
    } else {
      return nil
    }
  }

  public var name: String {
    switch self {
    case .float(let type): type.rawValue
    case .fixed(let s): "fix:\(s)"
    }
  }

  /// Bytes per value before compression. A fixed-point number has 24 bits.
  public var byteCount: Int {
    switch self {
    case .float(let type): type.byteCount
    case .fixed: 3
    }
  }
}

/// How the bytes of a stream are compressed: the `codec` of headers and flags.
public enum ShardCodec: Hashable, Sendable {
  /// "zstd:<level>": byte planes, each ending its zstd block.
  case zstd(level: Int)
  /// "none": values as they are, page-aligned, to be mapped and used without a copy.
  case none

  /// For messages.
  public static let allowed = "zstd:<level> with levels 1...19, none"

  /// nil if `name` is no codec of this version.
  public init?(_ name: String) {
    if name == "none" {
      self = .none
    } else if name.hasPrefix("zstd:"), let level = Int(name.dropFirst(5)), (1...19).contains(level),
      name == "zstd:\(level)"
    {
      self = .zstd(level: level)
    } else {
      return nil
    }
  }

  public var name: String {
    switch self {
    case .zstd(let level): "zstd:\(level)"
    case .none: "none"
    }
  }
}
