import LinearAlgebra
import Memory

/// Reads a GGUF header front to back.
///
/// Value types: 0 u8, 1 i8, 2 u16, 3 i16, 4 u32, 5 i32, 6 f32, 7 bool, 8 string, 9 array, 10 u64, 11 i64, 12 f64.
struct GGUFReader {
  private let weights: MappedWeights
  private var offset = 0

  init(_ weights: MappedWeights) { self.weights = weights }

  private var path: String { weights.file.path }
  private var remaining: Int { weights.file.count - offset }

  private func malformed(_ problem: String) -> TransformerError { .malformed(path: path, problem: problem) }

  mutating func file() throws -> (version: Int, metadata: [String: GGUFFile.Value], tensors: [String: StoredTensor]) {
    let magic = try bytes(4, "the magic")
    guard magic == Array("GGUF".utf8) else { throw malformed("does not begin with GGUF") }
    let version = try integer(UInt32.self, "the version")
    guard version == 2 || version == 3 else {
      throw malformed(
        version & 0xFFFF == 0 ? "is big-endian, which cannot be read" : "GGUF version \(version), 2 or 3 expected")
    }
    // The shortest tensor info has 24 bytes, the shortest key and value 13.
    let nTensors = try count("tensors", each: 24)
    let nKeys = try count("keys", each: 13)
    var metadata: [String: GGUFFile.Value] = [:]
    for _ in 0..<nKeys {
      let key = try string("a key")
      let type = try integer(UInt32.self, "the type of \(key)")
      let value = try value(type, key)
      guard metadata.updateValue(value, forKey: key) == nil else { throw malformed("duplicate key \(key)") }
    }
    var alignment = 32
    if let value = metadata["general.alignment"] {
      guard case .integer(let n) = value, n >= 8, n <= 1 << 16, n & (n - 1) == 0 else {
        throw malformed("general.alignment is not a power of two from 8 to 65536")
      }
      alignment = Int(n)
    }
    var tensors: [StoredTensor] = []
    for _ in 0..<nTensors { tensors.append(try tensorInfo()) }
    return (Int(version), metadata, try place(tensors, alignment: alignment))
  }

  private mutating func bytes(_ n: Int, _ what: String) throws -> [UInt8] {
    guard n <= remaining else { throw malformed("ends at byte \(weights.file.count) within \(what)") }
    defer { offset += n }
    return try weights.file.withBytes(at: offset, count: n) { $0.bytes(0..<n) }
  }

  private mutating func integer<I: FixedWidthInteger & BitwiseCopyable>(_ type: I.Type, _ what: String) throws -> I {
    let n = I.bitWidth / 8
    guard n <= remaining else { throw malformed("ends at byte \(weights.file.count) within \(what)") }
    defer { offset += n }
    return try weights.file.withBytes(at: offset, count: n) { $0.integer(at: 0, as: I.self) }
  }

  /// A count of things of at least `each` bytes, so that there can be no more than the file has room for.
  private mutating func count(_ what: String, each: Int) throws -> Int {
    let n = try integer(UInt64.self, "the number of \(what)")
    guard n <= UInt64(remaining / each) else {
      throw malformed("\(n) \(what) do not fit in the \(remaining) bytes that are left")
    }
    return Int(n)
  }

  private mutating func string(_ what: String) throws -> String {
    let n = try count("bytes of \(what)", each: 1)
    guard let string = String(validating: try bytes(n, what), as: UTF8.self) else {
      throw malformed("\(what) is not UTF-8")
    }
    return string
  }

  private mutating func value(_ type: UInt32, _ key: String) throws -> GGUFFile.Value {
    switch type {
    case 0...5, 10, 11:
      if type == 10 {
        let n = try integer(UInt64.self, key)
        return Int64(exactly: n).map { .integer($0) } ?? .unsigned(n)
      }
      return .integer(try signed(type, key))
    case 6, 12: return .float(try float(type, key))
    case 7: return .bool(try bool(key))
    case 8: return .string(try string(key))
    case 9:
      let element = try integer(UInt32.self, "the element type of \(key)")
      let sizes = [1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8]
      guard element < 13 else { throw malformed("\(key) has elements of the unknown type \(element)") }
      let n = try count("elements of \(key)", each: sizes[Int(element)])
      switch element {
      case 8: return .strings(try (0..<n).map { _ in try string(key) })
      case 6, 12: return .floats(try (0..<n).map { _ in try float(element, key) })
      case 7: return .bools(try (0..<n).map { _ in try bool(key) })
      case 9: throw malformed("\(key) is an array of arrays")
      default: return .integers(try (0..<n).map { _ in try signed(element, key) })
      }
    default: throw malformed("\(key) has the unknown type \(type)")
    }
  }

