import SAE
import Testing

@Suite struct MatryoshkaTests {
  @Test(arguments: [
    ("1/32,1/16,1/8,1/4", 24_576, [768, 2304, 5376, 11_520, 24_576]), ("1/2,1/2", 7, [3, 7]),
    ("0.25, 3", 20, [5, 8, 20]),
    ("20", 20, [20]), ("1/32,1/16,1/8,1/4,17/32", 100, [3, 9, 21, 46, 100]),
  ])
  func groupsAreSharesOrNumbers(text: String, nLatents: Int, expected: [Int]) throws {
    #expect(try Matryoshka.prefixes(groups: text, nLatents: nLatents) == expected)
  }

  @Test func defaultsLeaveOutEmptyGroups() {
    #expect(Matryoshka.defaultPrefixes(nLatents: 24_576) == [768, 2304, 5376, 11_520, 24_576])
    #expect(Matryoshka.defaultPrefixes(nLatents: 18) == [1, 3, 7, 18])
    #expect(Matryoshka.defaultPrefixes(nLatents: 1) == [1])
  }

  @Test(arguments: [
    ("", " is not a share"), ("0", "0 is not positive"), ("-1/2", "-1/2 is not a share"),
    ("1/2/3", "1/2/3 is not a share"),
    ("1/0", "1/0 is not a share"), ("a", "a is not a share"), ("1/50", "1/50 of 20 latents is none"),
    ("21", "the groups have more than the 20 latents"),
    ("9223372036854775807,9223372036854775807", "the groups have more than the 20 latents"),
    ("3/4,3/4", "the groups have more than the 20 latents"), ("1/2,,1/4", " is not a share"),
  ])
  func whatMakesNoSenseIsNamed(text: String, why: String) {
    #expect(
      throws: SAEError.invalid(
        "groups is \(text); \(why); expected shares or numbers of latents such as 1/32,1/16,1/8,1/4 or 512,1024")
    ) { _ = try Matryoshka.prefixes(groups: text, nLatents: 20) }
  }
}
