import Foundation
import LinearAlgebra
import Memory

/// The weights of a folder in Hugging Face's layout: one safetensors file, or several and an index.
package enum Safetensors {
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
    guard file.count <= SafetensorsFile.maxHeaderBytes else {
      throw TransformerError.malformed(
        path: path, problem: "\(file.count) bytes, at most \(SafetensorsFile.maxHeaderBytes) expected")
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

  /// The tensors of one file, number `number` of the model's. Buffers of old checkpoints that are not weights may be
  /// of any type and are left out.
  package static func tensors(in weights: MappedWeights, number: Int) throws -> [String: StoredTensor] {
    let found: [String: SafetensorsFile.Tensor]
    do { found = try SafetensorsFile.tensors(in: weights.file) } catch MemoryError.format(let path, let problem) {
      throw TransformerError.malformed(path: path, problem: problem)
    }
    var tensors: [String: StoredTensor] = [:]
    for (name, tensor) in found {
      guard let type = StoredType(rawValue: tensor.type), type.elementsPerBlock == 1 else {
        if HuggingFaceNames.isBuffer(name) { continue }
        throw TransformerError.unsupportedTensorType(path: weights.file.path, tensor: name, type: tensor.type)
      }
      tensors[name] = StoredTensor(
        name: name, type: type, shape: tensor.shape, file: number, offset: tensor.bytes.lowerBound,
        byteCount: tensor.bytes.count)
    }
    return tensors
  }
}
