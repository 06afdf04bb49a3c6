import Foundation
import LinearAlgebra
import Memory
import TestSupport
import Testing
import Transformer

@Suite struct SafetensorsTests {
  private let folder: TemporaryFolder
  private var path: String { folder.path + "/model.safetensors" }

  init() throws { folder = try TemporaryFolder() }

  private func file(_ header: String, _ data: Int, length: UInt64? = nil) -> [UInt8] {
    let n = length ?? UInt64(header.utf8.count)
    return (0..<8).map { UInt8(truncatingIfNeeded: n >> (8 * $0)) } + Array(header.utf8)
      + [UInt8](repeating: 0, count: data)
  }

  private func open(_ bytes: [UInt8]) throws -> WeightFiles {
    try Data(bytes).write(to: URL(fileURLWithPath: path))
    return try Safetensors.open(folder: folder.path)
  }

  private func problem(_ bytes: [UInt8]) -> String? {
    let error = #expect(throws: TransformerError.self) { try open(bytes) }
    switch error {
    case .malformed(_, let problem): return problem
    default: return error?.description
    }
  }

  private let two =
    #"{"__metadata__": {"x": "y"}, "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, "b": {"dtype": "BF16", "shape": [], "data_offsets": [8, 10]}}"#

  @Test func tensorsAreFound() throws {
    let files = try open(file(two, 10))
    #expect(files.tensors.keys.sorted() == ["a", "b"])
    #expect(files.tensors["a"]?.shape == [2] && files.tensors["b"]?.shape == [])
    // Padding of the header with spaces is allowed.
    #expect(try open(file(two + "   ", 10)).tensors.count == 2)
    #expect(try open(file("{}", 0)).tensors.isEmpty)
  }

  @Test func everyTruncationIsAnError() throws {
    let bytes = file(two, 10)
    for n in 0..<bytes.count {
      #expect(throws: TransformerError.self, "\(n) bytes") { try open(Array(bytes.prefix(n))) }
    }
    #expect(problem(bytes + [0]) == "\(bytes.count + 1) bytes, the header describes \(bytes.count)")
  }

  @Test func everyChangedByteIsReadOrRefusedButNeverTraps() throws {
    let bytes = file(two, 10)
    for i in bytes.indices {
      for value: UInt8 in [0, 0xFF, 0x22, 0x39, bytes[i] ^ 1] {
        var damaged = bytes
        damaged[i] = value
        if let files = try? open(damaged) {
          for (name, tensor) in files.tensors { _ = try files.matrix(name, shape: tensor.shape) }
        }
      }
    }
  }

