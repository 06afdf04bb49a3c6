import Foundation

/// Log-probabilities as 16-bit steps below the largest: log p ≈ max − step·code, with step = range / 65,535.
enum LinearCodes {
  static let mostSteps: Float = 65_535

  /// The largest and the smallest of some values; a NaN may go unnoticed.
  static func range(_ values: Span<Float>) -> (top: Float, bottom: Float) {
    unsafe values.withUnsafeBufferPointer { values in
      var (tops, bottoms) = (SIMD16<Float>(repeating: -.infinity), SIMD16<Float>(repeating: .infinity))
      let whole = values.count & ~15
      for i in stride(from: 0, to: whole, by: 16) {
        let x = unsafe UnsafeRawBufferPointer(values).loadUnaligned(fromByteOffset: 4 * i, as: SIMD16<Float>.self)
        tops.replace(with: x, where: x .> tops)
        bottoms.replace(with: x, where: x .< bottoms)
      }
      var (top, bottom) = (tops.max(), bottoms.min())
      for i in whole..<values.count { unsafe (top, bottom) = (max(top, values[i]), min(bottom, values[i])) }
      return (top, bottom)
    }
  }

  /// Appends the code nearest to each of `values`; `top` is the largest of them, and step > 0 unless all are equal.
  static func append(_ values: Span<Float>, top: Float, step: Float, to codes: inout [UInt16]) {
    let first = codes.count
    codes.append(contentsOf: repeatElement(0, count: values.count))
    if step == 0 { return }
    unsafe codes.withUnsafeMutableBufferPointer { codes in
      unsafe values.withUnsafeBufferPointer { values in
        for i in 0..<values.count {
          let steps = min(mostSteps, unsafe (top - values[i]) / step)
          // Adding 2²³ rounds to an integer, kept in the low bits: a conversion would not be vectorised.
          unsafe codes[first + i] = UInt16(truncatingIfNeeded: (steps + 0x1p23).bitPattern)
        }
      }
    }
  }

  /// Appends e^(−step·code) of each code and returns their sum.
  ///
  /// From two tables of 256 entries, for the upper and the lower byte.
  static func appendWeights(_ codes: ArraySlice<UInt16>, step: Float, to weights: inout [Float]) -> Double {
    let first = weights.count
    if codes.count < 512 {
      var sum = 0.0
      for code in codes {
        let weight = exp(-Double(step) * Double(code))
        weights.append(Float(weight))
        sum += weight
      }
      return sum
    }
    let high = (0..<256).map { exp(-Double(step) * Double($0 << 8)) }
    let low = (0..<256).map { exp(-Double(step) * Double($0)) }
    weights.append(contentsOf: repeatElement(0, count: codes.count))
    return unsafe weights.withUnsafeMutableBufferPointer { weights in
      unsafe codes.withUnsafeBufferPointer { codes in
        var sum = 0.0
        for i in 0..<codes.count {
          let code = unsafe Int(codes[i])
          let weight = high[code >> 8] * low[code & 255]
          unsafe weights[first + i] = Float(weight)
          sum += weight
        }
        return sum
      }
    }
  }
}
