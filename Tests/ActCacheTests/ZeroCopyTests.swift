import LinearAlgebra
import TestSupport
import Testing

@testable import ActCache

/// What the cache lends, the kernels read where it lies.
struct ZeroCopyTests {
  @Test func uncompressedF32FeedsTheProductWithoutACopy() throws {
    let folder = try TemporaryFolder()
    let small = SmallCache(hooks: [StreamSpec.hook("h", width: 5, dtype: "f32", codec: "none")])
    try small.write(12, to: folder.path)
    let reader = try HeldOutReader(CacheReader(path: folder.path))
    var generator = SeededGenerator(seed: 1)
    let weights = Matrix(5, 3, generator.floats(15))
    for i in 0..<reader.count {
      var copied = Matrix(4, 5)
      try copied.withMutableSpan { try reader.read(i, hook: "h", into: &$0) }
      var expected = Matrix(4, 3)
      gemm(copied, weights, into: &expected)

      var product = Matrix(4, 3)
      let isSame = try reader.withActivations(i, hook: "h") { values in
        Matrix.withBorrowed(values, columns: 5) { x in
          gemm(x, weights, into: &product)
          let lent = values.withUnsafeBufferPointer { UInt(bitPattern: $0.baseAddress) }
          return x.withSpan { $0.withUnsafeBufferPointer { UInt(bitPattern: $0.baseAddress) } } == lent
        }
      }
      #expect(isSame && product.values == expected.values)
    }
  }
}
