import Dispatch

/// Where the time of one thread went, and when.
package struct Lane: Codable, Equatable, Sendable {
  /// Seconds since the timers' origin.
  package struct Span: Codable, Equatable, Sendable {
    package let activity: Activity
    package let start: Double
    package let end: Double

    package init(_ activity: Activity, from start: Double, to end: Double) {
      self.activity = activity
      self.start = start
      self.end = end
    }
  }

  package struct Total: Codable, Equatable, Sendable {
    package let activity: Activity
    package internal(set) var seconds: Double
  }

  package let name: String
  /// In the order in which the activities first appeared.
  package internal(set) var totals: [Total] = []
  /// What was done one after the other; empty if only totals were wanted. Left out of JSON.
  package internal(set) var spans: [Span] = []

  enum CodingKeys: String, CodingKey { case name, totals }

  package init(_ name: String) { self.name = name }

  package func seconds(_ activity: Activity) -> Double { totals.first { $0.activity == activity }?.seconds ?? 0 }
  package var busySeconds: Double { totals.reduce(0) { $0 + ($1.activity.isWaiting ? 0 : $1.seconds) } }
  package var waitingSeconds: Double { totals.reduce(0) { $0 + ($1.activity.isWaiting ? $1.seconds : 0) } }

  /// Adds what another run of the same thread did, without its spans.
  package mutating func addTotals(of other: Lane) {
    for total in other.totals {
      if let i = totals.firstIndex(where: { $0.activity == total.activity }) {
        totals[i].seconds += total.seconds
      } else {
        totals.append(total)
      }
    }
  }

  /// Books `span`. One that goes on with the activity of the last becomes one with it.
  package mutating func add(_ span: Span, keepsSpans: Bool) {
    let seconds = span.end - span.start
    if let i = totals.firstIndex(where: { $0.activity == span.activity }) {
      totals[i].seconds += seconds
    } else {
      totals.append(Total(activity: span.activity, seconds: seconds))
    }
    guard keepsSpans, seconds > 0 else { return }
    if let last = spans.last, last.activity == span.activity, last.end == span.start {
      spans[spans.count - 1] = Span(span.activity, from: last.start, to: span.end)
    } else {
      spans.append(span)
    }
  }
}

/// Splits the time of a thread by what it does: a lap is the time since the one before, and costs one reading of the
/// clock. To be read per block, window or batch, never per token. For one thread at a time.
package final class LapTimer {
  package private(set) var lane: Lane
  private let origin: UInt64
  private let keepsSpans: Bool
  private var last: Double

  /// Nanoseconds on the clock of all timers.
  package static var now: UInt64 { DispatchTime.now().uptimeNanoseconds }

  /// - Parameters:
  ///   - origin: what spans count from; the same for timers that are to be compared.
  ///   - keepsSpans: keep every span, not totals alone.
  package init(_ name: String, origin: UInt64 = LapTimer.now, keepsSpans: Bool = false) {
    lane = Lane(name)
    self.origin = origin
    self.keepsSpans = keepsSpans
    last = LapTimer.seconds(LapTimer.now, since: origin)
  }

  package static func seconds(_ time: UInt64, since origin: UInt64) -> Double {
    time >= origin ? Double(time - origin) / 1e9 : -Double(origin - time) / 1e9
  }

  /// The time since the last lap went into `activity`.
  package func lap(_ activity: Activity) { lap(activity, afterWaiting: 0) }

  /// The time since the last lap went into waiting for input, `waiting` seconds of it, and then into `activity`.
  package func lap(_ activity: Activity, afterWaiting waiting: Double) {
    let now = LapTimer.seconds(LapTimer.now, since: origin)
    if waiting > 0 {
      let end = min(now, last + waiting)
      lane.add(Lane.Span(.waitsForInput, from: last, to: end), keepsSpans: keepsSpans)
      last = end
    }
    lane.add(Lane.Span(activity, from: last, to: now), keepsSpans: keepsSpans)
    last = now
  }
}
