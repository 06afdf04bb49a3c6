/// A safetensors file, mapped: u64 header length N, N bytes of JSON, then the tensors without holes.
///
/// The header is not trusted: lengths, types, shapes and offsets are checked before anything is read, and the tensors
/// must tile the rest of the file exactly. Format: huggingface/safetensors, README "Format".
public struct SafetensorsFile: ~Copyable, Sendable {
  public struct Tensor: Equatable, Sendable {
    public let name: String
    /// As the file has it: "F32", "F16", "BF16", "I64", …
    public let type: String
    public let shape: [Int]
    /// Where the tensor's bytes lie in the file.
    public let bytes: Range<Int>
  }

  public let path: String
  /// By name.
  public let tensors: [String: Tensor]
  private let file: MappedFile

  /// Maps the file and checks its header. Throws `MemoryError.system` or `.format`.
  public init(path: String) throws {
    let file = try MappedFile(path: path)
    tensors = try Self.tensors(in: file)
    self.path = path
    self.file = file
  }

  /// Lends a tensor's bytes.
  public borrowing func withBytes<R>(of tensor: Tensor, _ body: (RawSpan) throws -> R) throws -> R {
    try file.withBytes(at: tensor.bytes.lowerBound, count: tensor.bytes.count, body)
  }

  /// A copy of an F32 tensor of the given shape. Throws `MemoryError.format` if there is none.
  public borrowing func floats(_ name: String, shape: [Int]) throws -> [Float] {
    guard let tensor = tensors[name] else {
      throw MemoryError.format(
        path: path, "it has no tensor \(name), only \(tensors.keys.sorted().joined(separator: ", "))")
    }
    guard tensor.shape == shape, tensor.type == "F32" else {
      throw MemoryError.format(path: path, "tensor \(name) is \(tensor.type) \(tensor.shape), expected F32 \(shape)")
    }
    return try withBytes(of: tensor) { bytes in
      unsafe [Float](unsafeUninitializedCapacity: bytes.byteCount / 4) { buffer, count in
        unsafe bytes.withUnsafeBytes { unsafe UnsafeMutableRawBufferPointer(buffer).copyMemory(from: $0) }
        count = bytes.byteCount / 4
      }
    }
  }
}

extension SafetensorsFile {
  /// The reference implementation's limit of the header.
  package static let maxHeaderBytes = 100_000_000

  private static let bytesPerElement = [
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2,
    "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1,
  ]

  /// Reads and checks the header of a mapped file: every tensor inside the file, no gaps, no overlaps, nothing left
  /// over. Throws `MemoryError.format`.
  package static func tensors(in file: borrowing MappedFile) throws -> [String: Tensor] {
    let (path, size) = (file.path, file.count)
    func malformed(_ problem: String) -> MemoryError { .format(path: path, problem) }
    guard size >= 8 else { throw malformed("\(size) bytes, at least 8 expected") }
    let length = try file.withBytes(at: 0, count: 8) { $0.integer(at: 0, as: UInt64.self) }
    guard length <= UInt64(maxHeaderBytes) else {
      throw malformed("a header of \(length) bytes, at most \(maxHeaderBytes) allowed")
    }
    let headerCount = Int(length)
    guard headerCount <= size - 8 else {
      throw malformed("a header of \(headerCount) bytes, the file has \(size - 8) after the length")
    }
    let header = try file.withBytes(at: 8, count: headerCount) { $0.bytes(0..<headerCount) }
    let json: JSONValue
    do { json = try JSONValue(parsing: header) } catch {
      throw malformed("\(error.problem) at byte \(error.offset) of the header")
    }
    guard header.first == UInt8(ascii: "{"), case .object(let members) = json else {
      throw malformed("the header is not a JSON object")
    }
    var tensors: [Tensor] = []
    for (name, value) in members where name != "__metadata__" {
      tensors.append(try tensor(name, value, base: 8 + headerCount, size: size, path: path))
    }
    tensors.sort {
      ($0.bytes.lowerBound, $0.bytes.upperBound, $0.name) < ($1.bytes.lowerBound, $1.bytes.upperBound, $1.name)
    }
    var end = 8 + headerCount
    for tensor in tensors {
      guard tensor.bytes.lowerBound == end else {
        throw malformed(
          "tensor \(tensor.name) begins at byte \(tensor.bytes.lowerBound), the one before ends at \(end)")
      }
      end = tensor.bytes.upperBound
    }
    guard end == size else { throw malformed("\(size) bytes, the header describes \(end)") }
    return Dictionary(uniqueKeysWithValues: tensors.map { ($0.name, $0) })
  }

  private static func tensor(
    _ name: String, _ value: JSONValue, base: Int, size: Int, path: String
  ) throws(MemoryError) -> Tensor {
    func malformed(_ problem: String) -> MemoryError { .format(path: path, "tensor \(name) \(problem)") }
    guard case .object(let members) = value, case .string(let type)? = members["dtype"],
      case .array(let dimensions)? = members["shape"], case .array(let offsets)? = members["data_offsets"],
      members.count == 3
    else { throw malformed("does not have exactly dtype, shape and data_offsets") }
    guard let elementBytes = bytesPerElement[type] else { throw malformed("is of type \(type), which is not known") }
    var shape: [Int] = []
    var count = elementBytes
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
    guard count == end - begin else {
      throw malformed("has \(end - begin) bytes for \(count / elementBytes) elements of \(type)")
    }
    return Tensor(name: name, type: type, shape: shape, bytes: base + begin..<base + end)
  }
}
