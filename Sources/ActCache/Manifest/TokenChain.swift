import Crypto

/// The chain over the token blocks of the shards: h = SHA-256(h before ‖ token ids as little-endian u32). A longer text
/// with the same beginning has the same first links.
package struct TokenChain: Equatable, Sendable {
  package private(set) var value: [UInt8]

  /// The start of a chain: the bytes of the base key.
  package init(baseKey: String) { value = Array(SHA256.hash(data: Array(baseKey.utf8))) }

  /// A link that a record states; nil if it is none.
  package init?(hexValue: String) {
    let digits = hexValue.compactMap(\.hexDigitValue)
    guard hexValue.utf8.count == 64, digits.count == 64 else { return nil }
    value = stride(from: 0, to: 64, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
  }

  package var hexValue: String { hex(value) }

  /// Adds the token ids (and, with pack "none", the text lengths) of one shard.
  package mutating func append(tokens: [UInt32], lengths: [UInt32]) {
    var block = value
    block.reserveCapacity(32 + 4 * (tokens.count + lengths.count))
    for token in tokens { block.append(u32: token) }
    for length in lengths { block.append(u32: length) }
    value = Array(SHA256.hash(data: block))
  }
}
