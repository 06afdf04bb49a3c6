import Memory
import Testing

@Suite struct ElementTypeTests {
  @Test func everyHalfSurvivesTheRoundTrip() {
    for bits in UInt16.min ... .max {
      let value = floatFromF16(bits)
      let isNaN = bits & 0x7FFF > 0x7C00
      #expect(isNaN == value.isNaN)
      if !isNaN {
        #expect(value == Float(Float16(bitPattern: bits)))
        #expect(f16Bits(value) == bits)
      }
    }
  }

  @Test func halvesRoundToNearestEven() {
    for value: Float in [0, 1e-8, 2.9e-8, 3e-8, 6.1e-5, 1.0005, 1.0004883, 65503.9, 65519, 65520, 1e9, .infinity, -0.1]
    {
      #expect(f16Bits(value) == Float16(value).bitPattern, "\(value)")
    }
  }

  @Test func bf16RoundsToNearestEven() {
    #expect(bf16Bits(1) == 0x3F80)
    #expect(bf16Bits(Float(bitPattern: 0x3F80_8000)) == 0x3F80)
    #expect(bf16Bits(Float(bitPattern: 0x3F81_8000)) == 0x3F82)
    #expect(bf16Bits(Float(bitPattern: 0x3F80_8001)) == 0x3F81)
    #expect(bf16Bits(.infinity) == 0x7F80)
    #expect(floatFromBF16(bf16Bits(.nan)).isNaN)
    #expect(floatFromBF16(0xC000) == -2)
  }
}
