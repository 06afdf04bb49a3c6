import LinearAlgebra
import Memory

extension SafetensorsWriter.Tensor {
  /// A tensor with the elements of `matrix`, row by row.
  package init(_ name: String, shape: [Int], _ matrix: consuming Matrix) {
    let box = SharedMatrix(matrix)
    self.init(name: name, shape: shape) { (body) throws(MemoryError) in
      try box.matrix.withSpan { (span) throws(MemoryError) in try body(span) }
    }
  }
}

extension SafetensorsFile {
  /// An f32 tensor as a matrix of `rows` rows. Throws if the file has no such tensor or another shape or type.
  package borrowing func matrix(_ name: String, shape: [Int], rows: Int) throws -> Matrix {
    let values = try floats(name, shape: shape)
    return Matrix(rows, rows == 0 ? 0 : values.count / rows, values)
  }
}
