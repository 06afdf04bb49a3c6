/// The inner loops of the statistics of a stream.
enum ChannelSums {
  /// ‖x‖² of the row of `width` values at `offset`.
  static func squaredNorm(_ values: Span<Float>, at offset: Int, width: Int) -> Double {
    precondition(offset >= 0 && offset <= values.count - width, "row at \(offset)")
    return unsafe values.withUnsafeBufferPointer { source -> Double in
      // Eight sums side by side, which do not wait for each other; their order is fixed.
      var sums = SIMD8<Double>()
      var i = offset
      let end = offset + width
      while i + 8 <= end {
        var x = SIMD8<Double>()
        for lane in 0..<8 { x[lane] = Double(unsafe source[i + lane]) }
        sums += x * x
        i += 8
      }
      var norm = sums.sum()
      while i < end {
        norm += Double(unsafe source[i]) * Double(unsafe source[i])
        i += 1
      }
      return norm
    }
  }

  /// Adds the row of `sums.count` values at `offset` to the sums of its channels and returns ‖x‖²; nil, and nothing
  /// added, if a value is not finite.
  static func add(
    _ values: Span<Float>, at offset: Int, sums: inout [Double], squares: inout [Double], maxAbs: inout Double
  ) -> Double? {
    let width = sums.count
    precondition(squares.count == width && offset >= 0 && offset <= values.count - width, "row at \(offset)")
    return unsafe values.withUnsafeBufferPointer { source -> Double? in
      guard let row = unsafe UnsafeRawPointer(source.baseAddress) else { return 0 }
      let x = unsafe row + 4 * offset
      // Four sums side by side, which do not wait for each other; their order is fixed.
      var (n0, n1, n2, n3) = (0.0, 0.0, 0.0, 0.0)
      var top: UInt32 = 0
      var i = 0
      while i + 4 <= width {
        let a = unsafe x.loadUnaligned(fromByteOffset: 4 * i, as: Float.self)
        let b = unsafe x.loadUnaligned(fromByteOffset: 4 * i + 4, as: Float.self)
        let c = unsafe x.loadUnaligned(fromByteOffset: 4 * i + 8, as: Float.self)
        let d = unsafe x.loadUnaligned(fromByteOffset: 4 * i + 12, as: Float.self)
        n0 += Double(a) * Double(a)
        n1 += Double(b) * Double(b)
        n2 += Double(c) * Double(c)
        n3 += Double(d) * Double(d)
        // The pattern of a magnitude orders as the magnitude does.
        top = max(max(top, a.magnitude.bitPattern), max(b.magnitude.bitPattern, c.magnitude.bitPattern))
        top = max(top, d.magnitude.bitPattern)
        i += 4
      }
      var norm = (n0 + n1) + (n2 + n3)
      while i < width {
        let v = unsafe x.loadUnaligned(fromByteOffset: 4 * i, as: Float.self)
        norm += Double(v) * Double(v)
        top = max(top, v.magnitude.bitPattern)
        i += 1
      }
      // The sum of squares of f32 values cannot overflow an f64: it is finite exactly if they all are.
      guard norm.isFinite else { return nil }
      maxAbs = max(maxAbs, Double(Float(bitPattern: top)))
      unsafe sums.withUnsafeMutableBufferPointer { sums in
        unsafe squares.withUnsafeMutableBufferPointer { squares in
          for i in 0..<width {
            let v = Double(unsafe x.loadUnaligned(fromByteOffset: 4 * i, as: Float.self))
            unsafe sums[i] += v
            unsafe squares[i] += v * v
          }
        }
      }
      return norm
    }
  }

  /// Σ (a − b)² of the first `count` values, all finite.
  static func squaredDistance(_ a: Span<Float>, _ b: Span<Float>, count: Int) -> Double {
    precondition(count >= 0 && count <= min(a.count, b.count), "\(count) of \(a.count) and \(b.count) values")
    return unsafe a.withUnsafeBufferPointer { a in
      unsafe b.withUnsafeBufferPointer { b in
        // Four sums side by side, which do not wait for each other; their order is fixed.
        var (s0, s1, s2, s3) = (0.0, 0.0, 0.0, 0.0)
        var i = 0
        while i + 4 <= count {
          let d0 = unsafe Double(a[i]) - Double(b[i])
          let d1 = unsafe Double(a[i + 1]) - Double(b[i + 1])
          let d2 = unsafe Double(a[i + 2]) - Double(b[i + 2])
          let d3 = unsafe Double(a[i + 3]) - Double(b[i + 3])
          s0 += d0 * d0
          s1 += d1 * d1
          s2 += d2 * d2
          s3 += d3 * d3
          i += 4
        }
        while i < count {
          let d = unsafe Double(a[i]) - Double(b[i])
          s0 += d * d
          i += 1
        }
        return (s0 + s1) + (s2 + s3)
      }
    }
  }
}
