import Memory

/// Activations as byte planes: plane k of a frame holds byte k (little-endian) of each of its values.
///
///     values  v0 v1 v2 …        bf16  [lo v0, lo v1, lo v2, …][hi v0, hi v1, hi v2, …]
///
/// The exponents come to lie side by side in the last plane, which is where all that zstd can gain is.
enum BytePlanes {
  /// Values at a time.
  private static let lanes = 16

  /// Rounds `values` to `type` (nearest, ties to even) and splits them. Returns values.count · type.byteCount bytes.
  static func split(_ values: Span<Float>, as type: ElementType) -> [UInt8] {
    let n = values.count
    return unsafe [UInt8](unsafeUninitializedCapacity: n * type.byteCount) { buffer, count in
      unsafe values.withUnsafeBufferPointer { source in
        guard let from = unsafe UnsafeRawPointer(source.baseAddress), let to = buffer.baseAddress else { return }
        switch type {
        case .bf16: unsafe splitBF16(from, n, to)
        case .f16: unsafe splitF16(from, n, to)
        case .f32: unsafe splitF32(from, n, to)
        }
      }
      count = n * type.byteCount
    }
  }

  /// Index of the first finite value that `type` cannot hold (it would become infinite); nil if there is none.
  static func firstOverflow(_ values: Span<Float>, as type: ElementType) -> Int? {
    guard type != .f32 else { return nil }
    for i in values.indices {
      let value = values[i]
      guard value.isFinite else { continue }
      let isInfinite = type == .f16 ? f16Bits(value) & 0x7FFF == 0x7C00 : bf16Bits(value) & 0x7FFF == 0x7F80
      if isInfinite { return i }
    }
    return nil
  }

  /// Joins and widens values `range` of a frame of `n` values into `output` from `offset` on.
  static func join(
    _ planes: RawSpan, of n: Int, as type: ElementType, _ range: Range<Int>, into output: inout MutableSpan<Float>,
    at offset: Int
  ) {
    precondition(planes.byteCount == n * type.byteCount, "\(planes.byteCount) bytes are not \(n) values of \(type)")
    precondition(range.lowerBound >= 0 && range.upperBound <= n, "values \(range) of a frame of \(n)")
    precondition(
      offset >= 0 && offset <= output.count - range.count, "\(range.count) values at \(offset) of \(output.count)")
    guard !range.isEmpty else { return }
    unsafe planes.withUnsafeBytes { source in
      unsafe output.withUnsafeMutableBufferPointer { target in
        guard let from = source.baseAddress, let to = target.baseAddress else { return }
        unsafe join(from + range.lowerBound, n, type, range.count, to + offset)
      }
    }
  }

  /// Gathers rows of `width` values: row i of `output` is row `rows[i] % rowsPerFrame` of the frame in slot
  /// `rows[i] / rowsPerFrame`. Slot s lies at byte `s · rowsPerFrame · width · byteCount` of `slots`; `rowsIn[s]` is
  /// how many rows that frame really has (the last frame of a shard may have fewer).
  static func gather(
    _ rows: Span<UInt32>, from slots: Span<UInt8>, rowsPerFrame: Int, rowsIn: Span<Int32>, width: Int,
    as type: ElementType, into output: inout MutableSpan<Float>, atRow first: Int
  ) {
    precondition(first >= 0 && (first + rows.count) * width <= output.count, "\(rows.count) rows at \(first)")
    let slotByteCount = rowsPerFrame * width * type.byteCount
    precondition(slots.count >= rowsIn.count * slotByteCount, "\(slots.count) bytes for \(rowsIn.count) slots")
    unsafe slots.withUnsafeBufferPointer { source in
      unsafe output.withUnsafeMutableBufferPointer { target in
        guard let from = unsafe UnsafeRawPointer(source.baseAddress), let to = target.baseAddress else { return }
        for i in rows.indices {
          let (slot, row) = Int(rows[i]).quotientAndRemainder(dividingBy: rowsPerFrame)
          let n = Int(rowsIn[slot])
          precondition(row < n, "row \(row) of a frame of \(n)")
          unsafe join(from + slot * slotByteCount + row * width, n * width, type, width, to + (first + i) * width)
        }
      }
    }
  }

