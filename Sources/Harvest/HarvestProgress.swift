import Foundation

/// How far a harvest is; handed out after every forward pass.
package struct HarvestProgress: Equatable, Sendable {
  package enum Phase: String, Sendable {
    /// Comparing the text with what is in the cache already.
    case checking
    case harvesting
  }

  package var phase = Phase.checking
  /// Tokens that are in the cache or on their way, those of earlier runs included.
  package var nTokens = 0
  /// Tokens that this run has put through the model.
  package var nNewTokens = 0
  /// Bytes that this run has written into finished shards.
  package var bytesWritten = 0
  /// Part of all that is to be done, 0 to 1; nil if nobody knows (standard input without --tokens).
  package var fraction: Double?
  /// Since the first forward pass.
  package var seconds = 0.0

  package init() {}

  package var tokensPerSecond: Double { seconds > 0 ? Double(nNewTokens) / seconds : 0 }

  /// Seconds to the end at this pace; nil while nobody knows.
  package func secondsLeft(startFraction: Double = 0) -> Double? {
    guard let fraction, fraction > startFraction, seconds > 0 else { return nil }
    return seconds * (1 - fraction) / (fraction - startFraction)
  }
}
