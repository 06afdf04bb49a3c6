/// What a thread is busy with, or waits for. Each module names its own.
package struct Activity: RawRepresentable, Hashable, Codable, Sendable {
  package let rawValue: String

  package init(rawValue: String) { self.rawValue = rawValue }

  /// For what an earlier stage has not made yet.
  package static let waitsForInput = Activity(rawValue: "waits for input")
  /// For a later stage to take what is ready.
  package static let waitsForRoom = Activity(rawValue: "waits for room")

  package var isWaiting: Bool { self == .waitsForInput || self == .waitsForRoom }

  /// Rounding, byte planes, compression, statistics.
  package static let encode = Activity(rawValue: "encode")
  /// Digests and write(2).
  package static let write = Activity(rawValue: "write")
  /// fsync, rename and the receipt.
  package static let sync = Activity(rawValue: "fsync")
  /// Reading a window's frames, checking and decompressing them, and shuffling its tokens.
  package static let decode = Activity(rawValue: "decode")
  /// Joining, widening and collecting the tokens of a batch.
  package static let gather = Activity(rawValue: "gather")
}
