/// What can go wrong in this module. The message says what failed, where, expected and found, and what to do.
package enum SAEError: Error, Equatable, CustomStringConvertible {
  /// `what` is a whole sentence.
  case invalid(String)

  package var description: String {
    switch self {
    case .invalid(let what): what
    }
  }
}
