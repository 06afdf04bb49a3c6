import Testing
import Memory

@Suite struct JSONValueTests {
  private func failure(_ text: String) -> JSONValue.Failure? {
    do {
      _ = try JSONValue(parsing: Array(text.utf8))
      return nil
    } catch { return error }
  }

  @Test func valuesAreParsed() throws {
    let value = try JSONValue(
      parsing: Array(#" {"a": [1, -2.5, 1e3, true, false, null], "b": {"c": "x\n\u00e9\ud83d\ude00\/é"}} "#.utf8))
    #expect(
      value
        == .object([
          "a": .array([.integer(1), .number(-2.5), .number(1000), .bool(true), .bool(false), .null]),
          "b": .object(["c": .string("x\né😀/é")]),
        ]))
    #expect(try JSONValue(parsing: Array("9223372036854775807".utf8)) == .integer(.max))
  }

  @Test(arguments: [
    ("", "a value expected", 0), ("{", "a key expected", 1), ("[1,]", "a value expected", 3),
    (#"{"a" 1}"#, "':' expected", 5), (#"{"a": 1 "b"}"#, "'}' expected", 8), ("[1 2]", "']' expected", 3),
    (#"{"a": 1, "a": 1}"#, "duplicate key \"a\"", 15), ("1 1", "text after the end of the value", 2),
    ("9223372036854775808", "9223372036854775808 is not an integer of 64 bits", 19),
    ("1e999", "1e999 is not a number", 5), ("-", "- is not an integer of 64 bits", 1), ("nul", "a value expected", 0),
    (#""a"#, "a string without end", 2), (#""\x""#, "an unknown escape", 3), (#""\ud800""#, "half a surrogate pair", 7),
    (#""\u12""#, "four hexadecimal digits expected", 5), ("\"\u{1}\"", "a control character in a string", 2),
    ("NaN", "a value expected", 0),
  ])
  func otherTextsFailWhereTheyEnd(text: String, problem: String, offset: Int) {
    #expect(failure(text) == JSONValue.Failure(problem: problem, offset: offset))
  }

  @Test func deepNestingIsRefusedBeforeTheStackEnds() {
    #expect(failure(String(repeating: "[", count: 100_000))?.problem == "nested more than 64 deep")
    #expect(failure(String(repeating: "{\"a\":", count: 100_000))?.problem == "nested more than 64 deep")
  }

  @Test func everyPrefixFails() {
    let text = Array(#"{"a": [1.5, true, {"b": "\u00e9"}], "c": null}"#.utf8)
    for n in 0..<text.count { #expect(throws: JSONValue.Failure.self) { try JSONValue(parsing: text.prefix(n)) } }
  }

  @Test func invalidUTF8IsRefused() {
    #expect(throws: JSONValue.Failure.self) { try JSONValue(parsing: [0x22, 0xFF, 0x22]) }
  }
}