  /// `from` points at the first value's byte in plane 0; plane k follows `n` bytes later.
  @inline(__always) private static func join(
    _ from: UnsafeRawPointer, _ n: Int, _ type: ElementType, _ count: Int, _ to: UnsafeMutablePointer<Float>
  ) {
    switch type {
    case .bf16: unsafe joinBF16(from, from + n, count, to)
    case .f16: unsafe joinF16(from, from + n, count, to)
    case .f32: unsafe joinF32(from, from + n, from + 2 * n, from + 3 * n, count, to)
    }
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

  /// 16 two-byte numbers whose bytes lie in two planes, from `i` on.
  @inline(__always) private static func halves(_ low: UnsafeRawPointer, _ high: UnsafeRawPointer, _ i: Int) -> SIMD16<
    UInt32
  > {
    let lo = SIMD16<UInt32>(truncatingIfNeeded: unsafe low.loadUnaligned(fromByteOffset: i, as: SIMD16<UInt8>.self))
    let hi = SIMD16<UInt32>(truncatingIfNeeded: unsafe high.loadUnaligned(fromByteOffset: i, as: SIMD16<UInt8>.self))
    return lo | (hi &<< 8)
  }

  /// One of them.
  @inline(__always) private static func half(_ low: UnsafeRawPointer, _ high: UnsafeRawPointer, _ i: Int) -> UInt16 {
    UInt16(unsafe low.load(fromByteOffset: i, as: UInt8.self))
      | UInt16(unsafe high.load(fromByteOffset: i, as: UInt8.self)) << 8
  }

  private static func joinBF16(
    _ low: UnsafeRawPointer, _ high: UnsafeRawPointer, _ count: Int, _ to: UnsafeMutablePointer<Float>
  ) {
    let output = UnsafeMutableRawPointer(to)
    var i = 0
    while i + lanes <= count {
      unsafe output.storeBytes(of: halves(low, high, i) &<< 16, toByteOffset: 4 * i, as: SIMD16<UInt32>.self)
      i += lanes
    }
    while i < count {
      unsafe to[i] = floatFromBF16(half(low, high, i))
      i += 1
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
    var i = 0
    while i + lanes <= count {
      let half = unsafe halves(low, high, i)
      let magnitude = (half & 0x7FFF) &<< 13
      // 2^112 moves the half's exponent bias (15) to that of an f32 (127); exact, subnormals included.
      let scaled = unsafe unsafeBitCast(magnitude, to: SIMD16<Float>.self) * 0x1p112
      // All ones for infinities and NaN, whose exponent becomes that of an f32.
      let isSpecial = 0 &- ((0x0F7F_FFFF &- magnitude) &>> 31)
      let bits = unsafe unsafeBitCast(scaled, to: SIMD16<UInt32>.self) | (isSpecial & 0x7F80_0000)
      unsafe output.storeBytes(of: bits | ((half & 0x8000) &<< 16), toByteOffset: 4 * i, as: SIMD16<UInt32>.self)
      i += lanes
    }
    while i < count {
      unsafe to[i] = floatFromF16(half(low, high, i))
      i += 1
    }
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
    while i + lanes <= count {
      let b0 = SIMD16<UInt32>(truncatingIfNeeded: unsafe p0.loadUnaligned(fromByteOffset: i, as: SIMD16<UInt8>.self))
      let b1 = SIMD16<UInt32>(truncatingIfNeeded: unsafe p1.loadUnaligned(fromByteOffset: i, as: SIMD16<UInt8>.self))
      let b2 = SIMD16<UInt32>(truncatingIfNeeded: unsafe p2.loadUnaligned(fromByteOffset: i, as: SIMD16<UInt8>.self))
      let b3 = SIMD16<UInt32>(truncatingIfNeeded: unsafe p3.loadUnaligned(fromByteOffset: i, as: SIMD16<UInt8>.self))
      let bits = b0 | (b1 &<< 8) | (b2 &<< 16) | (b3 &<< 24)
      unsafe output.storeBytes(of: bits, toByteOffset: 4 * i, as: SIMD16<UInt32>.self)
      i += lanes
    }
    while i < count {
      var bits = UInt32(unsafe p0.load(fromByteOffset: i, as: UInt8.self))
      bits |= UInt32(unsafe p1.load(fromByteOffset: i, as: UInt8.self)) << 8
      bits |= UInt32(unsafe p2.load(fromByteOffset: i, as: UInt8.self)) << 16
      bits |= UInt32(unsafe p3.load(fromByteOffset: i, as: UInt8.self)) << 24
      unsafe to[i] = Float(bitPattern: bits)
      i += 1
    }
  }
}