  private mutating func signed(_ type: UInt32, _ key: String) throws -> Int64 {
    switch type {
    case 0: return Int64(try integer(UInt8.self, key))
    case 1: return Int64(try integer(Int8.self, key))
    case 2: return Int64(try integer(UInt16.self, key))
    case 3: return Int64(try integer(Int16.self, key))
    case 4: return Int64(try integer(UInt32.self, key))
    case 5: return Int64(try integer(Int32.self, key))
    case 10:
      let n = try integer(UInt64.self, key)
      guard let value = Int64(exactly: n) else { throw malformed("\(key) has the element \(n), beyond 63 bits") }
      return value
    default: return try integer(Int64.self, key)
    }
  }

  private mutating func float(_ type: UInt32, _ key: String) throws -> Double {
    type == 6
      ? Double(Float(bitPattern: try integer(UInt32.self, key))) : Double(bitPattern: try integer(UInt64.self, key))
  }

  private mutating func bool(_ key: String) throws -> Bool {
    let byte = try integer(UInt8.self, key)
    guard byte <= 1 else { throw malformed("\(key) is a bool of value \(byte)") }
    return byte == 1
  }

  /// name, u32 number of dimensions, u64 dimensions (innermost first), u32 type, u64 offset in the data.
  private mutating func tensorInfo() throws -> StoredTensor {
    let name = try string("the name of a tensor")
    let nDimensions = try integer(UInt32.self, "tensor \(name)")
    guard nDimensions <= 4 else { throw malformed("tensor \(name) has \(nDimensions) dimensions") }
    var shape: [Int] = []
    var count = 1
    for _ in 0..<nDimensions {
      let n = try integer(UInt64.self, "tensor \(name)")
      guard let length = Int(exactly: n) else { throw malformed("tensor \(name) has a dimension of \(n)") }
      let (product, overflow) = count.multipliedReportingOverflow(by: length)
      guard !overflow else { throw malformed("tensor \(name) has more elements than can be counted") }
      count = product
      shape.insert(length, at: 0)
    }
    let id = try integer(UInt32.self, "tensor \(name)")
    let place = try integer(UInt64.self, "tensor \(name)")
    guard let type = Self.types[id] else {
      throw TransformerError.unsupportedTensorType(path: path, tensor: name, type: Self.otherTypes[id] ?? "type \(id)")
    }
    guard let byteCount = type.byteCount(count), (shape.last ?? 1) % type.elementsPerBlock == 0 else {
      throw malformed("tensor \(name) has shape \(shape), not whole blocks of \(type.rawValue)")
    }
    guard let offset = Int(exactly: place) else { throw malformed("tensor \(name) begins at byte \(place)") }
    return StoredTensor(name: name, type: type, shape: shape, file: 0, offset: offset, byteCount: byteCount)
  }

  /// Makes offsets absolute and checks that tensors (padded to the alignment) lie in the file and apart.
  private func place(_ tensors: [StoredTensor], alignment: Int) throws -> [String: StoredTensor] {
    var result: [String: StoredTensor] = [:]
    if tensors.isEmpty { return result }
    let size = weights.file.count
    let base = (offset + alignment - 1) & ~(alignment - 1)
    var end = base
    for var tensor in tensors.sorted(by: { ($0.offset, $0.byteCount) < ($1.offset, $1.byteCount) }) {
      guard tensor.offset % alignment == 0 else {
        throw malformed(
          "tensor \(tensor.name) begins at byte \(tensor.offset) of the data, not a multiple of \(alignment)")
      }
      guard base <= size, tensor.offset <= size - base, tensor.byteCount <= size - base - tensor.offset else {
        throw malformed(
          "tensor \(tensor.name) has \(tensor.byteCount) bytes from byte \(tensor.offset) of the data, "
            + "the file has \(max(0, size - base)) bytes of data")
      }
      tensor.offset += base
      guard tensor.offset >= end else { throw malformed("tensor \(tensor.name) overlaps the one before") }
      end = (tensor.offset + tensor.byteCount + alignment - 1) & ~(alignment - 1)
      guard result.updateValue(tensor, forKey: tensor.name) == nil else {
        throw malformed("duplicate tensor \(tensor.name)")
      }
    }
    guard end <= size else { throw malformed("\(size) bytes, the header describes \(end)") }
    return result
  }

  private static let types: [UInt32: StoredType] = [0: .f32, 1: .f16, 2: .q4v0, 3: .q4v1, 8: .q8v0, 30: .bf16]

  private static let otherTypes: [UInt32: String] = [
    6: "Q5_0", 7: "Q5_1", 9: "Q8_1", 10: "Q2_K", 11: "Q3_K", 12: "Q4_K", 13: "Q5_K", 14: "Q6_K", 15: "Q8_K",
    16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S", 20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS",
    24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64", 29: "IQ1_M", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4",
  ]
}
