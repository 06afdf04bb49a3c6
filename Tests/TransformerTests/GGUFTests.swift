import Foundation
import LinearAlgebra
import Memory
import TestSupport
import Testing
import Transformer

@Suite struct GGUFTests {
  private let folder: TemporaryFolder
  private var path: String { folder.path + "/m.gguf" }
  private let types = Fixture.folder + "/gguf/types.gguf"
  private let llama = Fixture.folder + "/gguf/llama-tied.gguf"

  init() throws { folder = try TemporaryFolder() }

  private func bytes(_ path: String) throws -> [UInt8] { [UInt8](try Data(contentsOf: URL(fileURLWithPath: path))) }

  private func open(_ bytes: [UInt8]) throws -> GGUFFile {
    try Data(bytes).write(to: URL(fileURLWithPath: path))
    return try GGUFFile(path: path)
  }

  private func problem(_ bytes: [UInt8]) -> String? {
    let error = #expect(throws: TransformerError.self) { try open(bytes) }
    switch error {
    case .malformed(_, let problem): return problem
    default: return error?.description
    }
  }

  private func little(_ value: UInt64, _ n: Int) -> [UInt8] {
    (0..<n).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
  }

  private func string(_ text: String) -> [UInt8] { little(UInt64(text.utf8.count), 8) + Array(text.utf8) }

  private func header(tensors: UInt64, keys: UInt64, version: UInt64 = 3) -> [UInt8] {
    Array("GGUF".utf8) + little(version, 4) + little(tensors, 8) + little(keys, 8)
  }

  @Test func everyStoredTypeIsWidenedAsTheReferenceDoes() throws {
    let files = try GGUFFile(path: types).weightFiles
    let expected = try Fixture.tensors(at: Fixture.folder + "/gguf/types.safetensors")
    #expect(files.tensors.count == 6)
    for name in files.tensors.keys {
      #expect(try files.all(name).values == expected.all(name).values, "\(name)")
    }
  }

