import Foundation

/// Writes f32 tensors as a safetensors file: u64 header length, JSON header padded to 8 bytes, then the tensors.
///
/// Tensors follow one another in the order of their names, which keeps the bytes a function of the contents.
public enum SafetensorsWriter {
  /// A tensor: its shape and a way to lend its elements, row by row.
  public struct Tensor {
    public var name: String
    public var shape: [Int]
    /// Calls its argument with pieces of the elements, in order.
    public var withPieces: ((Span<Float>) throws(MemoryError) -> Void) throws(MemoryError) -> Void

    public init(
      name: String, shape: [Int],
      withPieces: @escaping ((Span<Float>) throws(MemoryError) -> Void) throws(MemoryError) -> Void
    ) {
      self.name = name
      self.shape = shape
      self.withPieces = withPieces
    }
  }

  /// Writes `path` durably (whole or not at all).
  public static func write(_ tensors: [Tensor], metadata: [String: String] = [:], to path: String) throws(MemoryError) {
    let sorted = tensors.sorted { $0.name < $1.name }
    let places = sorted.map { Place(name: $0.name, type: "F32", bytesPerElement: 4, shape: $0.shape) }
    let offset = places.reduce(0) { $0 + $1.byteCount }
    var file = try DurableFile(path: path)
    try file.write(head(places, metadata: metadata))
    let start = file.count
    for tensor in sorted {
      let before = file.count
      try tensor.withPieces { (piece) throws(MemoryError) in try file.write(unsafe piece.bytes) }
      precondition(
        file.count - before == tensor.shape.reduce(4, *), "\(tensor.name): elements do not fill shape \(tensor.shape)")
    }
    precondition(file.count - start == offset, "tensors of \(path)")
    try file.commit()
  }

  /// A tensor of any type, for those who write the elements themselves.
  package struct Place {
    package var name: String
    /// As the format has it: "F32", "BF16", "I64", …
    package var type: String
    package var bytesPerElement: Int
    package var shape: [Int]

    package init(name: String, type: String, bytesPerElement: Int, shape: [Int]) {
      (self.name, self.type, self.bytesPerElement, self.shape) = (name, type, bytesPerElement, shape)
    }

    package var byteCount: Int { shape.reduce(bytesPerElement, *) }
  }

  /// What comes before the elements of `tensors`, which follow in this order without gaps. Larger elements should come
  /// first: readers that map the file want them aligned.
  package static func head(_ tensors: [Place], metadata: [String: String]) -> [UInt8] {
    var entries: [String: Entry] = [:]
    var offset = 0
    for tensor in tensors {
      let end = offset + tensor.byteCount
      entries[tensor.name] = .tensor(.init(dtype: tensor.type, shape: tensor.shape, dataOffsets: [offset, end]))
      offset = end
    }
    if !metadata.isEmpty { entries["__metadata__"] = .metadata(metadata) }
    let header = paddedHeader(entries)
    return (0..<8).map { UInt8(truncatingIfNeeded: header.count >> (8 * $0)) } + header
  }

  private enum Entry: Encodable {
    case tensor(TensorEntry)
    case metadata([String: String])

    func encode(to encoder: any Encoder) throws {
      switch self {
      case .tensor(let entry): try entry.encode(to: encoder)
      case .metadata(let strings): try strings.encode(to: encoder)
      }
    }
  }

  private struct TensorEntry: Encodable {
    var dtype: String
    var shape: [Int]
    var dataOffsets: [Int]

    enum CodingKeys: String, CodingKey {
      case dtype, shape
      case dataOffsets = "data_offsets"
    }
  }

  private static func paddedHeader(_ entries: [String: Entry]) -> [UInt8] {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    // Strings and integers always encode.
    var header = (try? encoder.encode(entries)).map { [UInt8]($0) } ?? []
    while header.count % 8 != 0 { header.append(0x20) }
    return header
  }
}
