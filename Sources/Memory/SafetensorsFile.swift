import Foundation

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

  private static let bytesPerElement = [
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2,
    "U8": 1, "BOOL": 1,
  ]

  /// Maps the file and checks its header. Throws `MemoryError.system` or `.format`.
  public init(path: String) throws {
    let file = try MappedFile(path: path)
    func damaged(_ what: String) -> MemoryError { .format(path: path, what) }
    guard file.count >= 8 else { throw damaged("\(file.count) bytes are too few for a safetensors file") }
    let length = try file.withBytes(at: 0, count: 8) { bytes in
      (0..<8).reduce(UInt64(0)) { $0 | UInt64(bytes[$1]) << (8 * UInt64($1)) }
    }
    guard length <= 100_000_000, Int(length) <= file.count - 8 else {
      throw damaged("its header claims \(length) bytes, the file has \(file.count); it is cut short or not safetensors")
    }
    let start = 8 + Int(length)
    let header = try file.withBytes(at: 8, count: Int(length)) { Data([UInt8]($0)) }
    guard let entries = (try? JSONSerialization.jsonObject(with: header)) as? [String: Any] else {
      throw damaged("its header is not a JSON object")
    }
    var tensors: [String: Tensor] = [:]
    for (name, value) in entries where name != "__metadata__" {
      guard let entry = value as? [String: Any], let type = entry["dtype"] as? String,
        let shape = entry["shape"] as? [Int], let offsets = entry["data_offsets"] as? [Int], offsets.count == 2
      else { throw damaged("tensor \(name) has no dtype, shape and data_offsets") }
      guard let elementBytes = Self.bytesPerElement[type] else {
        throw damaged("tensor \(name) is of unknown type \(type)")
      }
      var size = elementBytes
      for dimension in shape {
        let (product, overflow) = size.multipliedReportingOverflow(by: dimension)
        guard dimension >= 0, !overflow else { throw damaged("tensor \(name) has shape \(shape)") }
        size = product
      }
      guard offsets[0] >= 0, offsets[0] <= offsets[1], offsets[1] <= file.count - start, offsets[1] - offsets[0] == size
      else {
        throw damaged(
          "tensor \(name) of shape \(shape) and type \(type) needs \(size) bytes, its offsets are \(offsets) of "
            + "\(file.count - start); the file is cut short or damaged")
      }
      tensors[name] = Tensor(
        name: name, type: type, shape: shape, bytes: start + offsets[0]..<start + offsets[1])
    }
    var end = start
    for tensor in tensors.values.sorted(by: {
      ($0.bytes.lowerBound, $0.bytes.upperBound) < ($1.bytes.lowerBound, $1.bytes.upperBound)
    }) {
      guard tensor.bytes.lowerBound == end else {
        throw damaged("tensor \(tensor.name) begins at byte \(tensor.bytes.lowerBound), expected \(end)")
      }
      end = tensor.bytes.upperBound
    }
    guard end == file.count else { throw damaged("its tensors end at byte \(end), the file has \(file.count)") }
    self.path = path
    self.tensors = tensors
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

extension [UInt8] {
  /// A copy of the bytes lent.
  public init(_ bytes: RawSpan) {
    self = unsafe bytes.withUnsafeBytes { unsafe Array($0) }
  }
}

extension RawSpan {
  /// The byte at `offset`.
  public subscript(offset: Int) -> UInt8 {
    precondition(offset >= 0 && offset < byteCount, "byte \(offset) of \(byteCount)")
    return unsafe unsafeLoad(fromByteOffset: offset, as: UInt8.self)
  }
}
