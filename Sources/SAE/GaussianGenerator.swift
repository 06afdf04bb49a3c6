import Foundation

/// Normal numbers from a seed (xoshiro256** and Box–Muller): the same on every machine but for the last digit of
/// the system's logarithm and cosine.
package struct GaussianGenerator: RandomNumberGenerator {
  private var state: (UInt64, UInt64, UInt64, UInt64)

  package init(seed: UInt64) {
    // SplitMix64 spreads the seed, as the authors of xoshiro advise.
    var x = seed
    func next() -> UInt64 {
      x &+= 0x9E37_79B9_7F4A_7C15
      var z = x
      z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
      z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
      return z ^ (z >> 31)
    }
    state = (next(), next(), next(), next())
  }

  package mutating func next() -> UInt64 {
    func rotate(_ x: UInt64, _ k: UInt64) -> UInt64 { (x << k) | (x >> (64 - k)) }
    let result = rotate(state.1 &* 5, 7) &* 9
    let t = state.1 << 17
    state.2 ^= state.0
    state.3 ^= state.1
    state.1 ^= state.2
    state.0 ^= state.3
    state.2 ^= t
    state.3 = rotate(state.3, 45)
    return result
  }

  /// `count` independent standard normal numbers.
  package mutating func normals(_ count: Int) -> [Float] {
    var values: [Float] = []
    values.reserveCapacity(count + 1)
    while values.count < count {
      let radius = (-2 * log(Double(next() >> 11) * 0x1p-53 + 0x1p-54)).squareRoot()
      let angle = 2 * Double.pi * Double(next() >> 11) * 0x1p-53
      values.append(Float(radius * cos(angle)))
      values.append(Float(radius * sin(angle)))
    }
    values.removeLast(values.count - count)
    return values
  }
}