  @Test(arguments: [
    (
      #"{"a": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}}"#, 12,
      "tensor a begins at byte 74, the one before ends at 70"
    ),
    (
      #"{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, "b": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}}"#,
      12, "tensor b begins at byte 135, the one before ends at 139"
    ),
    (
      #"{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}"#, 4, "tensor a has 4 bytes for 2 elements of F32"
    ),
    (
      #"{"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}}"#, 8,
      "tensor a has data_offsets [8, 0], the file has 8 bytes of data"
    ),
    (#"{"a": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}}"#, 8, "tensor a has shape [-2]"),
    (
      #"{"a": {"dtype": "F32", "shape": [4294967296, 4294967296], "data_offsets": [0, 8]}}"#, 8,
      "tensor a has shape [4294967296, 4294967296]"
    ),
    (
      #"{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 9223372036854775807]}}"#, 8,
      "tensor a has data_offsets [0, 9223372036854775807], the file has 8 bytes of data"
    ),
    (#"{"a": {"dtype": "F32", "shape": [2]}}"#, 8, "tensor a does not have exactly dtype, shape and data_offsets"),
    (#"{"a": 1, "a": 1}"#, 0, "duplicate key \"a\" at byte 15 of the header"),
    ("[]", 0, "the header is not a JSON object"),
    (" {}", 0, "the header is not a JSON object"),
  ])
  func damagedHeadersAreNamed(header: String, data: Int, expected: String) {
    #expect(problem(file(header, data)) == expected)
  }

  @Test func absurdHeaderLengthsAreRefused() {
    #expect(problem(file("{}", 0, length: .max)) == "a header of 18446744073709551615 bytes, at most 100000000 allowed")
    #expect(problem(file("{}", 0, length: 100_000_001)) == "a header of 100000001 bytes, at most 100000000 allowed")
    #expect(problem(file("{}", 0, length: 3)) == "a header of 3 bytes, the file has 2 after the length")
    #expect(problem([1, 2]) == "2 bytes, at least 8 expected")
  }

  @Test func otherTypesAreNamed() {
    let header = #"{"a": {"dtype": "F64", "shape": [1], "data_offsets": [0, 8]}}"#
    #expect(
      problem(file(header, 8))
        == "\(path): tensor a is stored as F64, which cannot be read; convert the model to F32, F16, BF16, Q8_0, Q4_0 or Q4_1"
    )
  }

  @Test func shardsMustAgreeWithTheIndex() throws {
    func index(_ map: String) throws {
      try Data("{\"weight_map\": \(map)}".utf8).write(
        to: URL(fileURLWithPath: folder.path + "/model.safetensors.index.json"))
    }
    func message() -> String? {
      let error = #expect(throws: TransformerError.self) { try Safetensors.open(folder: folder.path) }
      return error?.description
    }
    let end = "; the file is damaged or not of this format, fetch it again"
    try Data(file(two, 10)).write(to: URL(fileURLWithPath: folder.path + "/one.safetensors"))
    try index(#"{"a": "one.safetensors", "b": "one.safetensors"}"#)
    #expect(try Safetensors.open(folder: folder.path).tensors.count == 2)
    try index(#"{"a": "one.safetensors"}"#)
    #expect(message() == "\(folder.path)/one.safetensors: tensor b is here, the index says nowhere" + end)
    try index(#"{"a": "one.safetensors", "b": "one.safetensors", "c": "one.safetensors"}"#)
    #expect(
      message()
        == "\(folder.path)/model.safetensors.index.json: tensor c should be in one.safetensors, which does not have it"
        + end)
    try index(#"{"a": "../one.safetensors"}"#)
    #expect(
      message()
        == "\(folder.path)/model.safetensors.index.json: \"../one.safetensors\" is not the name of a file beside it"
        + end)
    try index(#"{"a": "two.safetensors"}"#)
    #expect(throws: MemoryError.self) { try Safetensors.open(folder: folder.path) }
  }

  @Test func digestIsThatOfTheTensorsWhereverTheyLie() throws {
    let sharded = try Safetensors.open(folder: Fixture(name: "llama-untied").path)
    // The same tensors in one file, in another order.
    var members: [String] = []
    var data: [UInt8] = []
    for name in sharded.tensors.keys.sorted(by: >) {
      let tensor = try #require(sharded.tensors[name])
      let values = try sharded.matrix(name, shape: tensor.shape).values
      members.append(
        "\"\(name)\": {\"dtype\": \"F32\", \"shape\": \(tensor.shape), \"data_offsets\": [\(data.count), \(data.count + 4 * values.count)]}"
      )
      for value in values { for i in 0..<4 { data.append(UInt8(truncatingIfNeeded: value.bitPattern >> (8 * i))) } }
    }
    let one = try open(file("{" + members.joined(separator: ", ") + "}", 0) + data)
    #expect(try one.digest() == sharded.digest())
    data[5] ^= 1
    #expect(try open(file("{" + members.joined(separator: ", ") + "}", 0) + data).digest() != sharded.digest())
    #expect(try Fixture(name: "llama-untied").model().weightsDigest() == sharded.digest())
    // printf '1 a F32 [1]\n\0\0\0\0' | sha256sum
    let small = try open(file(#"{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}"#, 4))
    #expect(try small.digest() == "1449bd91a43545774e9b9d8e9c0770faeaecde62beeb4e815d3cf78daa7e2758")
  }

  @Test func modelsThatAreNotCompleteSaySo() throws {
    func message() -> String? {
      let error = #expect(throws: TransformerError.self) { try TransformerModel.load(path: folder.path) }
      return error?.description
    }
    let advice = "; give a folder with config.json and model.safetensors, or a .gguf file"
    #expect(message() == "\(folder.path): no config.json" + advice)
    try FileManager.default.copyItem(
      atPath: Fixture(name: "gpt2").path + "/config.json", toPath: folder.path + "/config.json")
    #expect(message() == "\(folder.path): no model.safetensors or model.safetensors.index.json" + advice)
    try Data(file(two, 10)).write(to: URL(fileURLWithPath: path))
    #expect(message() == "\(path): tensor wte.weight is missing")
    let missing = #expect(throws: TransformerError.self) { try TransformerModel.load(path: folder.path + "/x") }
    #expect(missing?.description == "\(folder.path)/x: no such file or folder" + advice)
    let other = #expect(throws: TransformerError.self) { try TransformerModel.load(path: path) }
    #expect(other?.description == "\(path): not a folder, and its name does not end in .gguf" + advice)
  }

  @Test func wrongShapesAndUnknownTensorsAreErrors() throws {
    let source = Fixture(name: "gpt2").path
    var bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: source + "/model.safetensors")))
    let config = try String(contentsOfFile: source + "/config.json", encoding: .utf8)
    try config.write(toFile: folder.path + "/config.json", atomically: true, encoding: .utf8)
    func message() throws -> String? {
      try Data(bytes).write(to: URL(fileURLWithPath: path))
      let error = #expect(throws: TransformerError.self) { try TransformerModel.load(path: folder.path) }
      return error?.description
    }
    try config.replacing("\"vocab_size\": 53", with: "\"vocab_size\": 54").write(
      toFile: folder.path + "/config.json", atomically: true, encoding: .utf8)
    #expect(
      try message() == "\(path): tensor transformer.wte.weight has shape [53, 20], the configuration asks for [54, 20]")
    try config.replacing("\"n_layer\": 2", with: "\"n_layer\": 1").write(
      toFile: folder.path + "/config.json", atomically: true, encoding: .utf8)
    #expect(
      try message()
        == "\(path): tensor transformer.h.1.attn.c_attn.bias is not part of a gpt2 model; it may change what the model computes"
    )
    bytes.removeLast()
    #expect(try message()?.hasSuffix("fetch it again") == true)
  }
}
