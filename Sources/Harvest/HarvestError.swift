import ActCache
import Memory

/// What can go wrong in harvesting. The message says what failed, where, expected and found, and what to do.
package enum HarvestError: Error, Equatable, CustomStringConvertible {
  /// A setting that makes no sense: which, what it is, what is allowed.
  case setting(name: String, value: String, allowed: String)
  /// Environment variables from which this process cannot tell which worker it is.
  case environment(String)
  /// Inputs that do not belong together, or an input that is not what it should be.
  case mismatch(String)
  /// An input that is not there or has nothing in it.
  case missing(String)
  /// A program or the system failed.
  case system(String)
  /// The disk has no room for what is to come.
  case diskFull(path: String, neededBytes: Int, freeBytes: Int)
  /// Another process harvests into the folder.
  case busy(path: String)

  package var description: String {
    switch self {
    case .setting(let name, let value, let allowed): "--\(name) \(value): allowed are \(allowed)"
    case .environment(let what):
      "\(what); or say --worker I/N, which overrules the environment (--worker 0/1 harvests everything)"
    case .mismatch(let what), .missing(let what), .system(let what): what
    case .diskFull(let path, let needed, let free):
      "\(path): about \(needed >> 20) MiB are needed, \(free >> 20) MiB are free; free some space, choose another --out, "
        + "or harvest fewer --tokens"
    case .busy(let path):
      "\(path): another process is harvesting into this folder; wait for it, or share the work with --worker I/N"
    }
  }

  /// The exit code of a program that stops for this reason (sysexits(3)).
  package var exitCode: Int32 {
    switch self {
    case .setting, .environment: 64
    case .mismatch: 65
    case .missing: 66
    case .system: 1
    case .diskFull: 74
    case .busy: 75
    }
  }
}
