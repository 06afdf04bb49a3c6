/// What can go wrong in an evaluation. The message says what failed, where, expected and found, and what to do.
package enum EvaluateError: Error, Equatable, CustomStringConvertible {
  /// Two things that should belong together do not.
  case mismatch(String)
  /// What was asked for makes no sense.
  case invalid(String)
  /// Something that is needed is not there.
  case missing(String)

  package var description: String {
    switch self {
    case .mismatch(let what), .invalid(let what), .missing(let what): what
    }
  }
}