  @Test func metadataIsTyped() throws {
    let file = try GGUFFile(path: types)
    #expect(try file.integer("small.integer") == 7)
    #expect(try file.float("small.float") == 0.5)
    #expect(try file.bool("small.bool") == true)
    #expect(try file.integers("small.integers") == [1, -2, 3])
    #expect(try file.floats("small.floats") == [1.5, -2.5])
    #expect(try file.string("general.architecture") == "none")
    #expect(try file.string("absent") == nil)
    #expect(try GGUFFile(path: llama).strings("tokenizer.ggml.tokens") == ["a", "b", "\u{120}c"])
    let error = #expect(throws: TransformerError.self) { try file.string("small.integer") }
    #expect(
      error?.description
        == "\(types): small.integer is not a string; the file is damaged or not of this format, fetch it again")
  }

  @Test func modelEqualsThatOfTheOtherFormatToTheLastBit() throws {
    let fixture = Fixture(name: "llama-tied")
    let a = try fixture.model()
    let b = try TransformerModel.load(path: llama)
    #expect(a.configuration == b.configuration)
    let batch = try fixture.batch(fixture.expected())
    let workspace = ForwardWorkspace()
    try a.forward(batch, wantsFinalState: true, workspace: workspace)
    let values = workspace.finalState.values
    try b.forward(batch, wantsFinalState: true, workspace: workspace)
    #expect(workspace.finalState.values == values)
  }

  @Test func everyTruncationIsAnError() throws {
    for whole in [try bytes(types), Array(try bytes(llama).prefix(3000))] {
      for n in stride(from: 0, to: whole.count, by: whole.count < 2500 ? 1 : 3) {
        #expect(throws: TransformerError.self, "\(n) bytes") { try open(Array(whole.prefix(n))) }
      }
    }
  }

  @Test func everyChangedByteIsReadOrRefusedButNeverTraps() throws {
    let whole = try bytes(types)
    for i in 0..<min(whole.count, 900) {
      for value: UInt8 in [0, 0xFF, 0x80, whole[i] ^ 1] {
        var damaged = whole
        damaged[i] = value
        if let files = try? open(damaged).weightFiles {
          for (name, tensor) in files.tensors where !tensor.shape.contains(0) && !tensor.shape.isEmpty {
            _ = try files.matrix(name, shape: tensor.shape)
          }
        }
        _ = try? TransformerModel.load(path: path)
      }
    }
  }

  @Test func absurdCountsAreRefused() {
    #expect(
      problem(header(tensors: .max, keys: 0)) == "18446744073709551615 tensors do not fit in the 8 bytes that are left")
    #expect(problem(header(tensors: 0, keys: 1 << 40)) == "1099511627776 keys do not fit in the 0 bytes that are left")
    #expect(problem(header(tensors: 0, keys: 0, version: 1)) == "GGUF version 1, 2 or 3 expected")
    #expect(problem(header(tensors: 0, keys: 0, version: 0x0300_0000)) == "is big-endian, which cannot be read")
    #expect(problem(Array("GGML".utf8) + little(3, 20)) == "does not begin with GGUF")
    let key = string("k") + little(9, 4) + little(8, 4) + little(1 << 60, 8)
    #expect(
      problem(header(tensors: 0, keys: 1) + key)
        == "1152921504606846976 elements of k do not fit in the 0 bytes that are left")
    let nested = string("k") + little(9, 4) + little(9, 4) + little(1, 8) + little(0, 12)
    #expect(problem(header(tensors: 0, keys: 1) + nested) == "k is an array of arrays")
    let one = string("k") + little(0, 4) + [1]
    #expect(problem(header(tensors: 0, keys: 2) + one + one) == "duplicate key k")
    #expect(problem(header(tensors: 0, keys: 1) + string("k") + little(77, 4)) == "k has the unknown type 77")
  }

  private func tensor(_ name: String, _ shape: [UInt64], type: UInt64, at offset: UInt64) -> [UInt8] {
    string(name) + little(UInt64(shape.count), 4) + shape.flatMap { little($0, 8) } + little(type, 4)
      + little(offset, 8)
  }

  private func file(_ infos: [[UInt8]], data: Int) -> [UInt8] {
    let head = header(tensors: UInt64(infos.count), keys: 0) + infos.flatMap { $0 }
    return head + [UInt8](repeating: 0, count: (32 - head.count % 32) % 32 + data)
  }

  @Test func damagedTensorsAreNamed() throws {
    #expect(try open(file([tensor("t", [8], type: 0, at: 0)], data: 32)).tensors["t"]?.shape == [8])
    #expect(
      problem(file([tensor("t", [8], type: 0, at: 32)], data: 32))
        == "tensor t has 32 bytes from byte 32 of the data, the file has 32 bytes of data")
    #expect(
      problem(file([tensor("t", [8], type: 0, at: 4)], data: 64))
        == "tensor t begins at byte 4 of the data, not a multiple of 32")
    #expect(
      problem(file([tensor("t", [16], type: 0, at: 0), tensor("u", [8], type: 0, at: 32)], data: 64))
        == "tensor u overlaps the one before")
    #expect(
      problem(file([tensor("t", [8], type: 0, at: 0), tensor("t", [8], type: 0, at: 32)], data: 64))
        == "duplicate tensor t")
    #expect(
      problem(file([tensor("t", [33], type: 8, at: 0)], data: 64))
        == "tensor t has shape [33], not whole blocks of Q8_0")
    #expect(
      problem(file([tensor("t", [1 << 40, 1 << 40], type: 0, at: 0)], data: 64))
        == "tensor t has more elements than can be counted")
    #expect(problem(file([tensor("t", [1, 1, 1, 1, 1], type: 0, at: 0)], data: 64)) == "tensor t has 5 dimensions")
    #expect(
      problem(file([tensor("t", [256], type: 12, at: 0)], data: 256))
        == "\(path): tensor t is stored as Q4_K, which cannot be read; convert the model to F32, F16, BF16, Q8_0, Q4_0 or Q4_1"
    )
  }

  @Test func unknownKeysOfTheArchitectureAreErrors() throws {
    // One more key before the tensors.
    var whole = try bytes(llama)
    whole[16] += 1
    let extra = string("llama.logit_scale") + little(6, 4) + little(0, 4)
    whole.insert(contentsOf: extra, at: 24)
    // Keep the data where the alignment puts it.
    let shift = (32 - extra.count % 32) % 32
    let end = try #require(dataStart(try bytes(llama)))
    whole.insert(contentsOf: [UInt8](repeating: 0, count: shift), at: end + extra.count)
    try Data(whole).write(to: URL(fileURLWithPath: path))
    let error = #expect(throws: TransformerError.self) { try TransformerModel.load(path: path) }
    #expect(
      error?.description
        == "\(path): llama.logit_scale is not known for llama and may change what the model computes; remove it if it does not matter"
    )
  }

  /// Where the tensors begin: the first is the token embedding, whose offset is 0.
  private func dataStart(_ bytes: [UInt8]) -> Int? {
    let weights = try? Safetensors.open(folder: Fixture(name: "llama-tied").path)
    guard let values = try? weights?.all("model.embed_tokens.weight").values.prefix(4) else { return nil }
    let pattern = values.flatMap { value in (0..<4).map { UInt8(truncatingIfNeeded: value.bitPattern >> (8 * $0)) } }
    return (0..<bytes.count - 16).first { Array(bytes[$0..<$0 + 16]) == pattern }
  }
}
