import Crypto
import LinearAlgebra
import Memory

/// A mapped file that several tensors share.
package final class MappedWeights: Sendable {
  package let file: MappedFile
  package init(path: String) throws(MemoryError) { file = try MappedFile(path: path) }
}

/// A tensor as it lies in a weight file; every number has been checked against the size of the file.
package struct StoredTensor: Sendable, Equatable {
  package var name: String
  package var type: StoredType
  /// Outermost dimension first.
  package var shape: [Int]
  /// Which file, and where in it.
  var file: Int
  var offset: Int
  package var byteCount: Int
}

/// All tensors of a model, in one or several mapped files. Bytes are read from the map straight into matrices.
package final class WeightFiles: Sendable {
  /// What messages name: the folder or file that was opened.
  package let path: String
  private let files: [MappedWeights]
  package let tensors: [String: StoredTensor]

  package init(path: String, files: [MappedWeights], tensors: [String: StoredTensor]) {
    (self.path, self.files, self.tensors) = (path, files, tensors)
  }

  /// Lends a tensor's bytes.
  func withBytes<R>(of tensor: StoredTensor, _ body: (RawSpan) throws -> R) throws -> R {
    try files[tensor.file].file.withBytes(at: tensor.offset, count: tensor.byteCount, body)
  }

  func tensor(_ name: String, shape: [Int]) throws(TransformerError) -> StoredTensor {
    guard let tensor = tensors[name] else { throw .missingTensor(path: path, tensor: name) }
    guard tensor.shape == shape else {
      throw .wrongShape(path: path, tensor: name, found: tensor.shape, expected: shape)
    }
    return tensor
  }

  /// Writes a tensor into some rows of `matrix`, widened to f32. A tensor with one dimension is a row.
  ///
  /// - Parameters:
  ///   - rows: how many rows the tensor is taken to have; nil: all its dimensions but the last.
  ///   - place: row i of the tensor becomes row `first + place(i)` of the matrix; nil: row `first + i`.
  func read(
    _ name: String, shape: [Int], rows: Int? = nil, into matrix: inout Matrix, first: Int = 0,
    place: ((Int) -> Int)? = nil
  ) throws {
    let tensor = try tensor(name, shape: shape)
    let rows = rows ?? shape.dropLast().reduce(1, *)
    let columns = matrix.columns
    precondition(rows * columns == shape.reduce(1, *), "shape \(shape) into rows of \(columns)")
    guard columns % tensor.type.elementsPerBlock == 0 else {
      throw TransformerError.malformed(
        path: path, problem: "tensor \(name) has rows of \(columns) elements as \(tensor.type.rawValue)")
    }
    try withBytes(of: tensor) { bytes in
      guard let place else { return matrix.load(rows: first..<first + rows, from: bytes, as: tensor.type) }
      let rowBytes = rows == 0 ? 0 : bytes.byteCount / rows
      for i in 0..<rows {
        let row = first + place(i)
        matrix.load(rows: row..<row + 1, from: bytes.extracting(i * rowBytes..<(i + 1) * rowBytes), as: tensor.type)
      }
    }
  }

  /// The tensor as a matrix of its own.
  package func matrix(_ name: String, shape: [Int]) throws -> Matrix {
    _ = try tensor(name, shape: shape)
    var matrix = Matrix(uninitialized: shape.dropLast().reduce(1, *), shape.last ?? 1)
    try read(name, shape: shape, into: &matrix)
    return matrix
  }

  /// SHA-256 over the tensors in the order of their names: for each, the name, the stored type and the shape as a
  /// line of text, then the bytes. The same for any layout of the same tensors over files.
  package func digest() throws -> String {
    var hash = SHA256()
    for tensor in tensors.values.sorted(by: { $0.name < $1.name }) {
      let shape = tensor.shape.map(String.init).joined(separator: ",")
      hash.update(data: Array("\(tensor.name.utf8.count) \(tensor.name) \(tensor.type.rawValue) [\(shape)]\n".utf8))
      try withBytes(of: tensor) { bytes in
        var offset = 0
        while offset < bytes.byteCount {
          let end = min(bytes.byteCount, offset + 1 << 20)
          hash.update(data: bytes.bytes(offset..<end))
          offset = end
        }
      }
    }
    return hash.finalize().map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
  }
}
