import Foundation

/// How far a harvest is; handed out after every forward pass.
package struct HarvestProgress: Equatable, Sendable {
  package enum Phase: String, Sendable {
    /// Comparing the text with what is in the cache already.
    case checking
    case harvesting
  }

  package var phase = Phase.checking
  /// Tokens done with: put through the model by this run, found in the cache, or left to other workers.
  package var nTokens = 0
  /// Tokens that this run has put through the model.
  package var nNewTokens = 0
  /// Tokens there will be in all, estimated from the part of the text that has been read; nil if nobody knows
  /// (standard input without --tokens).
  package var nTotal: Int?
  /// Bytes that this run has written into finished shards.
  package var bytesWritten = 0
  /// Since the first forward pass.
  package var seconds = 0.0

  package init() {}

  package var tokensPerSecond: Double { seconds > 0 ? Double(nNewTokens) / seconds : 0 }

  /// Part of all that is to be done, 0 to 1; nil if nobody knows.
  package var fraction: Double? { nTotal.map { $0 > 0 ? min(1, Double(nTokens) / Double($0)) : 1 } }

  /// Seconds to the end at this pace; nil while nobody knows.
  package var secondsLeft: Double? {
    guard let nTotal, tokensPerSecond > 0 else { return nil }
    return Double(max(0, nTotal - nTokens)) / tokensPerSecond
  }
}
