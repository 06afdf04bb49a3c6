/// SplitMix64's finalizer: every input bit moves every output bit.
@inline(__always) func mix(_ x: UInt64) -> UInt64 {
  var z = x
  z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
  z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
  return z ^ (z >> 31)
}

/// A key derived step by step from a seed.
struct Key {
  /// What a permutation is for; keeps the same seed from giving the same order twice.
  enum Purpose: UInt64 { case heldOut = 1, frames = 2, tokens = 3, sequences = 4 }

  let value: UInt64

  init(_ seed: UInt64) { value = mix(seed &+ 0x9E37_79B9_7F4A_7C15) }
  private init(value: UInt64) { self.value = value }

  func mixing(_ word: UInt64) -> Key { Key(value: mix(value ^ mix(word &+ 0x9E37_79B9_7F4A_7C15))) }
  func mixing(_ purpose: Purpose) -> Key { mixing(purpose.rawValue) }

  /// The key itself for 0, so that what begins at the beginning needs no word of its own.
  func mixing(from start: Int) -> Key { start == 0 ? self : mixing(UInt64(start)) }
}

/// A permutation of 0..<count that is computed, not stored: a four-round Feistel network over the next power of four,
/// walked until it lands inside.
struct KeyedPermutation {
  let count: Int
  private let halfBits: UInt64
  private let keys: (UInt64, UInt64, UInt64, UInt64)

  init(count: Int, key: UInt64) {
    precondition(count >= 0)
    self.count = count
    let bits = count <= 1 ? 0 : Int.bitWidth - (count - 1).leadingZeroBitCount
    halfBits = UInt64(max(1, (bits + 1) / 2))
    let gamma: UInt64 = 0x9E37_79B9_7F4A_7C15
    keys = (mix(key &+ gamma), mix(key &+ 2 &* gamma), mix(key &+ 3 &* gamma), mix(key &+ 4 &* gamma))
  }

  /// Where place `index` of the new order points. O(1) on average.
  subscript(index: Int) -> Int {
    precondition(index >= 0 && index < count, "index \(index) of \(count)")
    var x = UInt64(index)
    repeat { x = network(x) } while x >= UInt64(count)
    return Int(x)
  }

  private func network(_ x: UInt64) -> UInt64 {
    let mask: UInt64 = (1 << halfBits) - 1
    var left = x >> halfBits
    var right = x & mask
    (left, right) = (right, left ^ (mix(right ^ keys.0) & mask))
    (left, right) = (right, left ^ (mix(right ^ keys.1) & mask))
    (left, right) = (right, left ^ (mix(right ^ keys.2) & mask))
    (left, right) = (right, left ^ (mix(right ^ keys.3) & mask))
    return left << halfBits | right
  }
}
