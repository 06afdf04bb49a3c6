/// What can go wrong in an evaluation. The message says what failed, where, expected and found, and what to do.
package enum EvaluateError: Error, Equatable, CustomStringConvertible {
  /// Two things that should belong together do not.
  case mismatch(String)

  package var description: String {
    switch self {
    case .mismatch(let what): what
    }
  }
}
