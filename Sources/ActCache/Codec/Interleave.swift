// Bytes and halves put side by side. Written out like this it compiles to the CPU's unpack instructions, which SSE2 has:
// zero extension, shift and or take three times as many, and the setters of `evenHalf` and `oddHalf` are sometimes called
// instead of inlined.

/// 16 two-byte numbers of which `low` has the low bytes.
@inline(__always) func interleave(_ low: SIMD16<UInt8>, _ high: SIMD16<UInt8>) -> SIMD16<UInt16> {
  let bytes = SIMD32<UInt8>(
    low[0], high[0], low[1], high[1], low[2], high[2], low[3], high[3],
    low[4], high[4], low[5], high[5], low[6], high[6], low[7], high[7],
    low[8], high[8], low[9], high[9], low[10], high[10], low[11], high[11],
    low[12], high[12], low[13], high[13], low[14], high[14], low[15], high[15])
  return unsafe unsafeBitCast(bytes, to: SIMD16<UInt16>.self)
}

/// 16 four-byte numbers of which `low` has the low halves.
@inline(__always) func interleave(_ low: SIMD16<UInt16>, _ high: SIMD16<UInt16>) -> SIMD16<UInt32> {
  let halves = SIMD32<UInt16>(
    low[0], high[0], low[1], high[1], low[2], high[2], low[3], high[3],
    low[4], high[4], low[5], high[5], low[6], high[6], low[7], high[7],
    low[8], high[8], low[9], high[9], low[10], high[10], low[11], high[11],
    low[12], high[12], low[13], high[13], low[14], high[14], low[15], high[15])
  return unsafe unsafeBitCast(halves, to: SIMD16<UInt32>.self)
}

/// 16 bytes at any address.
@inline(__always) func sixteenBytes(_ from: UnsafeRawPointer, _ offset: Int) -> SIMD16<UInt8> {
  unsafe from.loadUnaligned(fromByteOffset: offset, as: SIMD16<UInt8>.self)
}

/// All lanes joined by or.
@inline(__always) func anyBits(_ v: SIMD16<UInt32>) -> UInt32 {
  let eight = v.lowHalf | v.highHalf
  let four = eight.lowHalf | eight.highHalf
  return four.x | four.y | four.z | four.w
}

/// All lanes joined by or.
@inline(__always) func anyBits(_ v: SIMD16<UInt16>) -> UInt16 {
  let eight = v.lowHalf | v.highHalf
  let four = eight.lowHalf | eight.highHalf
  return four.x | four.y | four.z | four.w
}
