import LinearAlgebra
import Memory

/// A GGUF file, versions 2 and 3, little-endian: typed metadata and the places of its tensors.
///
///     "GGUF" | u32 version | u64 nTensors | u64 nKeys | keys and values | tensor infos | padding | tensors
///
/// Nothing in the file is trusted: counts and lengths are checked against the bytes that are left before anything
/// of their size is made.
package final class GGUFFile: Sendable {
  package indirect enum Value: Sendable, Equatable {
    case integer(Int64)
    /// Only values above Int64.max.
    case unsigned(UInt64)
    case float(Double)
    case bool(Bool)
    case string(String)
    case integers([Int64])
    case floats([Double])
    case bools([Bool])
    case strings([String])
  }

  package let path: String
  package let version: Int
  package let metadata: [String: Value]
  package let tensors: [String: StoredTensor]
  let weights: MappedWeights

  /// Opens and checks a file. Throws `TransformerError`, or `MemoryError` if it cannot be opened.
  package init(path: String) throws {
    let weights = try MappedWeights(path: path)
    var reader = GGUFReader(weights)
    let parsed = try reader.file()
    self.path = path
    self.weights = weights
    (version, metadata, tensors) = (parsed.version, parsed.metadata, parsed.tensors)
  }

  package var weightFiles: WeightFiles { WeightFiles(path: path, files: [weights], tensors: tensors) }

  // Each returns nil if the key is missing and throws if the value has another type.

  package func string(_ key: String) throws(TransformerError) -> String? {
    guard let value = metadata[key] else { return nil }
    guard case .string(let string) = value else { throw wrongType(key, "a string") }
    return string
  }

  package func integer(_ key: String) throws(TransformerError) -> Int? {
    guard let value = metadata[key] else { return nil }
    guard case .integer(let integer) = value else { throw wrongType(key, "an integer") }
    return Int(integer)
  }

  package func float(_ key: String) throws(TransformerError) -> Double? {
    guard let value = metadata[key] else { return nil }
    guard case .float(let float) = value else { throw wrongType(key, "a float") }
    return float
  }

  package func bool(_ key: String) throws(TransformerError) -> Bool? {
    guard let value = metadata[key] else { return nil }
    guard case .bool(let bool) = value else { throw wrongType(key, "a bool") }
    return bool
  }

  package func strings(_ key: String) throws(TransformerError) -> [String]? {
    guard let value = metadata[key] else { return nil }
    guard case .strings(let strings) = value else { throw wrongType(key, "an array of strings") }
    return strings
  }

  package func integers(_ key: String) throws(TransformerError) -> [Int]? {
    guard let value = metadata[key] else { return nil }
    guard case .integers(let integers) = value else { throw wrongType(key, "an array of integers") }
    return integers.map { Int($0) }
  }

  package func floats(_ key: String) throws(TransformerError) -> [Double]? {
    guard let value = metadata[key] else { return nil }
    guard case .floats(let floats) = value else { throw wrongType(key, "an array of floats") }
    return floats
  }

  private func wrongType(_ key: String, _ expected: String) -> TransformerError {
    .malformed(path: path, problem: "\(key) is not \(expected)")
  }
}
