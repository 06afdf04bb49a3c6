// Elementary functions on 16 lanes. Errors are against the exact value, in units in the last place (ulp), measured
// over the whole range in VectorMathTests.

package typealias Lanes = SIMD16<Float>

extension SIMD16<Float> {
  /// The sum of all lanes, halves added to halves: 4 additions one after the other, where `sum()` has 15.
  @inline(__always) var total: Float {
    let eight = lowHalf + highHalf
    let four = eight.lowHalf + eight.highHalf
    let two = four.lowHalf + four.highHalf
    return two[0] + two[1]
  }
}

extension SIMD16<Int32> {
  /// The sum of all lanes, modulo 2³²; `wrappedSum()` is as slow as `sum()`.
  @inline(__always) var total: Int32 {
    let eight = lowHalf &+ highHalf
    let four = eight.lowHalf &+ eight.highHalf
    let two = four.lowHalf &+ four.highHalf
    return two[0] &+ two[1]
  }
}

/// eˣ, within 1.5 ulp for results that are normal numbers; 0 below -87.3, +∞ above 88.72; NaN stays NaN.
@inline(__always) package func exp(_ x: Lanes) -> Lanes {
  let clamped = x.replacing(with: Lanes(repeating: -87.3), where: x .< -87.3)
    .replacing(with: Lanes(repeating: 88.72), where: x .> 88.72)
  let (e, shifted) = exponential(clamped)
  // 2ⁿ in two factors: n reaches 128, for which one factor would overflow.
  let bits = shifted &- 0x4B40_0000
  let half = bits &>> 1
  let low = unsafeBitCast((half &+ 127) &<< 23, to: Lanes.self)
  let high = unsafeBitCast((bits &- half &+ 127) &<< 23, to: Lanes.self)
  return (e * low * high)
    .replacing(with: 0, where: x .< -87.3)
    .replacing(with: Lanes(repeating: .infinity), where: x .> 88.722_84)
    .replacing(with: x, where: x .!= x)
}

/// eˣ for x ≤ 0, within 1.5 ulp; e⁻⁸⁷ below −87; NaN stays NaN. As `exp`, without what positive and tiny results need.
@inline(__always) package func expOfNonPositive(_ x: Lanes) -> Lanes {
  let (e, shifted) = exponential(x.replacing(with: Lanes(repeating: -87), where: x .< -87))
  return unsafeBitCast(unsafeBitCast(e, to: SIMD16<Int32>.self) &+ shifted &<< 23, to: Lanes.self)
}

/// eʳ and the bits of 1.5·2²³ + n, with x = n·ln 2 + r and |r| ≤ ln 2 / 2, by a polynomial of degree 6 (Cephes expf).
@inline(__always) private func exponential(_ x: Lanes) -> (e: Lanes, shifted: SIMD16<Int32>) {
  let shift = Lanes(repeating: 12_582_912)  // 1.5·2²³: adding it rounds to an integer, kept in the low bits
  let t = shift.addingProduct(x, Lanes(repeating: 1.442_695_04))
  let n = t - shift
  var r = x.addingProduct(n, Lanes(repeating: -0.693_359_375))
  r = r.addingProduct(n, Lanes(repeating: 2.121_944_4e-4))
  var p = Lanes(repeating: 1.987_569_15e-4)
  p = Lanes(repeating: 1.398_199_95e-3).addingProduct(p, r)
  p = Lanes(repeating: 8.333_451_9e-3).addingProduct(p, r)
  p = Lanes(repeating: 4.166_579_6e-2).addingProduct(p, r)
  p = Lanes(repeating: 1.666_666_55e-1).addingProduct(p, r)
  p = Lanes(repeating: 5.000_000_1e-1).addingProduct(p, r)
  return ((r + 1).addingProduct(p, r * r), unsafeBitCast(t, to: SIMD16<Int32>.self))
}

/// tanh x by a rational approximation on |x| ≤ 9 (beyond, ±1 to f32); within 4 ulp.
///
/// For |x| < 0.625 Cephes' polynomial in x²; else 1 - 2/(e²ˣ + 1).
@inline(__always) package func tanh(_ x: Lanes) -> Lanes {
  let a = abs(x)
  let s = x * x
  var p = Lanes(repeating: -5.704_988_72e-3)
  p = Lanes(repeating: 2.063_908_88e-2).addingProduct(p, s)
  p = Lanes(repeating: -5.373_971_99e-2).addingProduct(p, s)
  p = Lanes(repeating: 1.333_144_10e-1).addingProduct(p, s)
  p = Lanes(repeating: -3.333_328_0e-1).addingProduct(p, s)
  let small = x.addingProduct(p * s, x)
  let big = 1 - 2 / (exp(a + a) + 1)
  let signed = copySign(of: x, to: big)
  return signed.replacing(with: small, where: a .< 0.625)
}

