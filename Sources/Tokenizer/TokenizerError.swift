/// What can go wrong with a tokenizer. The message says what failed, where, expected and found, and what to do.
public enum TokenizerError: Error, Equatable, CustomStringConvertible {
  /// A file or directory that cannot be read; `reason` is the system's.
  case unreadable(path: String, reason: String)
  /// `path` is a directory in which none of the file sets in `expected` is complete.
  case noTokenizer(path: String, expected: [String])
  /// The content of `source` is damaged or contradicts itself; `what` says where and how.
  case malformed(source: String, what: String)
  /// `source` asks for a component that is not implemented, so its ids could not be exact.
  case unsupported(source: String, component: String, supported: String)
  /// Text that is not UTF-8; `offset` is that of the first byte that does not belong to a whole code point.
  case invalidUTF8(offset: Int)

  public var description: String {
    switch self {
    case .unreadable(let path, let reason):
      "\(path): cannot be read: \(reason); check the path and its permissions"
    case .noTokenizer(let path, let expected):
      "\(path): holds no tokenizer; expected \(expected.joined(separator: ", or "))"
    case .malformed(let source, let what):
      "\(source): \(what); the file is damaged or was edited, fetch it again"
    case .unsupported(let source, let component, let supported):
      "\(source): \(component) is not supported, so the ids would not be exact; supported: \(supported)"
    case .invalidUTF8(let offset):
      "the text is not UTF-8: byte \(offset) starts no valid code point; convert the text to UTF-8 or cut it there"
    }
  }
}
