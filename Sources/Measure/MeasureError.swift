/// Why something cannot be measured. The message says what is missing and what to give.
package enum MeasureError: Error, Equatable, CustomStringConvertible {
  /// A setting or an input that is missing or makes no sense.
  case invalid(String)
  /// Stopped from outside.
  case interrupted

  package var description: String {
    switch self {
    case .invalid(let what): what
    case .interrupted: "interrupted"
    }
  }
}
