import Foundation
import Synchronization

/// Progress on standard error: a bar that redraws itself on a terminal, else a line every few seconds.
package final class ProgressLine: Sendable {
  private struct State {
    var lastDraw: ContinuousClock.Instant?
    var isDrawn = false
  }

  private let state = Mutex(State())
  private let isTerminal: Bool
  private let isQuiet: Bool

  package init(quiet: Bool = false) {
    isTerminal = isatty(STDERR_FILENO) == 1
    isQuiet = quiet
  }

  /// Shows `fraction` (0 to 1, nil if nobody knows) and `details`; not more often than is readable.
  package func update(fraction: Double?, _ details: @autoclosure () -> String) {
    if isQuiet { return }
    state.withLock { state in
      let now = ContinuousClock.now
      let interval: Duration = isTerminal ? .milliseconds(100) : .seconds(5)
      if let last = state.lastDraw, now - last < interval { return }
      state.lastDraw = now
      let line = Self.render(fraction: fraction, details())
      if isTerminal {
        state.isDrawn = true
        write("\r\u{1B}[2K\(line)")
      } else {
        write(line + "\n")
      }
    }
  }

  /// Clears the bar, so that what follows starts on a line of its own.
  package func finish() {
    state.withLock { state in
      if state.isDrawn { write("\r\u{1B}[2K") }
      state.isDrawn = false
    }
  }

  package static func render(fraction: Double?, _ details: String) -> String {
    guard let fraction else { return details }
    let share = min(max(fraction, 0), 1)
    let filled = Int((share * 20).rounded(.down))
    let bar = String(repeating: "█", count: filled) + String(repeating: "░", count: 20 - filled)
    return "\(bar) \(String(format: "%3d", Int(share * 100))) %  \(details)"
  }

  private func write(_ text: String) { FileHandle.standardError.write(Data(text.utf8)) }
}
