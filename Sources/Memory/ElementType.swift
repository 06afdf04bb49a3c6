/// How a number is stored.
public enum ElementType: String, Codable, Sendable, CaseIterable {
  case f32, f16, bf16

  public var byteCount: Int { self == .f32 ? 4 : 2 }
}

/// bf16: the upper half of an f32. Rounds to nearest, ties to even; NaN stays NaN.
@inlinable public func bf16Bits(_ value: Float) -> UInt16 {
  let bits = value.bitPattern
  if bits & 0x7FFF_FFFF > 0x7F80_0000 { return UInt16(truncatingIfNeeded: bits >> 16) | 0x40 }
  return UInt16(truncatingIfNeeded: (bits &+ 0x7FFF &+ ((bits >> 16) & 1)) >> 16)
}

@inlinable public func floatFromBF16(_ bits: UInt16) -> Float { Float(bitPattern: UInt32(bits) << 16) }

/// IEEE half precision in integer arithmetic (a baseline x86-64 build has no conversion instruction).
/// Rounds to nearest, ties to even; values above 65,504 become infinite; NaN stays NaN.
@inlinable public func f16Bits(_ value: Float) -> UInt16 {
  let bits = value.bitPattern
  let sign = UInt16(truncatingIfNeeded: (bits >> 16) & 0x8000)
  let magnitude = bits & 0x7FFF_FFFF
  if magnitude > 0x7F80_0000 { return sign | 0x7E00 }
  // 65,520 and above round to infinity.
  if magnitude >= 0x477F_F000 { return sign | 0x7C00 }
  if magnitude < 0x3880_0000 {
    // Subnormal halves: adding 0.5 aligns the wanted bits at the bottom of the significand and rounds them.
    let shifted = Float(bitPattern: magnitude) + 0.5
    return sign | UInt16(truncatingIfNeeded: shifted.bitPattern &- 0x3F00_0000)
  }
  let rounded = magnitude &+ 0xFFF &+ ((magnitude >> 13) & 1) &- 0x3800_0000
  return sign | UInt16(truncatingIfNeeded: rounded >> 13)
}

@inlinable public func floatFromF16(_ bits: UInt16) -> Float {
  let sign = UInt32(bits & 0x8000) << 16
  let magnitude = UInt32(bits & 0x7FFF) << 13
  if magnitude >= 0x0F80_0000 { return Float(bitPattern: sign | magnitude | 0x7F80_0000) }
  // 2^112 moves the half's exponent bias (15) to that of an f32 (127); exact, subnormals included.
  return Float(bitPattern: sign | (Float(bitPattern: magnitude) * 0x1p112).bitPattern)
}
