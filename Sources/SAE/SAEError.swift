/// What can go wrong in this module. The message says what failed, where, expected and found, and what to do.
package enum SAEError: Error, Equatable, CustomStringConvertible {
  /// A setting that makes no sense.
  case invalid(String)
  /// A file that is not what it should be, or asks for what this engine does not do.
  case damaged(String)

  package var description: String {
    switch self {
    case .invalid(let what), .damaged(let what): what
    }
  }
}
