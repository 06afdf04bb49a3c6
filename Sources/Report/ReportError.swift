/// What can go wrong in this module. The message says what failed, where, expected and found, and what to do.
public enum ReportError: Error, Equatable, CustomStringConvertible {
  /// `what` is a whole sentence.
  case invalid(String)

  public var description: String {
    switch self {
    case .invalid(let what): what
    }
  }
}
