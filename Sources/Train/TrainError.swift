/// What can go wrong in training. The message says what failed, where, expected and found, and what to do.
package enum TrainError: Error, Equatable, CustomStringConvertible {
  /// A setting or a file that makes no sense.
  case invalid(String)
  /// A file that is not there.
  case missing(String)
  /// Files or data that do not belong together, or are damaged.
  case mismatch(String)
  /// Another process works in the folder.
  case busy(String)
  /// The loss is not a number any more.
  case diverged(String)

  package var description: String {
    switch self {
    case .invalid(let what), .mismatch(let what), .missing(let what), .busy(let what), .diverged(let what): what
    }
  }
}
