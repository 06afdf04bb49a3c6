import Memory

/// How the elements of a weight file are stored. The block types are ggml's: 32 elements of a row share a scale.
package enum StoredType: String, Sendable, CaseIterable {
  case f32 = "F32"
  case f16 = "F16"
  case bf16 = "BF16"
  /// f16 d, 32 × i8 q: x = d·q
  case q8v0 = "Q8_0"
  /// f16 d, 16 bytes: element i in the low nibbles, i + 16 in the high ones: x = d·(q − 8)
  case q4v0 = "Q4_0"
  /// f16 d, f16 m, 16 bytes as above: x = d·q + m
  case q4v1 = "Q4_1"

  /// Elements that are stored together; a row holds a multiple of it.
  package var elementsPerBlock: Int {
    switch self {
    case .f32, .f16, .bf16: 1
    case .q8v0, .q4v0, .q4v1: 32
    }
  }

  package var bytesPerBlock: Int {
    switch self {
    case .f32: 4
    case .f16, .bf16: 2
    case .q8v0: 34
    case .q4v0: 18
    case .q4v1: 20
    }
  }

  /// Bytes of `count` elements; nil if that is not a whole number of blocks, negative, or beyond Int.
  package func byteCount(_ count: Int) -> Int? {
    guard count >= 0, count % elementsPerBlock == 0 else { return nil }
    let (bytes, overflow) = (count / elementsPerBlock).multipliedReportingOverflow(by: bytesPerBlock)
    return overflow ? nil : bytes
  }
}

extension Matrix {
  /// Overwrites some rows with stored elements, row by row, widened to f32.
  ///
  /// - Parameters:
  ///   - range: the rows to write.
  ///   - bytes: exactly the bytes of `range.count` rows (checked), little-endian, of any alignment.
  package mutating func load(rows range: Range<Int>, from bytes: RawSpan, as type: StoredType) {
    precondition(range.lowerBound >= 0 && range.upperBound <= rows, "rows \(range) of \(rows)")
    precondition(columns % type.elementsPerBlock == 0, "rows of \(columns) elements as \(type.rawValue)")
    let count = range.count * columns
    precondition(type.byteCount(count) == bytes.byteCount, "\(bytes.byteCount) bytes for \(count) \(type.rawValue)")
    let out = base + range.lowerBound * columns
    bytes.withUnsafeBytes { buffer in
      guard let source = buffer.baseAddress else { return }
      switch type {
      case .f32: UnsafeMutableRawPointer(out).copyMemory(from: source, byteCount: 4 * count)
      case .f16:
        for i in 0..<count { out[i] = floatFromF16(source.loadUnaligned(fromByteOffset: 2 * i, as: UInt16.self)) }
      case .bf16:
        for i in 0..<count { out[i] = floatFromBF16(source.loadUnaligned(fromByteOffset: 2 * i, as: UInt16.self)) }
      case .q8v0:
        for block in 0..<count / 32 { widenQ8v0(source + 34 * block, into: out + 32 * block) }
      case .q4v0:
        for block in 0..<count / 32 {
          let p = source + 18 * block
          widenNibbles(p + 2, scale: half(p), offset: -8 * half(p), into: out + 32 * block)
        }
      case .q4v1:
        for block in 0..<count / 32 {
          let p = source + 20 * block
          widenNibbles(p + 4, scale: half(p), offset: half(p + 2), into: out + 32 * block)
        }
      }
    }
  }
}

@inline(__always) private func half(_ p: UnsafeRawPointer) -> Float { floatFromF16(p.loadUnaligned(as: UInt16.self)) }

@inline(__always) private func widenQ8v0(_ p: UnsafeRawPointer, into out: UnsafeMutablePointer<Float>) {
  let d = half(p)
  for i in 0..<32 { out[i] = d * Float(p.load(fromByteOffset: 2 + i, as: Int8.self)) }
}

/// The product is rounded before the sum, as ggml's reference does; for Q4_0 the product and its sum are exact
/// enough either way (d has 11 significant bits, q − 8 four).
@inline(__always)
private func widenNibbles(_ p: UnsafeRawPointer, scale: Float, offset: Float, into out: UnsafeMutablePointer<Float>) {
  for i in 0..<16 {
    let byte = p.load(fromByteOffset: i, as: UInt8.self)
    out[i] = scale * Float(byte & 15) + offset
    out[i + 16] = scale * Float(byte >> 4) + offset
  }
}
