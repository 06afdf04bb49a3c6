import Report
import Testing

@Suite struct TextBarTests {
  @Test func barsAreDrawnToAnEighthOfACell() {
    #expect([0, 0.5, 1, 2, -1].map { textBar($0, width: 4) } == ["", "██", "████", "████", ""])
    #expect(textBar(0.53125, width: 4) == "██▏" && textBar(0.21875, width: 4) == "▉")
    #expect(textBar(.nan) == "")
  }

  @Test func whatIsThereAtAllShows() { #expect(textBar(1e-9) == "▏") }

  @Test func waitingIsPale() { #expect(textBar(0.5, width: 4, isPale: true) == "░░") }

  @Test func ratesAreWrittenWithThreeDigits() {
    let values = [0, 7.444, 12.34, 593.4, 999.6, 7444, 593_612, 1.06e9, -25, 3e15]
    #expect(
      values.map { threeDigits($0) } == [
        "0.00", "7.44", "12.3", "593", "1.00 k", "7.44 k", "594 k", "1.06 G", "-25.0", "3000 T",
      ])
    #expect(threeDigits(.infinity) == "inf")
  }
}
