import Report
import Testing

@Suite struct TextTableTests {
  @Test func columnsAreAlignedAndLinesDoNotEndInSpaces() {
    var table = TextTable([("run", .left), ("L0", .right)])
    table.add(["a", "16.0"])
    table.add(["longer", "5.0"])
    #expect(table.text == "run       L0\n────────────\na       16.0\nlonger   5.0")
  }

  @Test func numbersAreWrittenForPeople() {
    #expect([0, 999, 24_576, -1_234_567].map { grouped($0) } == ["0", "999", "24,576", "-1,234,567"])
    #expect([999, 1500, 183_000_000].map { byteSize($0) } == ["999 B", "1.5 kB", "183 MB"])
    #expect([48.2, 185, 7620, .infinity].map { duration($0) } == ["48 s", "3 min 05 s", "2 h 07 min", "?"])
    #expect(fixed(0.12345, 2) == "0.12" && fixed(.nan, 2) == "nan")
  }

  @Test func barShowsTheShareThatIsDone() {
    #expect(ProgressLine.render(fraction: 0.5, "x") == "██████████░░░░░░░░░░  50 %  x")
    #expect(ProgressLine.render(fraction: nil, "x") == "x")
    #expect(ProgressLine.render(fraction: 2, "x").contains("100 %"))
  }
}
