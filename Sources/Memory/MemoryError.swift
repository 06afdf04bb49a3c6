import Foundation

/// What can go wrong with files and memory. The message says what failed, where, and what to do.
public enum MemoryError: Error, Equatable, CustomStringConvertible {
  /// A system call returned -1: `call` on `path` with `errno`.
  case system(call: String, path: String, errno: Int32)
  /// A file is shorter than what was asked of it.
  case outOfBounds(path: String, offset: Int, count: Int, size: Int)

  /// A file is not of its format; `what` is a clause about "it" that says what was found and expected.
  case format(path: String, String)

  public var description: String {
    switch self {
    case .system(let call, let path, let errno):
      "\(path): \(call) failed: \(errorText(errno))\(remedy(call, errno))"
    case .format(let path, let what): "\(path): \(what)"
    case .outOfBounds(let path, let offset, let count, let size):
      "\(path): bytes \(offset)..<\(offset &+ count) asked for, the file has \(size); it is cut short or not of this format"
    }
  }
}

extension MemoryError {
  /// The exit code of a program that stops for this reason (sysexits(3)): 66 input missing, 73 cannot create,
  /// 65 cut short or of another format, 74 any other input or output error.
  public var exitCode: Int32 {
    switch self {
    case .outOfBounds, .format: 65
    case .system("open", _, ENOENT), .system("opendir", _, ENOENT), .system("open", _, EACCES),
      .system("opendir", _, EACCES):
      66
    case .system(_, _, EACCES), .system(_, _, EPERM), .system(_, _, EROFS), .system(_, _, ENOTDIR),
      .system(_, _, ENOENT):
      73
    case .system: 74
    }
  }
}
