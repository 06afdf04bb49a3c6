/// Fixed point with a step per channel (`fix:<s>`): x is kept as the integer q nearest to x / step, in 24 bits.
///
///     q  0 −1 1 −2 2 …  ─ zigzag ─►  z  0 1 2 3 4 …  ─►  three byte planes, and back: x ≈ q · step
///
/// Small numbers of either sign leave the high planes zero. |x − q·step| ≤ step / 2, but for the rounding of f32 itself.
enum FixedPoint {
  static let byteCount = 3
  /// q lies in −2^23 … 2^23 − 1.
  static let bound: Float = 8_388_608
  private static let lanes = 16
  /// 1.5 · 2^23: added to a magnitude of at most 2^22 it leaves the nearest integer (ties to even) in the low bits.
  private static let magic: Float = 12_582_912

  /// Steps σ / 2^s of channels with these means and variances.
  ///
  /// A step is at least |mean| · 2^−20, finer than which f32 hardly tells values apart, and where that is 0 too (a
  /// channel that is always 0) the smallest of the others; so every step is above 0.
  static func steps(means: [Double], variances: [Double], s: Int) -> [Float] {
    precondition(means.count == variances.count, "\(means.count) means, \(variances.count) variances")
    let steps = zip(means, variances).map { mean, variance in
      let step = max(variance, 0).squareRoot() / Double(1 << s)
      return min(max(Float(max(step, abs(mean) * 0x1p-20)), 0), .greatestFiniteMagnitude)
    }
    let smallest = steps.filter { $0 >= .leastNormalMagnitude }.min() ?? 1 / Float(1 << s)
    return steps.map { $0 >= .leastNormalMagnitude ? $0 : smallest }
  }

  /// SHA-256 of `steps` as little-endian f32, hex: what a shard's header says of them.
  static func digest(of steps: [Float]) -> String {
    var bytes: [UInt8] = []
    for step in steps { bytes.append(u32: step.bitPattern) }
    return CanonicalJSON.hexDigest(of: bytes)
  }

  /// Splits rows of `width` values; `to` gets 3 · nRows · width bytes.
  /// - Returns: the index of the first value that is not finite or that 24 bits cannot hold; nil if all went well.
  static func split(
    _ from: UnsafeRawPointer, _ nRows: Int, _ width: Int, _ steps: UnsafePointer<Float>,
    _ to: UnsafeMutablePointer<UInt8>
  ) -> Int? {
    for row in 0..<nRows {
      if let channel = unsafe splitRow(from + 4 * row * width, width, steps, to + row * width, nRows * width) {
        return row * width + channel
      }
    }
    return nil
  }

  private static func splitRow(
    _ from: UnsafeRawPointer, _ width: Int, _ steps: UnsafePointer<Float>, _ to: UnsafeMutablePointer<UInt8>, _ n: Int
  ) -> Int? {
    let planes = UnsafeMutableRawPointer(to)
    let stepBytes = unsafe UnsafeRawPointer(steps)
    // The largest magnitude below 2^22, as bits; those of larger ones, infinities and NaN are larger.
    let largest = Float(0x1p22).nextDown.bitPattern
    var i = 0
    while i + lanes <= width {
      let x = unsafe from.loadUnaligned(fromByteOffset: 4 * i, as: SIMD16<Float>.self)
      let t = x / (unsafe stepBytes.loadUnaligned(fromByteOffset: 4 * i, as: SIMD16<Float>.self))
      let isLarge = largest &- (unsafe unsafeBitCast(t, to: SIMD16<UInt32>.self) & 0x7FFF_FFFF)
      if anyBits(isLarge) & 0x8000_0000 != 0 { break }
      let q = unsafe unsafeBitCast(t + magic, to: SIMD16<Int32>.self) &- Int32(bitPattern: magic.bitPattern)
      let z = unsafe unsafeBitCast((q &<< 1) ^ (q &>> 31), to: SIMD16<UInt32>.self)
      for k in 0..<byteCount {
        let bytes = SIMD16<UInt8>(truncatingIfNeeded: z &>> SIMD16(repeating: UInt32(8 * k)))
        unsafe planes.storeBytes(of: bytes, toByteOffset: k * n + i, as: SIMD16<UInt8>.self)
      }
      i += lanes
    }
    while i < width {
      let t = (unsafe from.loadUnaligned(fromByteOffset: 4 * i, as: Float.self) / steps[i]).rounded(.toNearestOrEven)
      guard t >= -bound, t < bound else { return i }
      let q = Int32(t)
      let z = UInt32(bitPattern: (q &<< 1) ^ (q &>> 31))
      for k in 0..<byteCount { unsafe to[k * n + i] = UInt8(truncatingIfNeeded: z &>> UInt32(8 * k)) }
      i += 1
    }
    return nil
  }

  /// Joins `count` consecutive channels of one row, the first of which has the step at `steps`. Plane k of the frame
  /// lies `n` bytes after plane k − 1.
  static func join(
    _ from: UnsafeRawPointer, _ n: Int, _ count: Int, _ steps: UnsafePointer<Float>, _ to: UnsafeMutablePointer<Float>
  ) {
    let (p1, p2) = unsafe (from + n, from + 2 * n)
    let stepBytes = unsafe UnsafeRawPointer(steps)
    let output = UnsafeMutableRawPointer(to)
    var i = 0
    while i &+ lanes <= count {
      let z = unsafe interleave(
        interleave(sixteenBytes(from, i), sixteenBytes(p1, i)), interleave(sixteenBytes(p2, i), SIMD16()))
      // |q| = ⌈z / 2⌉, at most 2^23. As the low bits of a float with the exponent of 2^23 it stands for 2^23 + |q|.
      let magnitude = unsafe unsafeBitCast(((z &+ 1) &>> 1) &+ bound.bitPattern, to: SIMD16<Float>.self) - bound
      let signed = unsafe unsafeBitCast(magnitude, to: SIMD16<UInt32>.self) | (z &<< 31)
      let step = unsafe stepBytes.loadUnaligned(fromByteOffset: 4 &* i, as: SIMD16<Float>.self)
      unsafe output.storeBytes(
        of: unsafeBitCast(signed, to: SIMD16<Float>.self) * step, toByteOffset: 4 &* i, as: SIMD16<Float>.self)
      i &+= lanes
    }
    while i < count {
      var z = UInt32(unsafe from.load(fromByteOffset: i, as: UInt8.self))
      z |= UInt32(unsafe p1.load(fromByteOffset: i, as: UInt8.self)) << 8
      z |= UInt32(unsafe p2.load(fromByteOffset: i, as: UInt8.self)) << 16
      unsafe to[i] = Float(Int32(bitPattern: z &>> 1) ^ (0 &- Int32(bitPattern: z & 1))) * steps[i]
      i &+= 1
    }
  }
}
