import Memory

/// Activations as they are: the little-endian bytes of one value after the other.
enum ValueRows {
  private static let lanes = 16

  /// Rounds `n` values to `type` (nearest, ties to even): n · type.byteCount bytes.
  static func pack(_ from: UnsafeRawPointer, _ n: Int, as type: ElementType, _ to: UnsafeMutablePointer<UInt8>) {
    let output = UnsafeMutableRawPointer(to)
    switch type {
    case .f32: unsafe output.copyMemory(from: from, byteCount: 4 * n)
    case .bf16, .f16:
      for i in 0..<n {
        let value = unsafe from.loadUnaligned(fromByteOffset: 4 * i, as: Float.self)
        let half = type == .bf16 ? bf16Bits(value) : f16Bits(value)
        unsafe output.storeBytes(of: half.littleEndian, toByteOffset: 2 * i, as: UInt16.self)
      }
    }
  }

  /// Widens `count` values.
  @inline(__always) static func widen(
    _ from: UnsafeRawPointer, as type: ElementType, _ count: Int, _ to: UnsafeMutablePointer<Float>
  ) {
    switch type {
    case .f32: unsafe UnsafeMutableRawPointer(to).copyMemory(from: from, byteCount: 4 &* count)
    case .bf16: unsafe widenBF16(from, count, to)
    case .f16: unsafe widenF16(from, count, to)
    }
  }

  private static func widenBF16(
    _ from: UnsafeRawPointer, _ count: Int, _ to: UnsafeMutablePointer<Float>
  ) {
    let output = UnsafeMutableRawPointer(to)
    var i = 0
    while i &+ lanes <= count {
      unsafe output.storeBytes(
        of: interleave(SIMD16(), halves(from, i)), toByteOffset: 4 &* i, as: SIMD16<UInt32>.self)
      i &+= lanes
    }
    while i < count {
      unsafe to[i] = floatFromBF16(from.loadUnaligned(fromByteOffset: 2 &* i, as: UInt16.self))
      i &+= 1
    }
  }

  private static func widenF16(
    _ from: UnsafeRawPointer, _ count: Int, _ to: UnsafeMutablePointer<Float>
  ) {
    let output = UnsafeMutableRawPointer(to)
    var special = SIMD16<UInt16>()
    var i = 0
    while i &+ lanes <= count {
      let half = unsafe halves(from, i)
      // Bit 15 of what is infinite or NaN.
      special |= (half & 0x7FFF) &+ 0x0400
      unsafe output.storeBytes(of: BytePlanes.widened(half), toByteOffset: 4 &* i, as: SIMD16<Float>.self)
      i &+= lanes
    }
    if anyBits(special) & 0x8000 != 0 { i = 0 }
    while i < count {
      unsafe to[i] = floatFromF16(from.loadUnaligned(fromByteOffset: 2 &* i, as: UInt16.self))
      i &+= 1
    }
  }

  @inline(__always) private static func halves(_ from: UnsafeRawPointer, _ i: Int) -> SIMD16<UInt16> {
    unsafe from.loadUnaligned(fromByteOffset: 2 &* i, as: SIMD16<UInt16>.self)
  }
}
