import Foundation
import LinearAlgebra
import Memory

/// Reader of safetensors: 8 bytes of header length N, N bytes of JSON, then the tensors without gaps.
///
///     u64 N | {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, …} | bytes
package enum Safetensors {
  /// The reference implementation's limit of the header.
  package static let maxHeaderBytes = 100_000_000

  /// Opens `model.safetensors`, or all shards that `model.safetensors.index.json` names, of a folder.
  package static func open(folder: String) throws -> WeightFiles {
    let single = folder + "/model.safetensors"
    let index = folder + "/model.safetensors.index.json"
    let manager = FileManager.default
    if manager.fileExists(atPath: single) {
      let file = try MappedWeights(path: single)
      return WeightFiles(path: single, files: [file], tensors: try tensors(in: file, number: 0))
    }
    guard manager.fileExists(atPath: index) else {
      throw TransformerError.noModel(path: folder, problem: "no model.safetensors or model.safetensors.index.json")
    }
    let places = try weightMap(index)
    var files: [MappedWeights] = []
    var all: [String: StoredTensor] = [:]
    for name in Set(places.values).sorted() {
      let file = try MappedWeights(path: folder + "/" + name)
      for (tensor, stored) in try tensors(in: file, number: files.count) {
        guard places[tensor] == name else {
          throw TransformerError.malformed(
            path: file.file.path, problem: "tensor \(tensor) is here, the index says \(places[tensor] ?? "nowhere")")
        }
        all[tensor] = stored
      }
      files.append(file)
    }
    for (tensor, name) in places.sorted(by: { $0.key < $1.key }) where all[tensor] == nil {
      throw TransformerError.malformed(
        path: index, problem: "tensor \(tensor) should be in \(name), which does not have it")
    }
    return WeightFiles(path: folder, files: files, tensors: all)
  }

  /// Tensor name → file name. File names with a folder in them are refused.
  private static func weightMap(_ path: String) throws -> [String: String] {
    let file = try MappedFile(path: path)
    guard file.count <= maxHeaderBytes else {
      throw TransformerError.malformed(path: path, problem: "\(file.count) bytes, at most \(maxHeaderBytes) expected")
    }
    let bytes = file.withBytes { $0.bytes(0..<$0.byteCount) }
    guard case .object(let members) = try json(bytes, path), case .object(let map)? = members["weight_map"] else {
      throw TransformerError.malformed(path: path, problem: "no object \"weight_map\"")
    }
    return try map.mapValues { value in
      guard case .string(let name) = value, !name.isEmpty, !name.contains("/"), name != ".." else {
        throw TransformerError.malformed(path: path, problem: "\(value.text) is not the name of a file beside it")
      }
      return name
    }
  }

  private static func json(_ bytes: [UInt8], _ path: String) throws(TransformerError) -> JSONValue {
    do { return try JSONValue(parsing: bytes) } catch {
      throw .malformed(path: path, problem: "\(error.problem) at byte \(error.offset) of the header")
    }
  }

  /// Reads and checks the header: every tensor inside the file, no gaps, no overlaps, nothing left over.
  package static func tensors(in weights: MappedWeights, number: Int) throws -> [String: StoredTensor] {
    let path = weights.file.path
    let size = weights.file.count
    func malformed(_ problem: String) -> TransformerError { .malformed(path: path, problem: problem) }
    guard size >= 8 else { throw malformed("\(size) bytes, at least 8 expected") }
    let length = try weights.file.withBytes(at: 0, count: 8) { $0.integer(at: 0, as: UInt64.self) }
    guard length <= UInt64(maxHeaderBytes) else {
      throw malformed("a header of \(length) bytes, at most \(maxHeaderBytes) allowed")
    }
    let headerCount = Int(length)
    guard headerCount <= size - 8 else {
      throw malformed("a header of \(headerCount) bytes, the file has \(size - 8) after the length")
    }
    let header = try weights.file.withBytes(at: 8, count: headerCount) { $0.bytes(0..<headerCount) }
    guard header.first == UInt8(ascii: "{"), case .object(let members) = try json(header, path) else {
      throw malformed("the header is not a JSON object")
    }
    var tensors: [StoredTensor] = []
    for (name, value) in members where name != "__metadata__" {
      tensors.append(try tensor(name, value, base: 8 + headerCount, size: size, path: path, number: number))
    }
    tensors.sort { ($0.offset, $0.byteCount, $0.name) < ($1.offset, $1.byteCount, $1.name) }
    var end = 8 + headerCount
    for tensor in tensors {
      guard tensor.offset == end else {
        throw malformed("tensor \(tensor.name) begins at byte \(tensor.offset), the one before ends at \(end)")
      }
      end += tensor.byteCount
    }
    guard end == size else { throw malformed("\(size) bytes, the header describes \(end)") }
    return Dictionary(uniqueKeysWithValues: tensors.map { ($0.name, $0) })
  }

  private static func tensor(
    _ name: String, _ value: JSONValue, base: Int, size: Int, path: String, number: Int
  ) throws(TransformerError) -> StoredTensor {
    func malformed(_ problem: String) -> TransformerError {
      .malformed(path: path, problem: "tensor \(name) \(problem)")
    }
    guard case .object(let members) = value, case .string(let dtype)? = members["dtype"],
      case .array(let dimensions)? = members["shape"], case .array(let offsets)? = members["data_offsets"],
      members.count == 3
    else { throw malformed("does not have exactly dtype, shape and data_offsets") }
    guard let type = StoredType(rawValue: dtype), type.elementsPerBlock == 1 else {
      throw .unsupportedTensorType(path: path, tensor: name, type: dtype)
    }
    var shape: [Int] = []
    var count = 1
    for dimension in dimensions {
      guard case .integer(let length) = dimension, length >= 0 else {
        throw malformed("has shape \(JSONValue.array(dimensions).text)")
      }
      let (product, overflow) = count.multipliedReportingOverflow(by: length)
      guard !overflow else { throw malformed("has shape \(JSONValue.array(dimensions).text)") }
      count = product
      shape.append(length)
    }
    guard offsets.count == 2, case .integer(let begin) = offsets[0], case .integer(let end) = offsets[1],
      0 <= begin, begin <= end, end <= size - base
    else {
      throw malformed("has data_offsets \(JSONValue.array(offsets).text), the file has \(size - base) bytes of data")
    }
    guard type.byteCount(count) == end - begin else {
      throw malformed("has \(end - begin) bytes for \(count) elements of \(dtype)")
    }
    return StoredTensor(
      name: name, type: type, shape: shape, file: number, offset: base + begin, byteCount: end - begin)
  }
}
