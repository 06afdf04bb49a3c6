import Report
import Testing

@Suite struct TextScatterTests {
  @Test func pointsLieOnLogarithmicAndLinearScales() {
    let plot = TextScatter(
      x: "L0", y: "FVU",
      [
        .init(x: 1, y: 0.5, mark: "a"), .init(x: 10, y: 0.25, mark: "b"), .init(x: 100, y: 0, mark: "c"),
        .init(x: 0, y: 9, mark: "d"), .init(x: 5, y: .nan, mark: "e"),
      ])
    #expect(
      plot.text(width: 21, height: 5) == """
            FVU
        0.5 │a
            │
            │          b
            │
          0 │                    c
            └─────────────────────
             1    L0 (log)     100
        """)
  }

  @Test func oneOrNoPointHasAPlaceToo() {
    #expect(TextScatter(x: "x", y: "y", []).text() == "")
    #expect(TextScatter(x: "x", y: "y", [.init(x: 2, y: 3, mark: "*")]).text(width: 10, height: 2).contains("│*"))
  }
}
