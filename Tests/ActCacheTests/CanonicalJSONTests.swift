import Testing

@testable import ActCache

struct CanonicalJSONTests {
  @Test func namesAreSortedByCodePointAndNumbersAreShortest() throws {
    let text = #"{ "b10": 1.50, "b2":[true , null, -0.1e1], "é":"a\u00e9\/\n\"", "B": 1e300 }"#
    let value = try CanonicalJSON(parsing: Array(text.utf8))
    let canonical = #"{"B":1e+300,"b10":1.5,"b2":[true,null,-1],"é":"aé/\u000a\""}"#
    #expect(String(decoding: value.bytes, as: UTF8.self) == canonical)
    #expect(try CanonicalJSON(parsing: value.bytes).bytes == value.bytes)
  }

  @Test(arguments: ["", "{", "[1,]", "{\"a\":1,\"a\":2}", "nul", "\"\u{01}\"", "1 2", "--1", "\"\\ud800\"", "{1:2}"])
  func whatIsNotJSONIsRefused(text: String) {
    #expect(throws: JSONSyntaxError.self) { try CanonicalJSON(parsing: Array(text.utf8)) }
  }

  @Test func deepNestingIsRefusedAndDoesNotCrash() {
    #expect(throws: JSONSyntaxError(offset: 65, expected: "at most 64 levels of nesting")) {
      try CanonicalJSON(parsing: [UInt8](repeating: UInt8(ascii: "["), count: 1 << 20))
    }
  }
}
