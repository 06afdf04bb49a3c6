/// Lists of integers as byte planes: all lowest bytes, then all next ones, …
enum IntegerPlanes {
  /// Appends planes 0..<byteCount of `values`; higher bytes are 0 by the caller's word.
  static func append<I: FixedWidthInteger & UnsignedInteger>(
    _ values: [I], byteCount: Int = I.bitWidth / 8, to content: inout [UInt8]
  ) {
    let first = content.count
    content.append(contentsOf: repeatElement(0, count: values.count * byteCount))
    unsafe content.withUnsafeMutableBufferPointer { content in
      unsafe values.withUnsafeBufferPointer { values in
        for k in 0..<byteCount {
          let start = first + k * values.count
          for i in 0..<values.count {
            unsafe content[start + i] = UInt8(truncatingIfNeeded: values[i] >> I(8 * k))
          }
        }
      }
    }
  }

  /// The `count` integers whose planes begin at `offset`; nil past the end.
  static func join<I: FixedWidthInteger & UnsignedInteger>(
    _ content: RawSpan, at offset: Int, count: Int, byteCount: Int = I.bitWidth / 8, as type: I.Type = I.self
  ) -> [I]? {
    let (size, overflow) = count.multipliedReportingOverflow(by: byteCount)
    guard offset >= 0, count >= 0, !overflow, offset <= content.byteCount, size <= content.byteCount - offset else {
      return nil
    }
    return unsafe [I](unsafeUninitializedCapacity: count) { values, initialized in
      unsafe content.withUnsafeBytes { bytes in
        for i in 0..<count { unsafe values.initializeElement(at: i, to: I(bytes[offset + i])) }
        for k in 1..<byteCount {
          let start = offset + k * count
          for i in 0..<count { unsafe values[i] |= I(bytes[start + i]) << I(8 * k) }
        }
      }
      initialized = count
    }
  }
}
