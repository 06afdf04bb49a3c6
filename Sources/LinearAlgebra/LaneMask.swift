// Which of 64 numbers are wanted, as bits, and those that are, one after the other.

/// One bit per lane. There is no movemask in Swift: powers of 2 added up, in a few vector additions.
@inline(__always) func bitMask(_ mask: SIMDMask<SIMD16<Int32>>) -> UInt32 {
  UInt32(truncatingIfNeeded: (unsafeBitCast(mask, to: SIMD16<Int32>.self) & laneBits).total)
}

/// A bit per number `i ..< i + count`, at most 64 of them, from the first on.
///
/// - Parameters:
///   - areFew: whether all 64 are looked at together first.
///   - isWanted: of the 16 numbers from an index on.
///   - isOneWanted: of one number.
@inline(__always) func bits(
  at i: Int, count: Int, areFew: Bool, isWanted: (Int) -> SIMDMask<SIMD16<Int32>>, isOneWanted: (Int) -> Bool
) -> UInt64 {
  if count == 64 {
    let masks = (isWanted(i), isWanted(i &+ 16), isWanted(i &+ 32), isWanted(i &+ 48))
    if areFew, bitMask(masks.0 .| masks.1 .| masks.2 .| masks.3) == 0 { return 0 }
    return UInt64(bitMask(masks.0, masks.1)) | UInt64(bitMask(masks.2, masks.3)) << 32
  }
  var bits: UInt64 = 0
  for start in stride(from: 0, to: count & ~15, by: 16) { bits |= UInt64(bitMask(isWanted(i &+ start))) << start }
  for j in count & ~15..<count where isOneWanted(i &+ j) { bits |= 1 << j }
  return bits
}

/// Writes index and value of each number whose bit is set, ascending, to `place` and on; returns the place after the last.
/// Three places behind it are written, too.
///
/// - Parameter first: index of the number of bit 0.
@inline(__always) func append(
  _ bits: UInt64, first: Int, _ value: (_ bit: Int) -> Float,
  to latents: UnsafeMutablePointer<Int32>, _ values: UnsafeMutablePointer<Float>, at place: Int
) -> Int {
  var bits = bits
  var place = place
  let end = place &+ bits.nonzeroBitCount
  while place < end {
    // Four per round, wanted or not: how many rounds there are is easier to foresee than how many bits.
    for next in place..<place &+ 4 {
      let bit = bits.trailingZeroBitCount & 63
      latents[next] = Int32(truncatingIfNeeded: first &+ bit)
      values[next] = value(bit)
      bits &= bits &- 1
    }
    place &+= 4
  }
  return end
}

/// One bit per lane of both.
@inline(__always) private func bitMask(_ low: SIMDMask<SIMD16<Int32>>, _ high: SIMDMask<SIMD16<Int32>>) -> UInt32 {
  let low = unsafeBitCast(low, to: SIMD16<Int32>.self) & laneBits
  let high = unsafeBitCast(high, to: SIMD16<Int32>.self) & (laneBits &<< 16)
  return UInt32(bitPattern: (low | high).total)
}

@inline(__always) private var laneBits: SIMD16<Int32> {
  SIMD16(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768)
}