/// 1 / (1 + e⁻ˣ).
@inline(__always) package func sigmoid(_ x: Lanes) -> Lanes { 1 / (1 + exp(-x)) }

/// erf x within 2 ulp: a polynomial in x² below 0.921875, else 1 - exp(polynomial in |x|), saturating from 3.92
/// (coefficients as published by N. Juffa for single precision).
@inline(__always) package func erf(_ x: Lanes) -> Lanes {
  let a = abs(x)
  let s = x * x
  let q = Lanes(repeating: 3.831_971_26e-4).addingProduct(Lanes(repeating: -1.728_534_70e-5), a)
  let u = Lanes(repeating: 2.425_462_19e-2).addingProduct(Lanes(repeating: -3.883_964_38e-3), a)
  var r = u.addingProduct(q, s)
  r = Lanes(repeating: -1.067_778_77e-1).addingProduct(r, a)
  r = Lanes(repeating: -6.348_466_87e-1).addingProduct(r, a)
  r = Lanes(repeating: -1.287_175_12e-1).addingProduct(r, a)
  let big = copySign(of: x, to: 1 - exp((-a).addingProduct(r, a)))
  var p = Lanes(repeating: -5.967_617_03e-4)
  p = Lanes(repeating: 4.991_194_23e-3).addingProduct(p, s)
  p = Lanes(repeating: -2.676_813_49e-2).addingProduct(p, s)
  p = Lanes(repeating: 1.128_199_25e-1).addingProduct(p, s)
  p = Lanes(repeating: -3.761_253_36e-1).addingProduct(p, s)
  p = Lanes(repeating: 1.283_791_66e-1).addingProduct(p, s)
  let small = x.addingProduct(p, x)
  return big.replacing(with: small, where: a .< 0.921_875)
    .replacing(with: copySign(of: x, to: Lanes(repeating: 1)), where: a .> 3.92)
}

/// √x, correctly rounded but for a few results 1 ulp off; 0 for 0. `SIMD16.squareRoot()` is sixteen scalar calls.
///
/// Newton's iteration for 1/√x from the exponent bits, then one Markstein step on the root itself.
@inline(__always) package func squareRoot(_ x: Lanes) -> Lanes {
  let bits = unsafeBitCast(x, to: SIMD16<UInt32>.self)
  var y = unsafeBitCast(0x5F37_5A86 &- (bits &>> 1), to: Lanes.self)
  let half = x * 0.5
  for _ in 0..<3 { y = y * Lanes(repeating: 1.5).addingProduct(-(half * y), y) }
  let root = x * y
  let residual = x.addingProduct(-root, root)
  return root.addingProduct(residual, y * 0.5).replacing(with: 0, where: x .== 0)
}

@inline(__always) package func abs(_ x: Lanes) -> Lanes {
  unsafeBitCast(unsafeBitCast(x, to: SIMD16<UInt32>.self) & 0x7FFF_FFFF, to: Lanes.self)
}

@inline(__always) private func copySign(of sign: Lanes, to magnitude: Lanes) -> Lanes {
  unsafeBitCast(
    (unsafeBitCast(sign, to: SIMD16<UInt32>.self) & 0x8000_0000)
      | (unsafeBitCast(magnitude, to: SIMD16<UInt32>.self) & 0x7FFF_FFFF), to: Lanes.self)
}

extension UnsafePointer where Pointee == Float {
  /// 16 floats from here on, of any alignment.
  @inline(__always) func lanes(at offset: Int) -> Lanes {
    UnsafeRawPointer(self + offset).loadUnaligned(as: Lanes.self)
  }
}

extension UnsafeMutablePointer where Pointee == Float {
  @inline(__always) func lanes(at offset: Int) -> Lanes {
    UnsafeRawPointer(self + offset).loadUnaligned(as: Lanes.self)
  }
  @inline(__always) func store(_ lanes: Lanes, at offset: Int) {
    UnsafeMutableRawPointer(self + offset).storeBytes(of: lanes, as: Lanes.self)
  }
}
