import Memory

/// Activations as byte planes: plane k of a frame holds byte k (little-endian) of each of its values.
///
///     values  v0 v1 v2 …        bf16  [lo v0, lo v1, lo v2, …][hi v0, hi v1, hi v2, …]
///
/// The exponents come to lie side by side in the last plane, which is where all that zstd can gain is.
enum BytePlanes {
  /// Values at a time.
  private static let lanes = 16

  /// Rounds `n` values to `type` (nearest, ties to even) and writes their planes: n · type.byteCount bytes.
  static func split(_ from: UnsafeRawPointer, _ n: Int, as type: ElementType, _ to: UnsafeMutablePointer<UInt8>) {
    switch type {
    case .bf16: unsafe splitBF16(from, n, to)
    case .f16: unsafe splitF16(from, n, to)
    case .f32: unsafe splitF32(from, n, to)
    }
  }

  /// Joins and widens `count` values. `from` points at the first one's byte in plane 0; plane k follows `n` bytes after
  /// plane k − 1.
  @inline(__always) static func join(
    _ from: UnsafeRawPointer, _ n: Int, as type: ElementType, _ count: Int, _ to: UnsafeMutablePointer<Float>
  ) {
    switch type {
    case .bf16: unsafe joinBF16(from, from + n, count, to)
    case .f16: unsafe joinF16(from, from + n, count, to)
    case .f32: unsafe joinF32(from, from + n, from + 2 &* n, from + 3 &* n, count, to)
    }
  }

  /// One number whose bytes lie in two planes.
  @inline(__always) private static func half(_ low: UnsafeRawPointer, _ high: UnsafeRawPointer, _ i: Int) -> UInt16 {
    UInt16(unsafe low.load(fromByteOffset: i, as: UInt8.self))
      | UInt16(unsafe high.load(fromByteOffset: i, as: UInt8.self)) << 8
  }

  // MARK: bf16

  private static func splitBF16(_ from: UnsafeRawPointer, _ n: Int, _ to: UnsafeMutablePointer<UInt8>) {
    let low = UnsafeMutableRawPointer(to)
    let high = unsafe low + n
    var i = 0
    while i + lanes <= n {
      let bits = unsafe from.loadUnaligned(fromByteOffset: 4 * i, as: SIMD16<UInt32>.self)
      let rounded = (bits &+ 0x7FFF &+ ((bits &>> 16) & 1)) &>> 16
      // All ones for NaN. Arithmetic, because vector masks compile to scalar code here.
      let isNaN = 0 &- ((0x7F80_0000 &- (bits & 0x7FFF_FFFF)) &>> 31)
      let half = (rounded & ~isNaN) | (((bits &>> 16) | 0x40) & isNaN)
      unsafe low.storeBytes(of: SIMD16<UInt8>(truncatingIfNeeded: half), toByteOffset: i, as: SIMD16<UInt8>.self)
      unsafe high.storeBytes(
        of: SIMD16<UInt8>(truncatingIfNeeded: half &>> 8), toByteOffset: i, as: SIMD16<UInt8>.self)
      i += lanes
    }
    while i < n {
      let half = bf16Bits(unsafe from.loadUnaligned(fromByteOffset: 4 * i, as: Float.self))
      unsafe to[i] = UInt8(truncatingIfNeeded: half)
      unsafe to[n + i] = UInt8(truncatingIfNeeded: half >> 8)
      i += 1
    }
  }

  private static func joinBF16(
    _ low: UnsafeRawPointer, _ high: UnsafeRawPointer, _ count: Int, _ to: UnsafeMutablePointer<Float>
  ) {
    let output = UnsafeMutableRawPointer(to)
    var i = 0
    while i &+ lanes <= count {
      let half = unsafe interleave(sixteenBytes(low, i), sixteenBytes(high, i))
      unsafe output.storeBytes(of: interleave(SIMD16(), half), toByteOffset: 4 &* i, as: SIMD16<UInt32>.self)
      i &+= lanes
    }
    while i < count {
      unsafe to[i] = floatFromBF16(half(low, high, i))
      i &+= 1
    }
  }

  // MARK: f16

