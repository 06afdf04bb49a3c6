import LinearAlgebra
import Memory
import TestSupport
import Testing

@Suite struct DequantizeTests {
  private func load(_ bytes: [UInt8], _ columns: Int, _ type: StoredType) -> [Float] {
    var matrix = Matrix(1, columns)
    bytes.withUnsafeBytes { matrix.load(rows: 0..<1, from: $0.bytes, as: type) }
    return matrix.values
  }

  private func half(_ value: Float) -> [UInt8] {
    let bits = f16Bits(value)
    return [UInt8(bits & 255), UInt8(bits >> 8)]
  }

  @Test func plainTypesAreWidened() {
    #expect(load([0, 0, 0x80, 0x3F, 0, 0, 0, 0xC0], 2, .f32) == [1, -2])
    #expect(load([0x00, 0x3C, 0x00, 0xC0], 2, .f16) == [1, -2])
    #expect(load([0x80, 0x3F, 0x00, 0xC0], 2, .bf16) == [1, -2])
  }

  @Test func blocksAreWidenedElementByElement() {
    var random = SeededGenerator(seed: 25)
    let bytes = (0..<32).map { _ in UInt8.random(in: 0...255, using: &random) }
    #expect(load(half(0.25) + bytes, 32, .q8v0) == bytes.map { 0.25 * Float(Int8(bitPattern: $0)) })
    let nibbles = bytes.prefix(16).map { Float($0 & 15) } + bytes.prefix(16).map { Float($0 >> 4) }
    #expect(load(half(0.5) + bytes.prefix(16), 32, .q4v0) == nibbles.map { 0.5 * ($0 - 8) })
    #expect(load(half(0.5) + half(-3) + bytes.prefix(16), 32, .q4v1) == nibbles.map { 0.5 * $0 - 3 })
  }

  @Test func rowsGoWhereTheyAreAskedTo() {
    var matrix = Matrix(3, 1)
    let bytes: [UInt8] = [0x80, 0x3F]
    bytes.withUnsafeBytes { matrix.load(rows: 2..<3, from: $0.bytes, as: .bf16) }
    #expect(matrix.values == [0, 0, 1])
  }

  @Test func byteCountsRefusePartialBlocksAndOverflow() {
    #expect(StoredType.q4v1.byteCount(64) == 40)
    #expect(StoredType.q8v0.byteCount(33) == nil)
    #expect(StoredType.f32.byteCount(Int.max) == nil)
    #expect(StoredType.f32.byteCount(-1) == nil)
    #expect(StoredType.f16.byteCount(0) == 0)
  }
}
