import Memory

/// What can go wrong with a cache. The message says what failed, where, expected and found, and what to do.
public enum ActCacheError: Error, Equatable, CustomStringConvertible {
  /// A file of the cache is not what was written: `what` is wrong with it, and `remedy` mends it.
  case damaged(file: String, what: String, remedy: String)
  /// Two things that should belong together do not (another model, text, setting or version).
  case mismatch(String)
  /// Something that was asked for is not in the cache or on the disk.
  case missing(String)
  /// A harvest that has not finished lacks a part.
  case incomplete(String)
  /// A request that this version does not serve.
  case unsupported(String)
  /// A limit of the format would be broken.
  case limit(String)
  /// A value cannot be stored in the chosen type.
  case unrepresentable(String)
  /// Another process is at work on the cache.
  case busy(String)
  /// The system refused a file operation.
  case file(MemoryError)

  public var description: String {
    switch self {
    case .damaged(let file, let what, let remedy): "\(file): \(what); \(remedy)"
    case .mismatch(let what), .missing(let what), .incomplete(let what), .unsupported(let what), .limit(let what),
      .unrepresentable(let what), .busy(let what):
      what
    case .file(let error): error.description
    }
  }

  /// The exit code of a program that stops for this reason (sysexits(3)).
  public var exitCode: Int32 {
    switch self {
    case .damaged, .unrepresentable: 65
    case .mismatch: 78
    case .missing: 66
    case .incomplete: 69
    case .unsupported, .limit: 64
    case .busy: 75
    case .file(let error): error.exitCode
    }
  }
}

/// Runs `body` and turns what `Memory` throws into an error of this module.
func fileErrors<R: ~Copyable>(_ body: () throws(MemoryError) -> R) throws(ActCacheError) -> R {
  do { return try body() } catch { throw .file(error) }
}