  private static func splitF16(_ from: UnsafeRawPointer, _ n: Int, _ to: UnsafeMutablePointer<UInt8>) {
    for i in 0..<n {
      let half = f16Bits(unsafe from.loadUnaligned(fromByteOffset: 4 * i, as: Float.self))
      unsafe to[i] = UInt8(truncatingIfNeeded: half)
      unsafe to[n + i] = UInt8(truncatingIfNeeded: half >> 8)
    }
  }

  private static func joinF16(
    _ low: UnsafeRawPointer, _ high: UnsafeRawPointer, _ count: Int, _ to: UnsafeMutablePointer<Float>
  ) {
    let output = UnsafeMutableRawPointer(to)
    var special = SIMD16<UInt8>()
    var i = 0
    while i &+ lanes <= count {
      let upper = unsafe sixteenBytes(high, i)
      // Bit 7 of what is infinite or NaN: there the exponent, bits 2 to 6 of the upper byte, is all ones.
      special |= (upper & 0x7F) &+ 0x04
      let half = unsafe interleave(sixteenBytes(low, i), upper)
      unsafe output.storeBytes(of: widened(half), toByteOffset: 4 &* i, as: SIMD16<Float>.self)
      i &+= lanes
    }
    // Those, which our writers never store, are widened one by one.
    if anyBits(interleave(SIMD16(), special)) & 0x8000 != 0 { i = 0 }
    while i < count {
      unsafe to[i] = floatFromF16(half(low, high, i))
      i &+= 1
    }
  }

  /// 16 finite halves as f32; others come out wrong.
  ///
  /// Sign and magnitude go to their places in an f32, whose exponent is then too small by 112 (bias 127, not 15);
  /// 2^112 mends that, exactly, subnormals included.
  @inline(__always) static func widened(_ half: SIMD16<UInt16>) -> SIMD16<Float> {
    let upper = unsafe unsafeBitCast(interleave(SIMD16(), half), to: SIMD16<Int32>.self)
    let placed = unsafe unsafeBitCast(upper &>> 3, to: SIMD16<UInt32>.self) & 0x8FFF_E000
    return unsafe unsafeBitCast(placed, to: SIMD16<Float>.self) * 0x1p112
  }

  // MARK: f32

  private static func splitF32(_ from: UnsafeRawPointer, _ n: Int, _ to: UnsafeMutablePointer<UInt8>) {
    let planes = UnsafeMutableRawPointer(to)
    var i = 0
    while i + lanes <= n {
      let bits = unsafe from.loadUnaligned(fromByteOffset: 4 * i, as: SIMD16<UInt32>.self)
      for k in 0..<4 {
        let byte = SIMD16<UInt8>(truncatingIfNeeded: bits &>> SIMD16(repeating: UInt32(8 * k)))
        unsafe planes.storeBytes(of: byte, toByteOffset: k * n + i, as: SIMD16<UInt8>.self)
      }
      i += lanes
    }
    while i < n {
      let bits = unsafe from.loadUnaligned(fromByteOffset: 4 * i, as: UInt32.self)
      for k in 0..<4 { unsafe to[k * n + i] = UInt8(truncatingIfNeeded: bits >> (8 * k)) }
      i += 1
    }
  }

  private static func joinF32(
    _ p0: UnsafeRawPointer, _ p1: UnsafeRawPointer, _ p2: UnsafeRawPointer, _ p3: UnsafeRawPointer, _ count: Int,
    _ to: UnsafeMutablePointer<Float>
  ) {
    let output = UnsafeMutableRawPointer(to)
    var i = 0
    while i &+ lanes <= count {
      let bits = unsafe interleave(
        interleave(sixteenBytes(p0, i), sixteenBytes(p1, i)), interleave(sixteenBytes(p2, i), sixteenBytes(p3, i)))
      unsafe output.storeBytes(of: bits, toByteOffset: 4 &* i, as: SIMD16<UInt32>.self)
      i &+= lanes
    }
    while i < count {
      var bits = UInt32(unsafe p0.load(fromByteOffset: i, as: UInt8.self))
      bits |= UInt32(unsafe p1.load(fromByteOffset: i, as: UInt8.self)) << 8
      bits |= UInt32(unsafe p2.load(fromByteOffset: i, as: UInt8.self)) << 16
      bits |= UInt32(unsafe p3.load(fromByteOffset: i, as: UInt8.self)) << 24
      unsafe to[i] = Float(bitPattern: bits)
      i &+= 1
    }
  }
}
