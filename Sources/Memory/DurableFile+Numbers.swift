/// Numbers as files of arrays have them: little-endian, one after the other.
extension DurableFile {
  package mutating func write<T: FixedWidthInteger & BitwiseCopyable>(numbers: [T]) throws(MemoryError) {
    let ordered = numbers.map(\.littleEndian)
    try write(unsafe ordered.span.bytes)
  }

  /// Rounded to `type` (to nearest, ties to even).
  package mutating func write(numbers: Span<Float>, as type: ElementType) throws(MemoryError) {
    switch type {
    // Of the machines that this runs on, all are little-endian.
    case .f32: try write(unsafe numbers.bytes)
    case .f16: try write(numbers: numbers.indices.map { f16Bits(numbers[$0]) })
    case .bf16: try write(numbers: numbers.indices.map { bf16Bits(numbers[$0]) })
    }
  }
}
