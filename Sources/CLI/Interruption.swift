import Dispatch
import Foundation
import Harvest

/// Raises `flag` at the first SIGINT, SIGTERM or SIGHUP (a closed terminal), so that the work stops at a place from which it can go on; a second
/// one ends the program at once.
final class Interruption {
  let flag = InterruptFlag()
  var isRaised: Bool { flag.isRaised }
  private var sources: [any DispatchSourceSignal] = []

  init() {
    for number in [SIGINT, SIGTERM, SIGHUP] {
      signal(number, SIG_IGN)
      let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
      let flag = flag
      source.setEventHandler {
        flag.raise()
        printError("stopping; again to stop at once")
        signal(number, SIG_DFL)
      }
      source.resume()
      sources.append(source)
    }
  }
}
